"""Files to columns: CSV in its many forms, Parquet, NPZ, JSON and JSON lines, also compressed with gzip.

A column is `[N]` of str or of numbers; matrices and lists are split into columns `name_0`, `name_1`, ...
"""

import ast
import gzip
import io
import logging
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from ig3d_ray.data.tables.delimited import read_delimited, without_index
from ig3d_ray.data.tables.object_arrays import load_arrays
from ig3d_ray.data.tables.records import Columns, plain, read_json, read_json_lines, records_to_columns, split_matrix
from ig3d_ray.data.tables.texts import TextTooLongError
from ig3d_ray.errors import Ig3dError, printable
from ig3d_ray.storage.local_files import read_regular
from ig3d_ray.storage.parquet import table_from_bytes

logger = logging.getLogger(__name__)

MAX_BYTES = 4 << 30
TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".dat")
LITERAL_CHARACTERS = 10_000


def read_columns(file: Path) -> Columns:
    """The columns of a file: name -> `[N]` of str (text) or of the file's own type; missing values are NaN or empty.

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
        columns = _with_objects(reader(_unpacked(file), str(file)), str(file))
    except TextTooLongError as error:
        raise Ig3dError(f"{file}: {error}") from error
    if not columns or not len(next(iter(columns.values()))):
        raise Ig3dError(f"{file}: no rows")
    return columns


def _with_objects(columns: Columns, what: str) -> Columns:
    """Columns of Python's text for a mapping, as pandas writes DeepFace's results, become a column per key.

    Only literals are read, no expression is evaluated; longer texts than such results have stay text.
    """
    found: Columns = {}
    for name, values in columns.items():
        texts = values.tolist()
        first = next((text for text in texts if str(text).strip()), "")
        if not (isinstance(first, str) and first.startswith("{") and first.endswith("}")):
            found[name] = values
            continue
        if max(len(str(text)) for text in texts) > LITERAL_CHARACTERS:
            found[name] = values
            continue
        try:
            parts = [ast.literal_eval(text) if text.strip() else {} for text in texts]
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            parts = [None]
        if all(isinstance(part, dict) for part in parts):
            found |= records_to_columns([{name: part} for part in parts], what)
        else:
            found[name] = values
    return found


def _unpacked(file: Path) -> bytes:
    try:
        data = read_regular(file)
        if data[:2] != b"\x1f\x8b":
            return data
        with gzip.open(io.BytesIO(data)) as packed:
            content = packed.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Ig3dError(f"{file}: cannot be read, or is not a whole gzip file ({error})") from error
    if len(content) > MAX_BYTES:
        raise Ig3dError(f"{file}: expands to more than {MAX_BYTES >> 30} GiB; split it")
    return content


def _read_parquet(data: bytes, what: str) -> Columns:
    try:
        table = table_from_bytes(data)
    except (pa.ArrowInvalid, OSError) as error:
        raise Ig3dError(f"{what}: not a whole Parquet file ({str(error).splitlines()[0][:100]})") from error
    if len(set(table.column_names)) < len(table.column_names):
        twice = next(name for name in table.column_names if table.column_names.count(name) > 1)
        raise Ig3dError(f"{what}: duplicate column {twice[:40]!r}")
    if not table.column_names:
        raise Ig3dError(f"{what}: has no columns")
    kinds = {field.name: field.type for field in table.schema}
    lists = [n for n, k in kinds.items() if pa.types.is_list(k) or pa.types.is_large_list(k)]
    lists += [n for n, k in kinds.items() if pa.types.is_fixed_size_list(k)]
    nested = [name for name, kind in kinds.items() if pa.types.is_nested(kind) and name not in lists]
    if nested:
        raise Ig3dError(
            f"{what}: column {nested[0]!r} is {str(kinds[nested[0]])[:80]}; give one number per column and row"
        )
    if any(pa.types.is_string(kinds[name].value_type) for name in lists):
        # A list of classes beside the list of scores, in each row.
        return records_to_columns(table.to_pylist(), what)
    columns: Columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        columns |= split_matrix(name, column.to_pylist(), what) if name in lists else {name: plain(column.to_pylist())}
    return without_index(columns)


def _read_npz(data: bytes, what: str) -> Columns:
    try:
        arrays = load_arrays(data, what)
    except Ig3dError:
        raise
    except Exception as error:  # of many types, as the file has it
        raise Ig3dError(f"{what}: not an NPZ file of plain arrays; write it with numpy.savez") from error
    named = {name: values.tolist() for name, values in arrays.items() if values.ndim == 1 and values.dtype.kind == "U"}
    matrices = {name: values for name, values in arrays.items() if values.ndim == 2 and values.shape[1] > 1}
    columns: Columns = {}
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
    return _equally_long(columns, what)


def _equally_long(columns: Columns, what: str) -> Columns:
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


READERS: dict[str, Callable[[bytes, str], Columns]] = {
    **dict.fromkeys(TEXT_SUFFIXES, read_delimited),
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".npz": _read_npz,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
