"""One row per sample: missing and repeated rows, and several faces of an image."""

from pathlib import Path

import numpy as np

from ig3d_ray.data.ids import repeats
from ig3d_ray.data.tables.columns import find_column
from ig3d_ray.data.tables.numbers import numbers
from ig3d_ray.data.tables.packed import Columns
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.reading import Faces, Predictions
from ig3d_ray.importing.tools import ToolFormat


def face_sizes(what: str, columns: Columns, tool: ToolFormat | None) -> np.ndarray | None:
    width, height = tool.face if tool and tool.face else (None, None)
    width = width if width in columns else find_column(columns, ("face_width", "width", "w"))
    height = height if height in columns else find_column(columns, ("face_height", "height", "h"))
    if width is None or height is None:
        return None
    return numbers(what, width, columns[width]) * numbers(what, height, columns[height])


def one_per_sample(rows: Predictions, file: Path, faces: Faces = "error") -> Predictions:
    """One row with predictions per sample: rows without predictions and repeated ones are removed, and said.

    Args:
        rows: of a file.
        file: for messages.
        faces: which row counts where a sample has several that differ.

    Raises:
        Ig3dError: a sample has several different rows and `faces` is `error`; no row is left.
    """
    missing = rows.missing
    if missing.any():
        count = int(missing.sum())
        left = f"{count} of {len(missing)} rows have no prediction (no face found): counted as missing"
        rows = rows.take(~missing, left)
    if not len(rows.ids):
        raise Ig3dError(f"{file}: no row has predictions; all {len(missing)} are empty")
    if not repeats(rows.ids):
        return rows
    _, first, place = np.unique(rows.ids, return_index=True, return_inverse=True)
    repeated = len(rows.ids) - len(first)
    kept = first[place]
    same = np.ones(len(rows.ids), bool)
    for values in (rows.logits, rows.va):
        if values is not None:
            same &= (values == values[kept]).all(axis=1)
    if same.all() and (rows.expression != rows.expression[kept]).any():
        one = str(rows.ids[int((rows.expression != rows.expression[kept]).argmax())])
        raise Ig3dError(f"{file}: sample_id {one!r} is there with two labels; remove one of its rows")
    if same.all():
        return rows.take(np.sort(first), f"{repeated} rows repeat another row of their sample, and were dropped")
    if faces == "error":
        one, count = str(rows.ids[int((~same).argmax())]), len(np.unique(rows.ids[~same]))
        raise Ig3dError(
            f"{file}: sample_id {one!r} is duplicated ({count} such ids), with different predictions: several faces of"
            " an image? give --faces first or --faces largest"
        )
    if faces == "largest":
        if rows.sizes is None or len(np.unique(rows.sizes)) == 1:
            raise Ig3dError(
                f"{file}: --faces largest needs the size of each face (columns width and height); give first"
            )
        order = np.lexsort((np.arange(len(rows.ids)), -np.nan_to_num(rows.sizes, nan=-1.0), place))
        first = order[np.unique(place[order], return_index=True)[1]]
    count = int((np.bincount(place) > 1).sum())
    return rows.take(np.sort(first), f"{count} samples have several faces; the {faces} counts")
