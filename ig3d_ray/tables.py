"""Parquet tables as bytes, so that stores publish them whole."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def table_to_bytes(table: pa.Table, **options: Any) -> bytes:
    """A table as Parquet, zstd by default; `options` are those of `pyarrow.parquet.write_table`."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **({"compression": "zstd"} | options))
    return buffer.getvalue()


def table_from_bytes(data: bytes, schema: pa.Schema | None = None) -> pa.Table:
    """The table that Parquet bytes hold.

    Raises:
        pyarrow.ArrowInvalid, OSError: they are cut short or are no Parquet.
    """
    # Without Arrow's reading threads: a program that ends soon after reading would now and then be
    # aborted while they are still being put away.
    return pq.read_table(pa.BufferReader(data), schema=schema, use_threads=False, pre_buffer=False)
