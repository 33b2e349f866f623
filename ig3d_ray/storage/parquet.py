"""Parquet tables as bytes, so that stores publish them whole, with a hash that is verified at reading."""

import hashlib
import io
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

# In the file's footer. Its value is the SHA-256 of the file's bytes with zeros in place of the value.
SEAL = b"ig3d_sha256"
_ZEROS = b"0" * 64
DAMAGED = "damaged: its SHA-256 is not the one that was written"
FOOTER_BYTES = 1 << 24
"""Of a file's end, among which its hash is looked for."""
# Between the key and the value, in the footer's encoding: the type of the next field, and the value's length.
_BETWEEN = b"\x18\x40"


def table_to_bytes(table: pa.Table, **options: Any) -> bytes:
    """A table as Parquet, zstd by default; the same content gives the same bytes.

    Args:
        table: what to write.
        options: those of `pyarrow.parquet.ParquetWriter`.
    """
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, **({"compression": "zstd"} | options)) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({SEAL.decode(): _ZEROS.decode()})
    data = buffer.getvalue()
    at = _seal_in(data)
    assert at is not None
    return b"".join((data[:at], _digest(data, at), data[at + len(_ZEROS) :]))


def table_from_bytes(data: bytes, schema: pa.Schema | None = None, columns: list[str] | None = None) -> pa.Table:
    """Read a table from Parquet bytes; those that `table_to_bytes` wrote are checked against their hash.

    Args:
        data: the file.
        schema: of the columns that are wanted; all by default.
        columns: those that are decoded; all by default.

    Raises:
        pyarrow.ArrowInvalid: the bytes are truncated, damaged or not Parquet.
    """
    at = _seal_in(data)
    if at is not None and _digest(data, at) != data[at : at + len(_ZEROS)]:
        raise pa.ArrowInvalid(DAMAGED)
    # Not by `read_table`: it scans with Arrow's own threads whatever its arguments, and a program that ends soon after
    # reading is sometimes aborted while these threads are still being shut down.
    try:
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
            table = file.read(columns, use_threads=False)
    except Exception as error:  # of many types, as the damage has it
        raise pa.ArrowInvalid(" ".join(str(error).split()) or type(error).__name__) from error
    return table if schema is None else with_schema(table, schema)


def with_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Some columns of a table, with the types that they should have.

    Args:
        table: that was read.
        schema: of the columns that are wanted.

    Raises:
        pyarrow.ArrowInvalid: one is missing or of another type.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise pa.ArrowInvalid(f"column {missing[0]!r} is missing")
    return table.select(schema.names).cast(schema)


def check_seal(file: BinaryIO) -> None:
    """Check an open file against its hash, if it has one; afterwards it is at its beginning.

    Args:
        file: that can be searched.

    Raises:
        pyarrow.ArrowInvalid: it is damaged.
    """
    size = file.seek(0, io.SEEK_END)
    start = max(0, size - FOOTER_BYTES)
    file.seek(start)
    found = _seal_in(file.read())
    file.seek(0)
    if found is None:
        return
    at, content = start + found, hashlib.sha256()
    _update(content, file, at)
    written = file.read(len(_ZEROS))
    content.update(_ZEROS)
    _update(content, file, size)
    file.seek(0)
    if content.hexdigest().encode() != written:
        raise pa.ArrowInvalid(DAMAGED)


def _update(content: "hashlib._Hash", file: BinaryIO, length: int) -> None:
    while length > 0 and (part := file.read(min(length, 1 << 20))):
        content.update(part)
        length -= len(part)


def _seal_in(data: bytes) -> int | None:
    """Where the hash is in a file; None in a file without one, such as a user's or one of an older version."""
    found = data.rfind(SEAL + _BETWEEN)
    return None if found < 0 else found + len(SEAL) + len(_BETWEEN)


def _digest(data: bytes, at: int) -> bytes:
    view = memoryview(data)
    content = hashlib.sha256(view[:at])
    content.update(_ZEROS)
    content.update(view[at + len(_ZEROS) :])
    return content.hexdigest().encode()
