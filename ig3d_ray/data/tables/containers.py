"""Files to columns: CSV in its many forms, Parquet, NPZ, JSON and JSON lines, also compressed with gzip.

A column is `[N]` of str or of numbers; matrices and lists are split into columns `name_0`, `name_1`, ...
"""

import ast
import gzip
import logging
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ig3d_ray.data.tables.delimited import read_delimited, without_index
from ig3d_ray.data.tables.object_arrays import MAX_BYTES, load_arrays
from ig3d_ray.data.tables.packed import Packed, Packer, Piece, piece
from ig3d_ray.data.tables.records import (
    ROWS_AT_ONCE,
    packed_records,
    read_json,
    read_json_lines,
    record_pieces,
    split_matrix,
)
from ig3d_ray.data.tables.texts import TextTooLongError
from ig3d_ray.errors import Ig3dError, printable
from ig3d_ray.storage.local_files import open_regular
from ig3d_ray.storage.parquet import check_seal

logger = logging.getLogger(__name__)

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".dat")
LITERAL_CHARACTERS = 10_000


def read_columns(file: Path) -> Packed:
    """The columns of a file: name -> `[N]` of str (text) or of numbers; missing values are NaN or empty.

    Text is read piece by piece, and what is kept takes about the file's size.

    Raises:
        Ig3dError: no such file, unknown ending, no rows, rows of different width, not of its format.
    """
    logger.debug("reading %s", printable(str(file)))
    suffix = file.name.lower().removesuffix(".gz")
    suffix = suffix[suffix.rfind(".") :] if "." in suffix else ""
    reader = READERS.get(suffix)
    if reader is None:
        raise Ig3dError(f"{file}: ending {file.suffix!r}; known: {', '.join(READERS)}, each also with .gz")
    if not file.is_file():
        raise Ig3dError(f"{file}: no such file")
    try:
        with open_regular(file) as raw, _unpacked(raw) as content:
            columns = _with_objects(reader(content, str(file)), str(file))
    except TextTooLongError as error:
        raise Ig3dError(f"{file}: {error}") from error
    except _TooLargeError as error:
        raise Ig3dError(f"{file}: expands to more than {MAX_BYTES >> 30} GiB; split it") from error
    except (OSError, EOFError, zlib.error) as error:
        raise Ig3dError(f"{file}: cannot be read, or is not a whole gzip file ({error})") from error
    if not columns.rows:
        raise Ig3dError(f"{file}: no rows")
    return columns


def _with_objects(columns: Packed, what: str) -> Packed:
    """Columns of Python's text for a mapping, as pandas writes DeepFace's results, become a column per key.

    Only literals are read, no expression is evaluated; longer texts than such results have stay text.
    """
    for name in list(columns):
        first = next((text for text in columns.each(name) if str(text).strip()), "")
        if not (isinstance(first, str) and first.startswith("{") and first.endswith("}")):
            continue
        if max(len(text) for text in columns.each(name)) > LITERAL_CHARACTERS:
            continue
        try:
            read = packed_records((_literal(name, text) for text in columns.each(name)), what)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        columns = columns.replaced({other: read[other] for other in read}, instead_of=name)
    return columns


def _literal(name: str, text: str) -> dict[str, Any]:
    content = ast.literal_eval(text) if text.strip() else {}
    if not isinstance(content, dict):
        raise ValueError(text)
    return {name: content}


class _TooLargeError(Exception):
    """A file expands to more than is read."""


