"""Delimited text to columns: the delimiter, the decimal sign, the encoding and an index column are found out."""

import csv
import io
import re

import numpy as np

from ig3d_ray.data.tables.texts import as_text
from ig3d_ray.errors import Ig3dError

DELIMITERS = ",;\t|"
INDEX_NAMES = re.compile(r"|Unnamed: 0(\.\d+)?|index|__index_level_0__", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?|[+-]?\d+([eE][+-]?\d+)?")
LINES_LOOKED_AT = 50


def read_delimited(data: bytes, what: str) -> dict[str, np.ndarray]:
    """The columns of delimited text: name -> `[N]` str.

    Args:
        data: the file's content.
        what: the file, for messages.

    Raises:
        Ig3dError: it is not text, has no rows or no header, or rows of different width.
    """
    lines = [line for line in re.split(r"\r\n|\n|\r", decoded(data, what)) if line.strip()]
    delimiter = ""
    if lines and re.fullmatch(r'"?sep=.?"?', lines[0].strip(), re.IGNORECASE):
        delimiter = lines.pop(0).strip().strip('"')[4:]
    lines = _without_comments(lines)
    if not lines:
        raise Ig3dError(f"{what}: no rows")
    delimiter = delimiter or _delimiter(lines)
    header, rows = _split(lines, delimiter, what)
    columns = {name: as_text([row[i] for row in rows]) for i, name in enumerate(header)}
    if delimiter != " ":
        columns = {name: _with_decimal_points(values) for name, values in columns.items()}
    return without_index(columns)


def _without_comments(lines: list[str]) -> list[str]:
    """Lines without comments at their beginning; a header after a # has as many fields as the line below it."""
    while lines and lines[0].lstrip().startswith("#"):
        first = lines.pop(0).lstrip().lstrip("#").strip()
        mark = max(DELIMITERS, key=first.count)
        if lines and first.count(mark) and first.count(mark) == lines[0].count(mark):
            return [first, *lines]
    return lines


def decoded(data: bytes, what: str) -> str:
    """Text in UTF-8 or UTF-16, with or without a byte order mark, or in Windows' Western European encoding.

    Raises:
        Ig3dError: it is none of them.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    elif b"\x00" in data[:200]:
        encodings = ["utf-16-le" if data[1:2] == b"\x00" else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text
    raise Ig3dError(f"{what}: not text in UTF-8, UTF-16 or Windows-1252; save it as CSV in UTF-8")


def _delimiter(lines: list[str]) -> str:
    """The delimiter by which the first lines have the most fields, equally many in each."""
    some = lines[:LINES_LOOKED_AT]
    best, most = ",", 1
    for candidate in DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(some, delimiter=candidate)]
        except csv.Error:
            continue
        # A data row may end with a delimiter more, or begin with a row name that the header lacks.
        if widths[0] > most and all(width - widths[0] in (0, 1) for width in widths):
            best, most = candidate, widths[0]
    if most == 1:
        by_header = max(DELIMITERS, key=lines[0].count)
        if lines[0].count(by_header):
            return by_header
        widths = [len(line.split()) for line in some]
        if widths[0] > 1 and all(width - widths[0] in (0, 1) for width in widths):
            return " "
    return best


def _split(lines: list[str], delimiter: str, what: str) -> tuple[list[str], list[list[str]]]:
    if delimiter == " ":
        table = [line.split() for line in lines]
    else:
        try:
            table = [row for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, strict=True) if row]
        except csv.Error as error:
            raise Ig3dError(f"{what}: not CSV text ({error})") from error
    header = [name.strip() for name in table[0]]
    rows = [[field.strip() for field in row] for row in table[1:]]
    if rows and all(len(row) == len(header) + 1 for row in rows):
        if not any(row[-1] for row in rows):
            rows = [row[:-1] for row in rows]
        else:
            # R's write.table names the rows, but not their column.
            header = ["", *header]
    if header and not header[-1] and not any(row[-1:] != [""] for row in rows if len(row) == len(header)):
        header, rows = header[:-1], [row[: len(header) - 1] if len(row) == len(header) else row for row in rows]
    if all(_is_number(name) for name in header):
        raise Ig3dError(f"{what}: its first line holds numbers; add a header, such as sample_id,logit_0,logit_1")
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise Ig3dError(f"{what}: duplicate column {twice!r}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise Ig3dError(f"{what}: line {number} has {len(row)} fields, the header has {len(header)}")
    return header, rows


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _with_decimal_points(values: np.ndarray) -> np.ndarray:
    """A column of numbers with decimal commas, as Excel writes them in half of Europe; others stay."""
    filled = [value for value in values.tolist() if value]
    if not any("," in value for value in filled) or not all(DECIMAL_COMMA.fullmatch(value) for value in filled):
        return values
    return as_text([value.replace(",", ".") for value in values.tolist()])


def without_index(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the column that pandas writes for its index, if that only counts rows; otherwise it has the ids.

    Args:
        columns: of a file.
    """
    name = next(iter(columns), None)
    if name is None:
        return columns
    if not INDEX_NAMES.fullmatch(name) or len(columns) == 1:
        return columns
    values = columns[name].tolist()
    rest = {other: column for other, column in columns.items() if other != name}
    counts = [list(map(str, range(first, first + len(values)))) for first in (0, 1)]
    return rest if values in counts else {"index": columns[name], **rest}
