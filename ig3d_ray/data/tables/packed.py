"""Columns in about the memory of their file: numbers as such, text as Arrow's strings, which become NumPy's when asked.

NumPy's text takes four bytes for each character of the longest entry in every row, and Python's objects fifty each; so
files are read piece by piece, and a column is unpacked only where it is used.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ig3d_ray.data.tables.spelling import spell

Columns = Mapping[str, np.ndarray]
"""Name -> `[N]` of str or of numbers."""
PIECE, SMALL = 16_384, 512
"""Numbers, and texts, which may be long, that are unpacked at once."""
POOL = pa.system_memory_pool()
"""Arrow's own allocators keep half as much again of what small pieces take."""


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
        as_text = spell(self._spellings[name])
        column = self._columns[name]
        assert isinstance(column, pa.ChunkedArray)
        # A missing value is an empty field; NaN is a word.
        values = (value for chunk in column.chunks for value in chunk.to_pylist())
        return ("" if value is None else as_text(value) for value in values)

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
    longest = pc.max(pc.utf8_length(column, memory_pool=POOL)).as_py() or 0
    texts = np.empty(len(column), f"<U{max(longest, 1)}")
    at = 0
    for chunk in column.chunks:
        for start in range(0, len(chunk), SMALL):
            part = chunk[start : start + SMALL].to_pylist()
            texts[at : at + len(part)] = part
            at += len(part)
    return texts
