"""Columns of text or numbers as numbers."""

import numpy as np

from ig3d_ray.data.tables.packed import in_pieces
from ig3d_ray.errors import Ig3dError

MISSING_WORDS = frozenset({"", "nan", "none", "null", "na", "n/a", "-nan", "-", "<na>", "no face", "noface", "n.a."})


def numbers(what: str, name: str, values: np.ndarray) -> np.ndarray:
    """A column as `[N]` float64; an empty field is NaN.

    Args:
        what: the file, for messages.
        name: of the column, for messages.
        values: `[N]` str or numbers; a per cent sign is dropped.

    Raises:
        Ig3dError: a field is not a number, infinite, or too large for a float32.
    """
    if values.dtype.kind in "fiu":
        found = values.astype(np.float64)
    else:
        found = np.fromiter((_number(what, name, row, one) for row, one in enumerate(in_pieces(values), 1)), np.float64)
    infinite = np.isinf(found)
    if infinite.any():
        row, count = int(infinite.argmax()), int(infinite.sum())
        raise Ig3dError(f"{what}: row {row + 1}, column {name}: infinity ({count} such rows)")
    too_large = np.abs(np.nan_to_num(found)) > np.finfo(np.float32).max
    if too_large.any():
        row = int(too_large.argmax())
        raise Ig3dError(f"{what}: row {row + 1}, column {name}: {found[row]:g} is too large for a float32")
    return found


def _number(what: str, name: str, row: int, value: object) -> float:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    text = text.strip().removesuffix("%").strip()
    if text.lower() in MISSING_WORDS:
        return float("nan")
    try:
        # Python reads 1_0 as ten.
        if isinstance(value, bool | np.bool_) or "_" in text:
            raise ValueError
        return float(text)
    except ValueError as error:
        raise Ig3dError(f"{what}: row {row}, column {name}: {str(value)[:40]!r} is not a number") from error
