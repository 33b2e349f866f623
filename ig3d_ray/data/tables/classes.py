"""Columns of classes by number or by name."""

import numpy as np

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.tables.packed import in_pieces
from ig3d_ray.errors import Ig3dError


def classes_of(what: str, name: str, values: np.ndarray, about: Dataset) -> tuple[np.ndarray, int]:
    """A column of class numbers or names as `[N]` int64, -1 where there is none; and how many are "not annotated".

    Args:
        what: the file, for messages.
        name: of the column, for messages.
        values: `[N]` str or numbers.
        about: whose classes.

    Raises:
        Ig3dError: a value is no class.
    """
    known = {str(index): index for index in range(about.width)} | {"-1": -1, "": -1, "nan": -1, "none": -1}
    classes = np.empty(len(values), dtype=np.int64)
    for row, value in enumerate(in_pieces(values)):
        text = (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()
        # pandas writes integers as 3.0 if a column had missing values.
        number = known.get(text.lower().removesuffix(".0"))
        index = number if number is not None else about.index(text)
        if index is None:
            others = {str(one).strip().removesuffix(".0") for one in values.tolist()}
            first = [str(number) for number in range(1, about.width + 1)]
            hint = "; do its labels count from 1?" if others <= set(first) and first[-1] in others else ""
            raise Ig3dError(
                f"{what}: row {row + 1}, column {name}: {text[:40]!r} is no class of {about.name};"
                f" allowed: 0 to {about.width - 1} ({', '.join(about.class_names)}){hint}"
            )
        classes[row] = index
    return classes, int((classes < 0).sum())
