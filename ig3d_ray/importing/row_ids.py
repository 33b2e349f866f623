"""The sample ids of a table: a column, a tool's image and frame, or row numbers."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ig3d_ray.data.tables.columns import find_column, listed
from ig3d_ray.data.tables.packed import Columns, each, in_pieces, row_count, texts
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.columns import IDS
from ig3d_ray.importing.reading import AS_FOUND, Reading
from ig3d_ray.importing.tools import ToolFormat

ROW_ID = "row-{:07d}"
ROW_PATTERN = re.compile(r"row-\d{7}")


def sample_ids(
    what: str, columns: Columns, reading: Reading = AS_FOUND, tool: ToolFormat | None = None
) -> tuple[np.ndarray, bool]:
    """The ids of a file's rows, `[N]` str, and whether they are row numbers.

    Args:
        what: the file, for messages.
        columns: of the file.
        reading: may name the column, or number the rows.
        tool: whose columns of ids are looked for first.

    Raises:
        Ig3dError: there are no ids and rows may not be numbered, or both.
    """
    rows = row_count(columns)
    if reading.id_column is not None and reading.id_column not in columns:
        raise Ig3dError(f"{what}: --id-column {reading.id_column}: no such column; there are: {listed(columns)}")
    name = reading.id_column or _id_column(columns, (*(tool.id if tool else ()), *IDS))
    if reading.row_order_is_id:
        if name is not None and (reading.id_column or name == "sample_id"):
            raise Ig3dError(f"{what}: has ids in column {name}; remove --row-order-is-id")
        return np.array([ROW_ID.format(row) for row in range(rows)], dtype=np.str_), True
    if name is None:
        raise Ig3dError(
            f"{what}: column 'sample_id' is missing (there are: {listed(columns)}); add it, give --id-column NAME, or"
            " --row-order-is-id if row i is the same sample in every file you import"
        )
    ids = _id_texts(texts(columns, name))
    if all(re.fullmatch(r"\d+\.0", one) for one in in_pieces(ids)):
        ids = np.asarray([one[:-2] for one in ids.tolist()], dtype=np.str_)
    empty = ids == ""
    if empty.any():
        raise Ig3dError(f"{what}: row {int(empty.argmax()) + 1} has an empty {name}")
    if tool is not None and tool.frame is not None and tool.frame in columns and name != tool.frame:
        frames = _id_texts(texts(columns, tool.frame))
        per_id: dict[str, set[str]] = {one: set() for one in ids.tolist()}
        for one, frame in zip(ids.tolist(), frames.tolist(), strict=True):
            per_id[one].add(frame)
        if any(len(there) > 1 for there in per_id.values()):
            # A video: one sample per frame.
            ids = np.asarray([f"{one}/{frame}" for one, frame in zip(ids, frames, strict=True)], dtype=np.str_)
    return ids, False


def _id_column(columns: Columns, candidates: Sequence[str]) -> str | None:
    """The first candidate that is there; one that only counts rows gives way to a later one."""
    there = [name for one in candidates if (name := find_column(columns, (one,))) is not None]
    return next((name for name in there if not _counts_rows(each(columns, name))), there[0] if there else None)


def _counts_rows(values: Iterator[Any]) -> bool:
    first = str(next(values, ""))
    return first in ("0", "1") and all(str(one) == str(row) for row, one in enumerate(values, int(first) + 1))


def _id_texts(values: np.ndarray) -> np.ndarray:
    """Ids as text, `[N]` str; the same array where it has them already."""
    if values.dtype.kind == "U" and not any(one != one.strip() for one in in_pieces(values)):
        return values
    return np.asarray([_id_text(value) for value in values.tolist()], dtype=np.str_)


def _id_text(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    # A column of whole numbers that pandas read beside missing values.
    return text[:-2] if isinstance(value, float) and text.endswith(".0") else text.strip()
