"""True classes, valence and arousal of a table's rows."""

from pathlib import Path

import numpy as np

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.tables.classes import classes_of
from ig3d_ray.data.tables.columns import find_column, listed
from ig3d_ray.data.tables.containers import Columns, read_columns
from ig3d_ray.data.tables.numbers import numbers
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.columns import LABELS, VA_PLAIN, VA_PLAIN_NAMES, find_va
from ig3d_ray.importing.reading import Reading
from ig3d_ray.importing.row_ids import sample_ids
from ig3d_ray.importing.tools import ToolFormat

VA_SLACK = 1e-6
FEW = 20
"""Rows from which on agreement in all of them is no chance."""


def read_labels_of(
    file: Path, about: Dataset, reading: Reading
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Ids `[N]`, classes `[N]` (-1 where there is none), valence and arousal `[N, 2]` (NaN), and notes, of a table.

    Args:
        file: of labels alone: plain columns `valence` and `arousal` are true values here.
        about: whose classes and range.
        reading: what can't be found out.
    """
    columns, what, notes = read_columns(file), str(file), list[str]()
    ids, _ = sample_ids(what, columns, reading)
    _, true = find_va(what, {name: values for name, values in columns.items() if name not in VA_PLAIN_NAMES})
    plain = tuple(find_column(columns, names) for names in VA_PLAIN)
    expression = true_classes(what, columns, about, reading, None, notes)
    return ids, expression, true_va(what, columns, about, true if any(true) else (plain[0], plain[1]), notes), notes


def is_own_prediction(columns: Columns, reading: Reading, logits: np.ndarray | None, labels: np.ndarray) -> bool:
    """Whether a column `label` is what this package's own output has there: the predicted class, by name."""
    if logits is None or reading.label_column or "label" not in columns or len(labels) < FEW:
        return False
    by_name = (
        any(name.startswith(("score_", "probability_")) for name in columns) and columns["label"].dtype.kind == "U"
    )
    predicted = np.nan_to_num(logits, nan=-np.inf).argmax(axis=1)
    return by_name and bool((labels == predicted).all())


def true_classes(
    what: str, columns: Columns, about: Dataset, reading: Reading, tool: ToolFormat | None, notes: list[str]
) -> np.ndarray:
    rows = len(next(iter(columns.values())))
    name = reading.label_column or (tool.label if tool and tool.label in columns else None)
    if name is not None and name not in columns:
        raise Ig3dError(f"{what}: --label-column {name}: no such column; there are: {listed(columns)}")
    if not about.width:
        return np.full(rows, -1, np.int64)
    name = name or find_column(columns, [one for one in LABELS if tool is None or one != tool.predicted])
    if name is None:
        return np.full(rows, -1, np.int64)
    classes, missing = classes_of(what, name, columns[name], about)
    if missing:
        notes.append(f"{missing} samples have no class in column {name}: they are not annotated")
    return classes


def true_va(
    what: str, columns: Columns, about: Dataset, names: tuple[str | None, str | None], notes: list[str]
) -> np.ndarray:
    """True valence and arousal in [-1, 1]; values that mean "not annotated" are NaN."""
    rows = len(next(iter(columns.values())))
    va = np.full((rows, 2), np.nan, np.float32)
    if about.va is None:
        return va
    for index, name in enumerate(names):
        if name is not None:
            values = numbers(what, name, columns[name])
            values[np.isin(values, about.va.missing_values)] = np.nan
            va[:, index] = _inrange_text(what, name, about.va.rescaled(values), values, about)
    if any(names):
        lacking = np.isnan(va).any(axis=1)
        va[lacking] = np.nan
        if lacking.any():
            words = ", ".join(f"{value:g}" for value in about.va.missing_values)
            notes.append(
                f"{int(lacking.sum())} samples are not annotated (valence or arousal empty, {words}); excluded"
            )
        if about.va.is_rescaled:
            notes.append(f"true valence and arousal were rescaled from {range_text(about)} to [-1, 1]")
    return va


def _inrange_text(what: str, name: str, values: np.ndarray, raw: np.ndarray, about: Dataset) -> np.ndarray:
    outside = np.abs(np.nan_to_num(values)) > 1 + VA_SLACK
    if outside.any():
        row = int(outside.argmax())
        why = f"{raw[row]:g} is outside {range_text(about)} ({int(outside.sum())} such rows)"
        raise Ig3dError(
            f"{what}: row {row + 1}, column {name}: {why}; a data set with another range declares it:"
            " va: {range: [LOW, HIGH]}, see `ig3d data create`"
        )
    return values


def range_text(about: Dataset) -> str:
    low, high = about.va.range if about.va else (-1.0, 1.0)
    return f"[{low:g}, {high:g}]"
