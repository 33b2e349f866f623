"""How a file of predictions is read, and what it has."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from ig3d_ray.importing.tools import ScoreKind

Faces = Literal["first", "largest", "error"]


@dataclass(frozen=True)
class Reading:
    """How to read a file of predictions, where it can't be found out.

    Attributes:
        format: a tool's name, `table` for a plain table; None to find out.
        columns: class, `valence` or `arousal` -> column.
        id_column: the column of sample ids.
        label_column: the column of true classes.
        scores: what the numbers are.
        faces: which of several faces of an image counts.
        row_order_is_id: number the rows instead of reading ids.
        scores_are_checked: whether logits that look like probabilities are an error.
        order_is_known: whether numbered columns are in the data set's order of classes.
    """

    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    id_column: str | None = None
    label_column: str | None = None
    scores: ScoreKind | None = None
    faces: Faces = "error"
    row_order_is_id: bool = False
    scores_are_checked: bool = True
    order_is_known: bool = True


AS_FOUND = Reading()
"""Everything is found out."""


@dataclass(frozen=True)
class Predictions:
    """What a file has.

    Attributes:
        ids: `[N]` str.
        numbered: whether ids are row numbers.
        logits: `[N, C]` float32 in the data set's order of classes, None if there are none.
        va: `[N, 2]` float32 in [-1, 1], None if there are none.
        expression: `[N]` int64 labels, -1 where there is none.
        va_true: `[N, 2]` float32 labels, NaN where there are none.
        sizes: `[N]` float64, the area of each face in pixels; None if unknown.
        notes: what was decided and changed while reading, one line each.
    """

    ids: np.ndarray
    numbered: bool
    logits: np.ndarray | None
    va: np.ndarray | None
    expression: np.ndarray
    va_true: np.ndarray
    sizes: np.ndarray | None
    notes: tuple[str, ...]
    absent: tuple[int, ...] = ()
    """Classes of the data set that the file has no column for."""

    def take(self, rows: np.ndarray, *notes: str) -> "Predictions":
        """Some rows.

        Args:
            rows: `[n]` indices or `[N]` bool.
            notes: to add.
        """
        return replace(
            self,
            ids=self.ids[rows],
            logits=None if self.logits is None else self.logits[rows],
            va=None if self.va is None else self.va[rows],
            expression=self.expression[rows],
            va_true=self.va_true[rows],
            sizes=None if self.sizes is None else self.sizes[rows],
            notes=(*self.notes, *notes),
        )

    @property
    def has_labels(self) -> bool:
        """Whether any row has a label."""
        return bool((self.expression >= 0).any() or not np.isnan(self.va_true).all())

    @property
    def missing(self) -> np.ndarray:
        """`[N]` bool: rows without predictions, such as images without a face."""
        lacking = np.zeros(len(self.ids), bool)
        for values in (self.logits, self.va):
            if values is not None:
                lacking |= np.isnan(values).any(axis=1)
        return lacking
