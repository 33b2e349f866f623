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

from ig3d_ray.data.tables.delimited import read_delimited
from ig3d_ray.data.tables.json_tables import read_json, read_json_lines
from ig3d_ray.data.tables.object_arrays import MAX_BYTES, load_arrays
from ig3d_ray.data.tables.packed import Packed
from ig3d_ray.data.tables.parquet_tables import read_parquet
from ig3d_ray.data.tables.records import packed_records
from ig3d_ray.data.tables.texts import TextTooLongError
from ig3d_ray.errors import Ig3dError, printable
from ig3d_ray.storage.local_files import open_regular

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
    reader = READERS.get(suffix_of(file))
    if reader is None:
        raise Ig3dError(f"{file}: ending {file.suffix!r}; known: {', '.join(READERS)}, each also with .gz")
    if not file.is_file():
        raise Ig3dError(f"{file}: no such file")
    try:
        with open_regular(file) as raw, unpacked(raw) as content:
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


def suffix_of(file: Path) -> str:
    """A file's ending in lower case, that before `.gz` where it is compressed; "" if there is none."""
    name = file.name.lower().removesuffix(".gz")
    return name[name.rfind(".") :] if "." in name else ""


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


class _TooLargeError(Ig3dError):
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


def unpacked(raw: BinaryIO) -> BinaryIO:
    """A file's content, expanded where it is gzip's."""
    head = raw.read(2)
    raw.seek(0)
    return cast(BinaryIO, _Limited(fileobj=raw)) if head == b"\x1f\x8b" else raw


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
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".npz": _read_npz,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
