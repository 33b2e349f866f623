"""Files to columns: CSV in its many forms, Parquet, NPZ, JSON and JSON lines, also compressed with gzip.

A column is `[N]` of str or of numbers; matrices and lists are split into columns `name_0`, `name_1`, ...
"""

import ast
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ig3d_ray.data.tables.delimited import read_delimited, without_index
from ig3d_ray.data.tables.object_arrays import load_arrays
from ig3d_ray.data.tables.texts import TextTooLongError, as_text
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.parquet import table_from_bytes

Columns = dict[str, np.ndarray]
MAX_BYTES = 4 << 30
TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".dat")
JSON_DEPTH = 50
LITERAL_CHARACTERS = 10_000


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
            found[name] = values
            continue
        if all(isinstance(part, dict) for part in parts):
            found |= records_to_columns([{name: part} for part in parts], what)
    return found


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


def _read_json(data: bytes, what: str) -> Columns:
    return records_to_columns(_records(_parsed_json(_text(data, what), what), what), what)


def _read_json_lines(data: bytes, what: str) -> Columns:
    rows = []
    for number, line in enumerate(_text(data, what).split("\n"), 1):
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
            # DeepFace gives a list of faces for each image of a batch; null where it failed.
            if isinstance(entry, list):
                rows += _records(entry, what)
            elif entry is not None:
                rows += _faces_of(entry) if isinstance(entry, dict) else [entry]
        if not all(isinstance(row, dict) for row in rows):
            wrong = next(row for row in rows if not isinstance(row, dict))
            raise Ig3dError(f"{what}: a list with {type(wrong).__name__}; give a list of objects, one per sample")
        return rows
    if not isinstance(content, dict):
        raise Ig3dError(f"{what}: holds {type(content).__name__}; give a list of objects, one per sample")
    if {"columns", "data"} <= content.keys() and isinstance(content["data"], list):
        index = content.get("index") or range(len(content["data"]))
        pairs = zip(index, content["data"], strict=False)
        return [{"index": i} | dict(zip(map(str, content["columns"]), row, strict=False)) for i, row in pairs]
    tables = [v for v in content.values() if isinstance(v, list) and v and all(isinstance(r, dict) for r in v)]
    plain_values = [v for v in content.values() if not isinstance(v, list | dict)]
    if len(tables) == 1 and len(plain_values) + ("schema" in content) == len(content) - 1:
        return [row for entry in tables[0] for row in _faces_of(entry)]
    return _of_object(content, what)


def _faces_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row per face of an image whose faces are a list of objects."""
    lists = [k for k, v in row.items() if isinstance(v, list) and v and all(isinstance(one, dict) for one in v)]
    if len(lists) != 1 or _are_scores(row[lists[0]]):
        return [row]
    rest = {key: value for key, value in row.items() if key != lists[0]}
    return [rest | face for face in row[lists[0]]]


def _of_object(content: dict[str, Any], what: str) -> list[dict[str, Any]]:
    values = [value for value in content.values() if value is not None]
    if _is_columns(content):
        return [dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)]
    scored = all(
        isinstance(v, list) and all(isinstance(f, dict) and {"label", "score"} <= f.keys() for f in v) for v in values
    )
    if values and scored:
        pairs = ((key, faces or []) for key, faces in content.items())
        return [{"sample_id": key, "scores": faces} for key, faces in pairs]
    if values and all(isinstance(value, list) and all(isinstance(f, dict) for f in value) for value in values):
        return [{"sample_id": key} | face for key, faces in content.items() for face in faces or [{}]]
    if values and all(isinstance(value, list) for value in values):
        return [{"sample_id": key, "scores": value} for key, value in content.items()]
    if values and all(isinstance(value, dict) for value in values):
        inner = [set(value) for value in values]
        if len(values) == len(content) and all(keys == inner[0] for keys in inner) and _counts(inner[0]):
            # As pandas' to_json writes columns: {"column": {"0": value, ...}}.
            return [{name: column[key] for name, column in content.items()} for key in values[0]]
        return [face for key, value in content.items() for face in _faces_of({"sample_id": key} | (value or {}))]
    return [content]


def _are_scores(value: Any) -> bool:
    """Whether a value is a list of objects of a label and its score, as Hugging Face's pipelines give it."""
    return isinstance(value, list) and all(isinstance(one, dict) and {"label", "score"} <= one.keys() for one in value)


def _counts(keys: set[str]) -> bool:
    """Whether the keys of columns are row numbers, or ids rather than the names of columns."""
    return all(key.isdecimal() for key in keys)


def _is_columns(content: dict[str, Any]) -> bool:
    """Whether an object has a column per key, rather than a sample's scores or faces."""
    values = list(content.values())
    if not values or not all(isinstance(value, list) for value in values) or len({len(v) for v in values}) > 1:
        return False
    if any(isinstance(one, dict) for value in values for one in value):
        return False
    # Ids are not all of one length as scores are: a text column, or one of lists, is no sample's scores.
    kinds = [any(isinstance(one, str | list) for one in value) for value in values]
    return any(kinds) or len(values[0]) > MOST_CLASSES


MOST_CLASSES = 16


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
    lists = {key: value for key, value in row.items() if isinstance(value, list)}
    words = next((value for value in lists.values() if value and all(isinstance(one, str) for one in value)), None)
    for key, value in row.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, dict):
            found |= _flat(value, what, name, depth + 1)
        elif key not in lists:
            found[name] = value
        elif value and _are_scores(value):
            found |= {f"{name}_{one['label']}": one["score"] for one in value}
        elif words is not None and value is not words and len(value) == len(words):
            # The classes of this row, in the order of its scores.
            found |= {f"{name}_{word}": one for word, one in zip(words, value, strict=True)}
        elif value is not words:
            found |= {f"{name}_{i}": one for i, one in enumerate(value) if not isinstance(one, dict | list)}
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
            return np.asarray(values, dtype=np.int64) if _fits(values) else as_text([str(v) for v in values])
        return np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)
    texts = ["" if v is None else v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values]
    return as_text(texts)


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
