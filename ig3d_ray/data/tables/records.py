"""JSON and JSON lines to columns: lists of objects, objects of columns, objects of rows, faces and scores inside."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ig3d_ray.data.tables.texts import as_text
from ig3d_ray.errors import Ig3dError

Columns = dict[str, np.ndarray]
"""Name -> `[N]` of str or of numbers."""
DEPTH = 50
MOST_CLASSES = 16
LARGEST = int(sys.float_info.max)


def read_json(data: bytes, what: str) -> Columns:
    """The columns of a JSON file.

    Args:
        data: the file.
        what: begins messages.

    Raises:
        Ig3dError: not UTF-8 or not JSON, nested too deeply, or no table.
    """
    return records_to_columns(_records(_parsed_json(_text(data, what), what), what), what)


def read_json_lines(data: bytes, what: str) -> Columns:
    """The columns of a file with an object per line, as `read_json` has them."""
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
    if depth > DEPTH:
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
    """A list as an array: numbers where all are numbers or missing, otherwise str.

    Integers that are in neither int64 nor the range of a float stay text.
    """
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        whole = [value for value in values if isinstance(value, int)]
        if len(whole) == len(values) and all(-(2**63) <= value < 2**63 for value in whole):
            return np.asarray(values, dtype=np.int64)
        if len(whole) < len(values) and all(abs(value) <= LARGEST for value in whole):
            return np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)
    return as_text([_as_word(value) for value in values])


def _as_word(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, int) and abs(value) > LARGEST:
        return hex(value)  # Python refuses to write thousands of digits
    # JSON may hold half of a pair of UTF-16, which no file of text can.
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
