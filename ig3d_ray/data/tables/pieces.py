"""Rows of columns as they are read, put together piece by piece."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ig3d_ray.data.tables.packed import POOL, Packed
from ig3d_ray.data.tables.spelling import BOTH, spell, spellings
from ig3d_ray.data.tables.texts import check_length

LARGE = 1 << 18
"""Rows of pieces that are put together."""
LARGEST = int(sys.float_info.max)
DECIMAL_COMMA = r"^([+-]?\d*,\d+([eE][+-]?\d+)?|[+-]?\d+([eE][+-]?\d+)?|)$"


class Piece(NamedTuple):
    """Some rows of a column: null, int64, double or string; and how its numbers were spelled, if they were text."""

    values: pa.Array
    spelling: str = BOTH


def piece(values: Sequence[Any]) -> Piece:
    """Python's values: numbers where all are numbers or missing, otherwise text.

    Integers that are in neither int64 nor the range of a float stay text.

    Args:
        values: of some rows.
    """
    kinds = set(map(type, values))
    if bool not in kinds and all(issubclass(kind, int | float | NoneType) for kind in kinds):
        whole = all(issubclass(kind, int) for kind in kinds)
        if kinds <= {NoneType}:
            return Piece(pa.nulls(len(values)))
        if whole and all(-(2**63) <= value < 2**63 for value in values):
            return Piece(_array(values, pa.int64()))
        if not whole and all(abs(value) <= LARGEST for value in values if isinstance(value, int)):
            numbers = [value if value is None else float(value) for value in values]
            return Piece(_array(numbers, pa.float64()))
    return Piece(_array([_as_word(value) for value in values], pa.string()))


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind, memory_pool=POOL)


def _as_word(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, int) and abs(value) > LARGEST:
        return hex(value)  # Python refuses to write thousands of digits
    # JSON may hold half of a pair of UTF-16, which no file of text can.
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def text_piece(texts: Sequence[str]) -> Piece:
    """Text as numbers where each entry can be spelled again exactly as it was; otherwise as it is.

    Whole numbers stay text, since they may be ids or classes.

    Args:
        texts: of some rows, an empty one where there is none.
    """
    if not any(texts):
        return Piece(pa.nulls(len(texts)))
    filled = [text for text in texts if text]
    if any("." in text or "e" in text for text in filled):
        try:
            numbers = list(map(float, filled))
        except ValueError:
            numbers = []
        spelling = next((one for one in spellings(filled[0]) if list(map(spell(one), numbers)) == filled), None)
        if spelling == "r" and not any(map(float.is_integer, numbers)):
            spelling = BOTH
        if numbers and spelling is not None:
            values = iter(numbers)
            return Piece(_array([next(values) if text else None for text in texts], pa.float64()), spelling)
    return Piece(_array(texts, pa.string()))


class Packer:
    """Puts the pieces of columns together.

    Args:
        all_text: whether they come from a file of text.
        decimal_commas: whether numbers may have them there.
    """

    def __init__(self, all_text: bool = False, decimal_commas: bool = False) -> None:
        self._pieces: dict[str, list[Piece]] = {}
        self._all_text, self._decimal_commas, self.rows = all_text, decimal_commas, 0

    def add(self, pieces: Mapping[str, Piece], rows: int) -> None:
        """The next rows; a column that is new, or not there, is empty in the others.

        Args:
            pieces: name -> `[rows]`.
            rows: their number.
        """
        for name in pieces:
            if name not in self._pieces:
                self._pieces[name] = [Piece(pa.nulls(self.rows))] if self.rows else []
        for name, there in self._pieces.items() if rows else ():
            there.append(pieces.get(name) or Piece(pa.nulls(rows)))
        self.rows += rows
        if self.rows // LARGE > (self.rows - rows) // LARGE:
            self._pieces = {name: _merged(pieces) for name, pieces in self._pieces.items()}

    def columns(self) -> Packed:
        """All rows; a column with any text is text throughout.

        Raises:
            TextTooLongError: a column's text would not fit into memory.
        """
        spellings: dict[str, str] = {}
        return Packed(self.arrays(spellings), spellings)

    def arrays(self, spellings: dict[str, str] | None = None) -> dict[str, pa.ChunkedArray]:
        """As `columns`, of Arrow.

        Args:
            spellings: gets those of the numbers.
        """
        found = {}
        while self._pieces:
            # Pieces are freed as they are put together.
            name = next(iter(self._pieces))
            found[name], spelling = self._joined(self._pieces.pop(name))
            if self._decimal_commas and has_decimal_commas(found[name]):
                chunks = pc.replace_substring(found[name], ",", ".").chunks
                found[name], spelling = self._joined([text_piece(chunk.to_pylist()) for chunk in chunks])
            if pa.types.is_string(found[name].type):
                check_length(found[name])
            elif spellings is not None and self._all_text:
                spellings[name] = spelling
        return found

    def _joined(self, pieces: list[Piece]) -> tuple[pa.ChunkedArray, str]:
        """The pieces of a column as one, and how its numbers are spelled."""
        kinds = {piece.values.type for piece in pieces} - {pa.null()}
        spelling = _common_spelling(pieces)
        if spelling is None or pa.string() in kinds or (not kinds and self._all_text):
            return pa.chunked_array([_as_strings(piece) for piece in pieces], pa.string()), BOTH
        kind = pa.int64() if kinds == {pa.int64()} and not any(piece.values.null_count for piece in pieces) else None
        kind = kind or pa.float64()
        # Not safe: whole numbers above 2 ** 53 are rounded beside others.
        return pa.chunked_array([piece.values.cast(kind, safe=False) for piece in pieces], kind), spelling


def _merged(pieces: list[Piece]) -> list[Piece]:
    """The small ones at the end as one, where they are of one kind: many small ones leave holes in memory."""
    large = [one for one in pieces if len(one.values) >= LARGE]
    small = pieces[len(large) :]
    spelling = _common_spelling(small)
    if len({one.values.type for one in small}) != 1 or spelling is None:
        return pieces
    joined = pa.concat_arrays([one.values for one in small], memory_pool=POOL)
    return [*large, Piece(joined, spelling)]


def _common_spelling(pieces: Iterable[Piece]) -> str | None:
    """The spelling by which all numbers are given back; None if there is none."""
    there = {piece.spelling for piece in pieces if not pa.types.is_null(piece.values.type)}
    others = there - {BOTH}
    if len(others) > 1 or (BOTH in there and not others <= {"r", "s"}):
        return None
    return next(iter(others), BOTH)


def _as_strings(piece: Piece) -> pa.Array:
    values = piece.values
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_null(values.type):
        return _array([""] * len(values), pa.string())
    as_text = spell(piece.spelling) if pa.types.is_floating(values.type) else str
    return _array(["" if value is None else as_text(value) for value in values.to_pylist()], pa.string())


def has_decimal_commas(column: pa.ChunkedArray) -> bool:
    """Whether a column has numbers with decimal commas, as Excel writes them in half of Europe.

    Args:
        column: text, or numbers already.
    """
    if not pa.types.is_string(column.type):
        return False
    some = pc.any(pc.match_substring(column, ",")).as_py()
    return bool(some and pc.all(pc.match_substring_regex(column, DECIMAL_COMMA)).as_py())
