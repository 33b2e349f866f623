"""Delimited text to columns: the delimiter, the decimal sign, the encoding and an index column are found out."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import BinaryIO

from ig3d_ray.data.tables.packed import Packed
from ig3d_ray.data.tables.pieces import Packer, text_piece
from ig3d_ray.errors import Ig3dError

DELIMITERS = ",;\t|"
INDEX_NAMES = re.compile(r"|Unnamed: 0(\.\d+)?|index|__index_level_0__", re.IGNORECASE)
SEP = re.compile(r'"?sep=.?"?', re.IGNORECASE)
"""Excel's line that names the delimiter."""
LINES_LOOKED_AT = 50
ROWS_AT_ONCE, CHARACTERS_AT_ONCE = 4096, 1 << 20


class _NoTextError(Exception):
    """It is not text in this encoding."""


def read_delimited(file: BinaryIO, what: str) -> Packed:
    """The columns of delimited text, in UTF-8 or UTF-16, with or without a byte order mark, or in Windows' encoding.

    Args:
        file: at its beginning.
        what: the file, for messages.

    Raises:
        Ig3dError: it is not text, has no rows or no header, or rows of different width.
    """
    for encoding in encodings_of(file.read(200)):
        file.seek(0)
        text = io.TextIOWrapper(file, encoding)
        try:
            return _read(_Lines(text), what)
        except (UnicodeDecodeError, _NoTextError):
            continue
        finally:
            text.detach()
    raise Ig3dError(f"{what}: not text in UTF-8, UTF-16 or Windows-1252; save it as CSV in UTF-8")


def encodings_of(head: bytes) -> list[str]:
    """The encodings that a text may have, by its first bytes."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return ["utf-16"]
    if b"\x00" in head:
        return ["utf-16-le" if head[1:2] == b"\x00" else "utf-16-be"]
    return ["utf-8-sig", "cp1252"]


class _Lines:
    """The lines of a text that are not blank, and how many characters were read."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text, self.characters = text, 0

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            if "\x00" in line:
                raise _NoTextError
            self.characters += len(line)
            if line.strip():
                yield line


def _read(source: _Lines, what: str) -> Packed:
    lines = iter(source)
    head = list(islice(lines, 1))
    delimiter = ""
    if head and SEP.fullmatch(head[0].strip()):
        delimiter = head.pop().strip().strip('"')[4:]
    lines = _without_comments(chain(head, lines))
    some = list(islice(lines, LINES_LOOKED_AT))
    if not some:
        raise Ig3dError(f"{what}: no rows")
    delimiter = delimiter or delimiter_of(some)
    lines = chain(some, lines)
    try:
        if delimiter == " ":
            return without_index(_packed((line.split() for line in lines), source, what, decimal_commas=False))
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        packed = _packed(rows, source, what)
    except csv.Error as error:
        raise Ig3dError(f"{what}: not CSV text ({error})") from error
    return without_index(packed)


def _without_comments(lines: Iterator[str]) -> Iterator[str]:
    """Lines without comments at their beginning; a header after a # has as many fields as the line below it."""
    line = next(lines, None)
    while line is not None and line.lstrip().startswith("#"):
        after = next(lines, None)
        first = line.lstrip().lstrip("#").strip()
        mark = max(DELIMITERS, key=first.count)
        if after is not None and first.count(mark) and first.count(mark) == after.count(mark):
            return chain([first, after], lines)
        line = after
    return iter(()) if line is None else chain([line], lines)


def delimiter_of(some: list[str]) -> str:
    """The delimiter by which the first lines have the most fields, equally many in each."""
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
        by_header = max(DELIMITERS, key=some[0].count)
        if some[0].count(by_header):
            return by_header
        widths = [len(line.split()) for line in some]
        if widths[0] > 1 and all(width - widths[0] in (0, 1) for width in widths):
            return " "
    return best


def _packed(table: Iterator[list[str]], source: _Lines, what: str, decimal_commas: bool = True) -> Packed:
    """A header and its rows as columns, packed some thousand rows at a time."""
    table = (row for row in table if row)
    header = [name.strip() for name in next(table, [])]
    first = next(table, None)
    if all(_is_number(name) for name in header):
        raise Ig3dError(f"{what}: its first line holds numbers; add a header, such as sample_id,logit_0,logit_1")
    # R's write.table names the rows, but not their column; others end each row with a delimiter.
    width = len(header) + (first is not None and len(first) == len(header) + 1)
    rows = _Rows(chain([] if first is None else [first], table), width, header, what)
    packer = Packer(all_text=True, decimal_commas=decimal_commas)
    packer.add({str(at): text_piece([]) for at in range(width)}, 0)
    while some := rows.take(source):
        columns = enumerate(zip(*some, strict=True))
        packer.add({str(at): text_piece([field.strip() for field in column]) for at, column in columns}, len(some))
    packed = packer.columns()
    last_is_empty = not any(packed.each(str(width - 1)))
    names = ["", *header] if width > len(header) else header
    if last_is_empty and (width > len(header) or not header[-1]):
        names = header[: width - 1]
        if names and not names[-1] and not any(packed.each(str(len(names) - 1))):
            names = names[:-1]
    elif rows.first_short is not None:
        raise rows.error(*rows.first_short)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Ig3dError(f"{what}: duplicate column {twice!r}")
    return packed.without(map(str, range(len(names), width))).renamed({str(at): one for at, one in enumerate(names)})


class _Rows:
    """Rows of one width, some at a time; where the header ends with a delimiter, the rows may lack it."""

    def __init__(self, rows: Iterator[list[str]], width: int, header: list[str], what: str) -> None:
        self._rows, self._width, self._header, self._what = rows, width, header, what
        self._number = 1
        self.first_short: tuple[int, int] | None = None

    def take(self, source: _Lines) -> list[list[str]]:
        """The next thousands of rows, fewer where they are long; none at the end."""
        end, some = source.characters + CHARACTERS_AT_ONCE, list[list[str]]()
        for row in self._rows:
            self._number += 1
            some.append(row if len(row) == self._width else self._filled(row))
            if len(some) == ROWS_AT_ONCE or source.characters > end:
                break
        return some

    def _filled(self, row: list[str]) -> list[str]:
        if self._width > len(self._header):
            raise self.error(2, self._width)
        if self._header[-1] or len(row) != self._width - 1:
            raise self.error(self._number, len(row))
        self.first_short = self.first_short or (self._number, len(row))
        return [*row, ""]

    def error(self, number: int, fields: int) -> Ig3dError:
        """A line has too few or too many fields."""
        return Ig3dError(f"{self._what}: line {number} has {fields} fields, the header has {len(self._header)}")


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def without_index(columns: Packed) -> Packed:
    """Without the column that pandas writes for its index, if that only counts rows; otherwise it has the ids.

    Args:
        columns: of a file.
    """
    name = next(iter(columns), None)
    if name is None or not INDEX_NAMES.fullmatch(name) or len(columns) == 1:
        return columns
    first = next(columns.each(name), None)
    if first in ("0", "1") and all(one == str(row) for row, one in enumerate(columns.each(name), int(first))):
        return columns.without([name])
    return columns.renamed({name: "index"})
