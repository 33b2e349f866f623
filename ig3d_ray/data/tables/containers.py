"""Files to columns: CSV in its many forms, Parquet, NPZ, JSON and JSON lines, also compressed with gzip.

A column is `[N]` of str or of numbers; matrices and lists are split into columns `name_0`, `name_1`, ...
"""

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ig3d_ray.data.tables.delimited import read_delimited
from ig3d_ray.data.tables.object_arrays import load_arrays
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.parquet import table_from_bytes

Columns = dict[str, np.ndarray]
MAX_BYTES = 4 << 30
TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".dat")
JSON_DEPTH = 50


def read_columns(file: Path) -> Columns:
    """The columns of a file: name -> `[N]` of str (text) or of the file's own type; missing values are NaN or empty.

    Raises:
        Ig3dError: no such file, unknown ending, no rows, rows of different width, not of its format.
    """
    suffix = file.name.lower().removesuffix(".gz")
    suffix = suffix[suffix.rfind(".") :] if "." in suffix else ""
    reader = READERS.get(suffix)
    if reader is None:
        raise Ig3dError(f"{file}: ending {file.suffix!r}; known: {', '.join(READERS)}, each also with .gz")
    if not file.is_file():
        raise Ig3dError(f"{file}: no such file")
    columns = reader(_unpacked(file), str(file))
    if not columns or not len(next(iter(columns.values()))):
        raise Ig3dError(f"{file}: no rows")
    return columns


def _unpacked(file: Path) -> bytes:
    try:
        data = file.read_bytes()
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
    columns: Columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            columns |= split_matrix(name, column.to_pylist(), what)
        elif pa.types.is_nested(kind):
            raise Ig3dError(f"{what}: column {name!r} is {str(kind)[:80]}; give one number per column and row")
        else:
            columns[name] = plain(column.to_pylist())
    return columns


