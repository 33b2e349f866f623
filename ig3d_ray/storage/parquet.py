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
    """Read a table from Parquet bytes.

    Raises:
        pyarrow.ArrowInvalid, OSError: the bytes are truncated or not Parquet.
    """
    # Not by `read_table`: it scans with Arrow's own threads whatever its arguments, and a program that ends soon after
    # reading is sometimes aborted while these threads are still being shut down.
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        table = file.read(use_threads=False)
    if schema is None:
        return table
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise pa.ArrowInvalid(f"column {missing[0]!r} is missing")
    return table.select(schema.names).cast(schema)
