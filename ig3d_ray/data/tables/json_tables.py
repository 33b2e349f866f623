"""JSON and JSON lines to columns, piece by piece: lists of objects, objects of columns, tables or rows by sample id."""

import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from ig3d_ray.data.tables.json_stream import JsonStream
from ig3d_ray.data.tables.packed import Packed
from ig3d_ray.data.tables.pieces import Packer, piece
from ig3d_ray.data.tables.records import (
    ROWS_AT_ONCE,
    batches,
    by_sample,
    counts_rows,
    faces_of,
    packed_records,
    records_of,
)
from ig3d_ray.errors import Ig3dError


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
                yield from records_of(json.loads(line), what)
            except RecursionError as error:
                raise Ig3dError(f"{where}: nested too deeply to be a table of predictions") from error
            except ValueError as error:
                raise Ig3dError(f"{where}: not valid JSON ({str(error)[:100]})") from error


def _packed_elements(elements: Iterator[Any], what: str) -> Packed:
    """The elements of a list as columns."""
    return packed_records((row for some in batches(elements) for row in records_of(some, what)), what)


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
    parts = (dict(some) for some in chain([content], batches(more)))
    return packed_records((row for some in parts for row in by_sample(some, what)), what)


def _whole_object(content: dict[str, Any], what: str) -> Packed:
    tables = [value for value in content.values() if isinstance(value, Packed)]
    rest = [v for k, v in content.items() if isinstance(v, list | dict | _Column | Packed) and k != "schema"]
    if tables and len(rest) == 1:
        return tables[0]
    if tables and all(isinstance(value, Packed | list) for value in content.values()):
        # Long lists of faces by sample id, such as the frames of several videos.
        loose = {key: _rows_of(value) if isinstance(value, Packed) else value for key, value in content.items()}
        return packed_records((row for key in loose for row in by_sample({key: loose[key]}, what)), what)
    if tables:
        raise Ig3dError(f"{what}: an object of a table and other values; give a list of objects, one per sample")
    columns = {key: value for key, value in content.items() if isinstance(value, _Column)}
    first = next(iter(columns.values()), None)
    if first is not None and len(columns) == len(content) and all(_fit(first, one) for one in columns.values()):
        return Packed({key: one.values for key, one in columns.items()})
    return packed_records(records_of({k: v.loose() if k in columns else v for k, v in content.items()}, what), what)


def _rows_of(table: Packed) -> list[dict[str, Any]]:
    return [dict(zip(table, row, strict=True)) for row in zip(*(table.each(name) for name in table), strict=True)]


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
        return packed_records((face for row in chain(some, elements) for face in faces_of(_object(row, what))), what)
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
    if not counts_rows(set(content)):
        return content
    return _Column(_packed_values(iter(content.values()), ""), pa.array(list(content)))


def _packed_values(values: Iterator[Any], what: str) -> pa.ChunkedArray:
    packer = Packer()
    for some in batches(values):
        if any(isinstance(one, list | dict) for one in some):
            raise Ig3dError(f"{what}: a list of numbers and of lists; give one number per column and row")
        packer.add({"": piece(some)}, len(some))
    return packer.arrays()[""]