def _read_npz(data: bytes, what: str) -> Columns:
    try:
        arrays = load_arrays(data, what)
    except (ValueError, OSError, EOFError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        raise Ig3dError(f"{what}: not an NPZ file of plain arrays; write it with numpy.savez") from error
    columns: Columns = {}
    for name, values in arrays.items():
        if values.ndim == 2 and values.shape[1] == 1:
            columns[name] = values[:, 0]
        elif values.ndim == 2:
            columns |= {f"{name}_{i}": values[:, i] for i in range(values.shape[1])}
        elif values.ndim == 1:
            columns[name] = values
        elif values.ndim:
            raise Ig3dError(f"{what}: array {name!r} is {values.ndim}-D; give [samples] or [samples, classes]")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        # Constants beside the rows, such as the names of the classes.
        most = max(lengths, key=lambda n: sum(len(v) == n for v in columns.values()))
        shorter = {name: len(values) for name, values in columns.items() if len(values) != most}
        if any(name in ROWS for name in shorter):
            given = ", ".join(f"{name}: {len(values)}" for name, values in list(columns.items())[:10])
            raise Ig3dError(f"{what}: arrays of different length ({given})")
        columns = {name: values for name, values in columns.items() if name not in shorter}
    return columns


ROWS = (
    "sample_id",
    "ids",
    "id",
    "label",
    "labels",
    "y",
    "val_true",
    "aro_true",
    "val_pred",
    "aro_pred",
    "names",
    "paths",
)


def _read_json(data: bytes, what: str) -> Columns:
    return records_to_columns(_records(_parsed_json(_text(data, what), what), what), what)


def _read_json_lines(data: bytes, what: str) -> Columns:
    rows = []
    for number, line in enumerate(_text(data, what).splitlines(), 1):
        if line.strip():
            rows += _records(_parsed_json(line, f"{what}: line {number}"), what)
    return records_to_columns(rows, what)


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise Ig3dError(f"{what}: not UTF-8 text ({error.reason} at byte {error.start})") from error


def _parsed_json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise Ig3dError(f"{what}: nested too deeply to be a table of predictions") from error
    except ValueError as error:
        raise Ig3dError(f"{what}: not valid JSON ({str(error)[:100]})") from error


def _records(content: Any, what: str) -> list[dict[str, Any]]:
    """JSON as rows: a list of objects, an object of columns, or an object of rows by sample id."""
    if isinstance(content, list):
        rows: list[dict[str, Any]] = []
        for entry in content:
            # DeepFace gives a list of faces for each image of a batch.
            rows += _records(entry, what) if isinstance(entry, list) else [entry]
        if not all(isinstance(row, dict) for row in rows):
            raise Ig3dError(
                f"{what}: a list of {type(rows[0]).__name__ if rows else 'nothing'}; give a list of objects"
            )
        return rows
    if not isinstance(content, dict):
        raise Ig3dError(f"{what}: holds {type(content).__name__}; give a list of objects, one per sample")
    return _of_object(content, what)


def _of_object(content: dict[str, Any], what: str) -> list[dict[str, Any]]:
    values = list(content.values())
    if _is_columns(content):
        return [dict(zip(content, row, strict=True)) for row in zip(*values, strict=True)]
    if values and all(isinstance(value, list) and all(isinstance(f, dict) for f in value) for value in values):
        return [{"sample_id": key} | face for key, faces in content.items() for face in faces]
    if values and all(isinstance(value, list) for value in values):
        return [{"sample_id": key, "scores": value} for key, value in content.items()]
    if values and all(isinstance(value, dict) for value in values):
        inner = [set(value) for value in values]
        numbered = all(key.isdigit() for keys in inner for key in keys)
        if numbered and all(keys == inner[0] for keys in inner):
            # As pandas' to_json writes columns: {"column": {"0": value, ...}}.
            return [{name: column[key] for name, column in content.items()} for key in values[0]]
        return [{"sample_id": key} | value for key, value in content.items()]
    return [content]


def _is_columns(content: dict[str, Any]) -> bool:
    """Whether an object has a column per key, rather than a sample's scores or faces."""
    values = list(content.values())
    if not values or not all(isinstance(value, list) for value in values) or len({len(v) for v in values}) > 1:
        return False
    if any(isinstance(one, dict | list) for value in values for one in value):
        return False
    return not (len(values[0]) <= 16 and len(content) > 16)


def records_to_columns(rows: list[dict[str, Any]], what: str) -> Columns:
    """Rows of nested objects as columns, names joined by dots; a missing value is NaN or empty.

    Args:
        rows: objects.
        what: begins messages.
    """
    flat = [_flat(row, what) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    return {name: plain([row.get(name) for row in flat]) for name in names}


def _flat(row: Mapping[str, Any], what: str, above: str = "", depth: int = 0) -> dict[str, Any]:
    if depth > JSON_DEPTH:
        raise Ig3dError(f"{what}: nested too deeply to be a table of predictions")
    found: dict[str, Any] = {}
    for key, value in row.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, dict):
            found |= _flat(value, what, name, depth + 1)
        elif isinstance(value, list):
            found |= {f"{name}_{i}": one for i, one in enumerate(value) if not isinstance(one, dict | list)}
        else:
            found[name] = value
    return found


def split_matrix(name: str, rows: list[Any], what: str) -> Columns:
    """A column of equally long lists as `name_0`, `name_1`, ...; a null is a row of NaN.

    Args:
        name: of the column.
        rows: lists, or None.
        what: begins messages.

    Raises:
        Ig3dError: the lists differ in length.
    """
    widths = {len(row) for row in rows if row is not None}
    if len(widths) != 1:
        sizes = ", ".join(map(str, sorted(widths)[:5])) or "no"
        raise Ig3dError(f"{what}: column {name!r} has lists of {sizes} numbers; give as many in each row")
    (width,) = widths
    empty = [None] * width
    return {f"{name}_{i}": plain([(row or empty)[i] for row in rows]) for i in range(width)}


def plain(values: list[Any]) -> np.ndarray:
    """A list as an array: numbers where all are numbers or missing, otherwise str."""
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        if all(isinstance(value, int) for value in values):
            return np.asarray(values, dtype=np.int64) if _fits(values) else np.asarray([str(v) for v in values])
        return np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)
    texts = ["" if v is None else v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values]
    return np.asarray(texts, dtype=np.str_)


def _fits(values: list[int]) -> bool:
    return all(-(2**63) <= value < 2**63 for value in values)


READERS: dict[str, Callable[[bytes, str], Columns]] = {
    **dict.fromkeys(TEXT_SUFFIXES, read_delimited),
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".npz": _read_npz,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}
