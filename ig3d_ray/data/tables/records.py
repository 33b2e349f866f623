"""JSON and JSON lines to columns: lists of objects, objects of columns, objects of rows, faces and scores inside."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from ig3d_ray.data.tables.json_stream import JsonStream
from ig3d_ray.data.tables.packed import Packed, Packer, Piece, piece
from ig3d_ray.errors import Ig3dError

DEPTH = 50
MOST_CLASSES = 16
ROWS_AT_ONCE = 4096


def read_json(file: BinaryIO, what: str) -> Packed:
    """The columns of a JSON file.

    Args:
        file: at its beginning.
        what: begins messages.

    Raises:
        Ig3dError: not UTF-8 or not JSON, nested too deeply, or no table.
    """
    stream = JsonStream(file, what)
    match stream.peek():
        case "[":
            found = _packed_elements(stream.elements(), what)
        case "{":
            found = _packed_object(stream, what)
        case _:
            raise Ig3dError(f"{what}: holds {type(stream.value()).__name__}; give a list of objects, one per sample")
    stream.end()
    return found


def read_json_lines(file: BinaryIO, what: str) -> Packed:
    """The columns of a file with an object per line, as `read_json` has them."""
    head = file.read(2)
    file.seek(0)
    text = io.TextIOWrapper(file, "utf-16" if head in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", newline="\n")
    try:
        return packed_records(_parsed_lines(text, what), what)
    except UnicodeDecodeError as error:
        raise Ig3dError(f"{what}: not UTF-8 text ({error.reason})") from error
    finally:
        text.detach()


def _parsed_lines(lines: Iterable[str], what: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{what}: line {number}"
            try:
                yield from _records(json.loads(line), what)
            except RecursionError as error:
                raise Ig3dError(f"{where}: nested too deeply to be a table of predictions") from error
            except ValueError as error:
                raise Ig3dError(f"{where}: not valid JSON ({str(error)[:100]})") from error


def _packed_elements(elements: Iterator[Any], what: str) -> Packed:
    """The elements of a list as columns."""
    return packed_records((row for some in _batches(elements) for row in _records(some, what)), what)


def packed_records(rows: Iterable[dict[str, Any]], what: str) -> Packed:
    """Rows of nested objects as columns, names joined by dots; a missing value is NaN or empty.

    Args:
        rows: objects.
        what: begins messages.
    """
    packer = Packer()
    for some in _batches(iter(rows)):
        packer.add(record_pieces(some, what), len(some))
    return packer.columns()


def record_pieces(rows: list[dict[str, Any]], what: str) -> dict[str, Piece]:
    """As `packed_records`, of some of the rows."""
    flat = [_flat(row, what) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    return {name: piece([row.get(name) for row in flat]) for name in names}


def _batches(elements: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(islice(elements, ROWS_AT_ONCE)):
        yield some


class _Column(NamedTuple):
    """A long list of plain values, or an object of them by row number, as pandas writes a column."""

    values: pa.ChunkedArray
    keys: pa.Array | None = None

    def loose(self) -> list[Any] | dict[str, Any]:
        values = self.values.to_pylist()
        return values if self.keys is None else dict(zip(self.keys.to_pylist(), values, strict=True))


def _packed_object(stream: JsonStream, what: str) -> Packed:
    """An object of columns, of one table, or of rows by sample id."""
    content: dict[str, Any] = {}
    for key in stream.each_key():
        content[key] = _value(stream, what)
        if len(content) == ROWS_AT_ONCE:
            break
    else:
        return _whole_object(content, what)
    more = ((key, _value(stream, what)) for key in stream.each_key(is_within=True))
    batches = (dict(some) for some in chain([content], _batches(more)))
    return packed_records((row for some in batches for row in _by_sample(some, what)), what)


def _whole_object(content: dict[str, Any], what: str) -> Packed:
    tables = [value for value in content.values() if isinstance(value, Packed)]
    rest = [v for k, v in content.items() if isinstance(v, list | dict | _Column | Packed) and k != "schema"]
    if tables and len(rest) == 1:
        return tables[0]
    if tables:
        raise Ig3dError(f"{what}: an object of a table and other lists; give a list of objects, one per sample")
    columns = {key: value for key, value in content.items() if isinstance(value, _Column)}
    first = next(iter(columns.values()), None)
    if first is not None and len(columns) == len(content) and all(_fit(first, one) for one in columns.values()):
        return Packed({key: one.values for key, one in columns.items()})
    return packed_records(_records({k: v.loose() if k in columns else v for k, v in content.items()}, what), what)


def _fit(one: _Column, other: _Column) -> bool:
    """Whether two columns have the same rows."""
    if one.keys is None or other.keys is None:
        return one.keys is other.keys and len(one.values) == len(other.values)
    return bool(one.keys.equals(other.keys))


def _value(stream: JsonStream, what: str) -> Any:
    """The next value; a long one is packed: a list of objects as a table, one of plain values as a column."""
    if stream.peek() == "{":
        return _packed_by_number(stream.value())
    if stream.peek() != "[":
        return stream.value()
    elements = stream.elements()
    some = list(islice(elements, ROWS_AT_ONCE))
    if len(some) < ROWS_AT_ONCE:
        return some
    if all(isinstance(one, dict) for one in some):
        return packed_records((face for row in chain(some, elements) for face in _faces_of(_object(row, what))), what)
    if any(isinstance(one, list | dict) for one in some):
        return [*some, *elements]
    return _Column(_packed_values(chain(some, elements), what))


def _object(row: Any, what: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise Ig3dError(f"{what}: a list with {type(row).__name__}; give a list of objects, one per sample")
    return row


def _packed_by_number(content: Any) -> Any:
    if len(content) < ROWS_AT_ONCE or any(isinstance(one, list | dict) for one in content.values()):
        return content
    if not _counts(set(content)):
        return content
    return _Column(_packed_values(iter(content.values()), ""), pa.array(list(content)))


def _packed_values(values: Iterator[Any], what: str) -> pa.ChunkedArray:
    packer = Packer()
    for some in _batches(values):
        if any(isinstance(one, list | dict) for one in some):
            raise Ig3dError(f"{what}: a list of numbers and of lists; give one number per column and row")
        packer.add({"": piece(some)}, len(some))
    return packer.arrays()[""]


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
    if _is_columns(content):
        return [dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)]
    values = list(content.values())
    if values and all(isinstance(value, dict) for value in values):
        inner = [set(value) for value in values]
        if all(keys == inner[0] for keys in inner) and _counts(inner[0]):
            # As pandas' to_json writes columns: {"column": {"0": value, ...}}.
            return [{name: column[key] for name, column in content.items()} for key in values[0]]
    there = [value for value in values if value is not None]
    if not there or not all(isinstance(value, type(there[0])) and isinstance(value, list | dict) for value in there):
        return [content]
    return _by_sample(content, what)


def _by_sample(content: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """An object with each sample's scores or faces under its id."""
    there = [value for value in content.values() if value is not None]
    if all(_are_scores(value) for value in there):
        return [{"sample_id": key, "scores": faces or []} for key, faces in content.items()]
    if all(isinstance(value, list) and all(isinstance(one, dict) for one in value) for value in there):
        return [{"sample_id": key} | face for key, faces in content.items() for face in faces or [{}]]
    if all(isinstance(value, list) for value in there):
        return [{"sample_id": key, "scores": value} for key, value in content.items()]
    if all(isinstance(value, dict) for value in there):
        return [face for key, value in content.items() for face in _faces_of({"sample_id": key} | (value or {}))]
    strange = next(key for key, value in content.items() if not isinstance(value, list | dict))
    raise Ig3dError(f"{what}: {strange[:40]!r} is no sample's scores; give a list of objects, one per sample")


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