class _Limited(gzip.GzipFile):
    """The content of a gzip file, up to a size."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(MAX_BYTES + 1 if size is None or size < 0 else size)
        if self.tell() > MAX_BYTES:
            raise _TooLargeError
        return data

    def read1(self, size: int = -1) -> bytes:
        data = super().read1(size)
        if self.tell() > MAX_BYTES:
            raise _TooLargeError
        return data


def _unpacked(raw: BinaryIO) -> BinaryIO:
    """A file's content, expanded where it is gzip's."""
    head = raw.read(2)
    raw.seek(0)
    return cast(BinaryIO, _Limited(fileobj=raw)) if head == b"\x1f\x8b" else raw


def _read_parquet(file: BinaryIO, what: str) -> Packed:
    packer = Packer()
    try:
        check_seal(file)
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            lists, worded = _list_columns(parquet.schema_arrow, what)
            widths: dict[str, int] = {}
            for batch in parquet.iter_batches(ROWS_AT_ONCE, use_threads=False):
                if worded:
                    # A list of classes beside the list of scores, in each row.
                    packer.add(record_pieces(batch.to_pylist(), what), batch.num_rows)
                else:
                    packer.add(_batch_pieces(batch, lists, widths, what), batch.num_rows)
    except Ig3dError:
        raise
    except Exception as error:  # of many types, as the damage has it
        reason = (" ".join(str(error).split()) or type(error).__name__)[:100]
        raise Ig3dError(f"{what}: not a whole Parquet file ({reason})") from error
    return without_index(packer.columns())


def _list_columns(schema: pa.Schema, what: str) -> tuple[list[str], bool]:
    """The columns of lists, and whether one of them has words.

    Raises:
        Ig3dError: two columns have one name, there is none, or one is nested otherwise.
    """
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise Ig3dError(f"{what}: duplicate column {twice[:40]!r}")
    if not schema.names:
        raise Ig3dError(f"{what}: has no columns")
    kinds = {field.name: field.type for field in schema}
    lists = [n for n, k in kinds.items() if pa.types.is_list(k) or pa.types.is_large_list(k)]
    lists += [n for n, k in kinds.items() if pa.types.is_fixed_size_list(k)]
    nested = [name for name, kind in kinds.items() if pa.types.is_nested(kind) and name not in lists]
    if nested:
        raise Ig3dError(
            f"{what}: column {nested[0]!r} is {str(kinds[nested[0]])[:80]}; give one number per column and row"
        )
    return lists, any(pa.types.is_string(kinds[name].value_type) for name in lists)


def _batch_pieces(batch: pa.RecordBatch, lists: list[str], widths: dict[str, int], what: str) -> dict[str, Piece]:
    """Some rows' columns; the widths of lists are noted, and must stay the same."""
    found: dict[str, Piece] = {}
    for name in batch.schema.names:
        column = batch.column(name)
        column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        if name in lists:
            rows = column.to_pylist()
            sizes = {len(row) for row in rows if row is not None} | ({widths[name]} if name in widths else set())
            if len(sizes) != 1:
                words = ", ".join(map(str, sorted(sizes)[:5])) or "no"
                raise Ig3dError(f"{what}: column {name!r} has lists of {words} numbers; give as many in each row")
            (widths[name],) = sizes
            found |= split_matrix(name, rows, widths[name])
        elif pa.types.is_floating(column.type):
            found[name] = Piece(column.cast(pa.float64()))
        else:
            found[name] = piece(column.to_pylist())
    return found


def _read_npz(file: BinaryIO, what: str) -> Packed:
    try:
        arrays = load_arrays(file, what)
    except Ig3dError:
        raise
    except Exception as error:  # of many types, as the file has it
        raise Ig3dError(f"{what}: not an NPZ file of plain arrays; write it with numpy.savez") from error
    named = {name: values.tolist() for name, values in arrays.items() if values.ndim == 1 and values.dtype.kind == "U"}
    matrices = {name: values for name, values in arrays.items() if values.ndim == 2 and values.shape[1] > 1}
    columns: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        if name in matrices and name.lower() in ONE_HOT and np.isin(values, (0, 1)).all():
            columns[name] = np.where(values.sum(axis=1) == 1, values.argmax(axis=1), -1)
        elif name in matrices:
            rows, width = values.shape
            # The names of the classes, in the order of the columns.
            order = next((words for words in named.values() if len(words) == width != rows), None)
            columns |= {f"{name}_{order[i] if order else i}": values[:, i] for i in range(width)}
        elif values.ndim in (1, 2):
            columns[name] = values.reshape(-1)
        elif values.ndim:
            raise Ig3dError(f"{what}: array {name!r} is {values.ndim}-D; give [samples] or [samples, classes]")
    return Packed(_equally_long(columns, what))


def _equally_long(columns: dict[str, np.ndarray], what: str) -> dict[str, np.ndarray]:
    """The columns without constants beside the rows, such as the names of the classes.

    Raises:
        Ig3dError: a column that must have a value per row is shorter.
    """
    lengths = Counter(len(values) for values in columns.values())
    if len(lengths) < 2:
        return columns
    most = max(lengths, key=lambda length: (lengths[length], length))
    shorter = [name for name, values in columns.items() if len(values) != most]
    if any(name in ROWS or columns[name].dtype.kind in "fiu" for name in shorter):
        given = ", ".join(f"{name}: {len(values)}" for name, values in list(columns.items())[:10])
        raise Ig3dError(f"{what}: arrays of different length ({given})")
    return {name: values for name, values in columns.items() if name not in shorter}


ROWS = ("sample_id", "ids", "id", "label", "labels", "y", "names", "paths")
ONE_HOT = ("label", "labels", "y", "y_true", "target", "targets", "true_label")


READERS: dict[str, Callable[[BinaryIO, str], Packed]] = {
    **dict.fromkeys(TEXT_SUFFIXES, read_delimited),
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".npz": _read_npz,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
