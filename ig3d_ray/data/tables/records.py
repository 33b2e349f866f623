"""Nested objects to columns: rows, an object of columns, and rows by sample id, with faces and scores inside."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ig3d_ray.data.tables.packed import Packed
from ig3d_ray.data.tables.pieces import Packer, Piece, piece
from ig3d_ray.errors import Ig3dError

DEPTH = 50
MOST_CLASSES = 16
ROWS_AT_ONCE = 4096


def packed_records(rows: Iterable[dict[str, Any]], what: str) -> Packed:
    """Rows of nested objects as columns, names joined by dots; a missing value is NaN or empty.

    Args:
        rows: objects.
        what: begins messages.
    """
    packer = Packer()
    for some in batches(iter(rows)):
        packer.add(record_pieces(some, what), len(some))
    return packer.columns()


def record_pieces(rows: list[dict[str, Any]], what: str) -> dict[str, Piece]:
    """As `packed_records`, of some of the rows."""
    flat = [_flat(row, what) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    return {name: piece([row.get(name) for row in flat]) for name in names}


def batches(elements: Iterator[Any]) -> Iterator[list[Any]]:
    """Elements, some thousand at a time.

    Args:
        elements: of any kind.
    """
    while some := list(islice(elements, ROWS_AT_ONCE)):
        yield some


def records_of(content: Any, what: str) -> list[dict[str, Any]]:
    """JSON as rows: a list of objects, an object of columns, or an object of rows by sample id.

    Args:
        content: as Python has it.
        what: begins messages.

    Raises:
        Ig3dError: it is something else.
    """
    if isinstance(content, list):
        rows: list[dict[str, Any]] = []
        for entry in content:
            # DeepFace gives a list of faces for each image of a batch; null where it failed.
            if isinstance(entry, list):
                rows += records_of(entry, what)
            elif entry is not None:
                rows += faces_of(entry) if isinstance(entry, dict) else [entry]
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
        return [row for entry in tables[0] for row in faces_of(entry)]
    return _of_object(content, what)


def faces_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row per face of an image whose faces are a list of objects.

    Args:
        row: an image, or anything else, which stays.
    """
    lists = [k for k, v in row.items() if isinstance(v, list) and v and all(isinstance(one, dict) for one in v)]
    if len(lists) != 1 or _are_scores(row[lists[0]]):
        return [row]
    rest = {key: value for key, value in row.items() if key != lists[0]}
    return [rest | face for face in row[lists[0]]]


def _of_object(content: dict[str, Any], what: str) -> list[dict[str, Any]]:
    if _is_columns(content):
        return [dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)]
    values = list(content.values())
    if values and all(isinstance(value, dict) for value in values):
        inner = [set(value) for value in values]
        if all(keys == inner[0] for keys in inner) and counts_rows(inner[0]):
            # As pandas' to_json writes columns: {"column": {"0": value, ...}}.
            return [{name: column[key] for name, column in content.items()} for key in values[0]]
    there = [value for value in values if value is not None]
    if not there or not all(isinstance(value, type(there[0])) and isinstance(value, list | dict) for value in there):
        return [content]
    return by_sample(content, what)


def by_sample(content: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """An object with each sample's scores or faces under its id, as rows.

    Args:
        content: sample id -> scores or faces; None where there are none.
        what: begins messages.

    Raises:
        Ig3dError: some value is neither a list nor an object.
    """
    there = [value for value in content.values() if value is not None]
    if all(_are_scores(value) for value in there):
        return [{"sample_id": key, "scores": faces or []} for key, faces in content.items()]
    if all(isinstance(value, list) and all(isinstance(one, dict) for one in value) for value in there):
        return [{"sample_id": key} | face for key, faces in content.items() for face in faces or [{}]]
    if all(isinstance(value, list) for value in there):
        return [{"sample_id": key, "scores": value} for key, value in content.items()]
    if all(isinstance(value, dict) for value in there):
        return [face for key, value in content.items() for face in faces_of({"sample_id": key} | (value or {}))]
    kinds = {key: type(value) for key, value in content.items() if value is not None}
    strange = next((key for key, kind in kinds.items() if kind not in (list, dict)), next(iter(kinds)))
    raise Ig3dError(f"{what}: {strange[:40]!r} is no sample's scores; give a list of objects, one per sample")


def _are_scores(value: Any) -> bool:
    """Whether a value is a list of objects of a label and its score, as Hugging Face's pipelines give it."""
    return isinstance(value, list) and all(isinstance(one, dict) and {"label", "score"} <= one.keys() for one in value)


def counts_rows(keys: set[str]) -> bool:
    """Whether the keys of columns are row numbers, or ids rather than the names of columns.

    Args:
        keys: of an object.
    """
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


def split_matrix(name: str, rows: Sequence[Any], width: int) -> dict[str, Piece]:
    """A column of equally long lists as `name_0`, `name_1`, ...; a null is a row of NaN.

    Args:
        name: of the column.
        rows: lists of one width, or None.
        width: theirs.
    """
    empty = [None] * width
    return {f"{name}_{i}": piece([(row or empty)[i] for row in rows]) for i in range(width)}
