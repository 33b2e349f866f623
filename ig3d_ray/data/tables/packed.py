"""Columns in about the memory of their file: numbers as such, text as Arrow's strings, which become NumPy's when asked.

NumPy's text takes four bytes for each character of the longest entry in every row, and Python's objects fifty each; so
files are read piece by piece, and a column is unpacked only where it is used.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ig3d_ray.data.tables.texts import check_length

Columns = Mapping[str, np.ndarray]
"""Name -> `[N]` of str or of numbers."""
LARGE = 1 << 18
"""Rows of pieces that are put together."""
BOTH = ""
"""The spelling of numbers none of which is whole: with and without `.0`."""
PIECE, SMALL = 16_384, 512
"""Numbers, and texts, which may be long, that are unpacked at once."""
LARGEST = int(sys.float_info.max)
# Arrow's own allocators keep half as much again of what small pieces take.
_POOL = pa.system_memory_pool()


class Packed(Mapping[str, np.ndarray]):
    """The columns of a file; each is unpacked when it is asked for, so ask once and keep what is needed.

    Args:
        columns: name -> `[N]` of Arrow or NumPy, text without nulls.
        spellings: of numbers that the file has as text, and not in Python's own form.
    """

    def __init__(
        self, columns: Mapping[str, pa.ChunkedArray | np.ndarray], spellings: Mapping[str, str] | None = None
    ) -> None:
        self._columns, self._spellings = dict(columns), dict(spellings or {})

    def __getitem__(self, name: str) -> np.ndarray:
        return _unpacked(self._columns[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(next(iter(self._columns.values()), ()))

    def each(self, name: str) -> Iterator[Any]:
        """The values of a column, one after the other.

        Args:
            name: of the column.
        """
        column = self._columns[name]
        if isinstance(column, np.ndarray):
            yield from in_pieces(column)
            return
        for chunk in column.chunks:
            for start in range(0, len(chunk), SMALL):
                part = chunk[start : start + SMALL]
                yield from part.to_pylist() if pa.types.is_string(part.type) else _unpacked(part).tolist()

    def each_text(self, name: str) -> Iterator[Any]:
        """The values of a column, of a file of text as the file has them.

        Args:
            name: of the column.
        """
        if name not in self._spellings:
            return self.each(name)
        spell = _spell(self._spellings[name])
        return ("" if value != value else spell(value) for value in self.each(name))

    def is_spelled(self, name: str) -> bool:
        """Whether a column of numbers is text in its file.

        Args:
            name: of the column.
        """
        return name in self._spellings

    def without(self, names: Iterable[str]) -> "Packed":
        """The other columns.

        Args:
            names: of those to leave out; some may not be there.
        """
        left_out = set(names)
        return Packed({n: column for n, column in self._columns.items() if n not in left_out}, self._spellings)

    def renamed(self, names: Mapping[str, str]) -> "Packed":
        """With other names for some columns.

        Args:
            names: present name -> new name.
        """
        spellings = {names.get(name, name): spelling for name, spelling in self._spellings.items()}
        return Packed({names.get(name, name): column for name, column in self._columns.items()}, spellings)

    def replaced(self, columns: Columns, instead_of: str | None = None) -> "Packed":
        """With other content for some columns, and columns added.

        Args:
            columns: name -> `[N]`.
            instead_of: a column in whose place they stand.
        """
        spellings = {name: spelling for name, spelling in self._spellings.items() if name not in columns}
        if instead_of is None:
            return Packed({**self._columns, **columns}, spellings)
        found: dict[str, pa.ChunkedArray | np.ndarray] = {}
        for name, column in self._columns.items():
            found |= columns if name == instead_of else {name: column}
        return Packed(found, spellings)


def in_pieces(values: np.ndarray) -> Iterator[Any]:
    """The values of an array as Python's, some thousand at a time.

    Args:
        values: `[N]`.
    """
    for start in range(0, len(values), PIECE):
        yield from values[start : start + PIECE].tolist()


def row_count(columns: Columns) -> int:
    """The number of rows of columns.

    Args:
        columns: of a file.
    """
    return columns.rows if isinstance(columns, Packed) else len(next(iter(columns.values()), ()))


def each(columns: Columns, name: str) -> Iterator[Any]:
    """The values of a column, one after the other, without unpacking the whole of it.

    Args:
        columns: of a file.
        name: of the column.
    """
    return columns.each(name) if isinstance(columns, Packed) else iter(columns[name].tolist())


def each_text(columns: Columns, name: str) -> Iterator[Any]:
    """The values of a column, of a file of text as the file has them: the id 1.30 is not 1.3.

    Args:
        columns: of a file.
        name: of the column.
    """
    return columns.each_text(name) if isinstance(columns, Packed) else iter(columns[name].tolist())


def texts(columns: Columns, name: str) -> np.ndarray:
    """As `each_text`, `[N]`.

    Args:
        columns: of a file.
        name: of the column.
    """
    is_spelled = isinstance(columns, Packed) and columns.is_spelled(name)
    return np.array(list(each_text(columns, name))) if is_spelled else columns[name]


def without(columns: Columns, names: Iterable[str]) -> Columns:
    """The other columns, still packed.

    Args:
        columns: of a file.
        names: of those to leave out.
    """
    left_out = set(names)
    if isinstance(columns, Packed):
        return columns.without(left_out)
    return {name: values for name, values in columns.items() if name not in left_out}


def _unpacked(column: pa.ChunkedArray | pa.Array | np.ndarray) -> np.ndarray:
    if isinstance(column, np.ndarray):
        return column
    if not pa.types.is_string(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())
    longest = pc.max(pc.utf8_length(column, memory_pool=_POOL)).as_py() or 0
    texts = np.empty(len(column), f"<U{max(longest, 1)}")
    at = 0
    for chunk in column.chunks:
        for start in range(0, len(chunk), SMALL):
            part = chunk[start : start + SMALL].to_pylist()
            texts[at : at + len(part)] = part
            at += len(part)
    return texts


class Piece(NamedTuple):
    """Some rows of a column: null, int64, double or string; and how its numbers were spelled, if they were text."""

    values: pa.Array
    spelling: str = BOTH


def _merged(pieces: list[Piece]) -> list[Piece]:
    """The small ones at the end as one, where they are of one kind: many small ones leave holes in memory."""
    large = [one for one in pieces if len(one.values) >= LARGE]
    small = pieces[len(large) :]
    spelled = {one.spelling for one in small} - {BOTH}
    if len({one.values.type for one in small}) != 1 or len(spelled) > 1:
        return pieces
    joined = pa.concat_arrays([one.values for one in small], memory_pool=_POOL)
    return [*large, Piece(joined, next(iter(spelled), BOTH))]


class Packer:
    """Puts the pieces of columns together.

    Args:
        all_text: whether they come from a file of text, in which numbers may have decimal commas.
    """

    def __init__(self, all_text: bool = False) -> None:
        self._pieces: dict[str, list[Piece]] = {}
        self._all_text, self.rows = all_text, 0

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
            if self._all_text and has_decimal_commas(found[name]):
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
        spelled = {piece.spelling for piece in pieces} - {BOTH}
        if len(spelled) > 1 or pa.string() in kinds or (not kinds and self._all_text):
            return pa.chunked_array([_as_strings(piece) for piece in pieces], pa.string()), BOTH
        kind = pa.int64() if kinds == {pa.int64()} and not any(piece.values.null_count for piece in pieces) else None
        kind = kind or pa.float64()
        return pa.chunked_array([piece.values.cast(kind) for piece in pieces], kind), next(iter(spelled), BOTH)


def _as_strings(piece: Piece) -> pa.Array:
    values = piece.values
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_null(values.type):
        return _array([""] * len(values), pa.string())
    spell = _spell(piece.spelling) if pa.types.is_floating(values.type) else str
    return _array(["" if value is None else spell(value) for value in values.to_pylist()], pa.string())


def piece(values: Sequence[Any]) -> Piece:
    """Python's values: numbers where all are numbers or missing, otherwise text.

    Integers that are in neither int64 nor the range of a float stay text.

    Args:
        values: of some rows.
    """
    kinds = set(map(type, values))
    if kinds <= {int, float, type(None)}:
        if kinds <= {type(None)}:
            return Piece(pa.nulls(len(values)))
        if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
            return Piece(_array(values, pa.int64()))
        if kinds != {int} and all(abs(value) <= LARGEST for value in values if isinstance(value, int)):
            numbers = [value if value is None else float(value) for value in values]
            return Piece(_array(numbers, pa.float64()))
    return Piece(_array([_as_word(value) for value in values], pa.string()))


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind, memory_pool=_POOL)


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
        spelling = next((one for one in _spellings(filled[0]) if list(map(_spell(one), numbers)) == filled), None)
        if spelling == "r" and not any(map(float.is_integer, numbers)):
            spelling = BOTH
        if numbers and spelling is not None:
            values = iter(numbers)
            return Piece(_array([next(values) if text else None for text in texts], pa.float64()), spelling)
    return Piece(_array(texts, pa.string()))


def _spellings(text: str) -> tuple[str, ...]:
    """How numbers may be spelled of which the first is this text."""
    mantissa, _, exponent = text.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return ("r", "s", f".{decimals}e") if exponent else ("r", "s", f".{decimals}f")


def _spell(spelling: str) -> Any:
    """A function from numbers to text: Python's own form, without `.0`, or a format."""
    if spelling in ("r", BOTH):
        return repr
    return _without_zero if spelling == "s" else f"{{:{spelling}}}".format


def _without_zero(value: float) -> str:
    return repr(value).removesuffix(".0")


def has_decimal_commas(column: pa.ChunkedArray) -> bool:
    """Whether a column has numbers with decimal commas, as Excel writes them in half of Europe.

    Args:
        column: text, or numbers already.
    """
    if not pa.types.is_string(column.type):
        return False
    some = pc.any(pc.match_substring(column, ",")).as_py()
    return bool(some and pc.all(pc.match_substring_regex(column, DECIMAL_COMMA)).as_py())


DECIMAL_COMMA = r"^([+-]?\d*,\d+([eE][+-]?\d+)?|[+-]?\d+([eE][+-]?\d+)?|)$"
