"""True classes, valence and arousal of a table's rows."""

from pathlib import Path

import numpy as np

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.datasets.class_names import normalized
from ig3d_ray.data.tables.classes import classes_of
from ig3d_ray.data.tables.columns import find_column, listed
from ig3d_ray.data.tables.containers import read_columns
from ig3d_ray.data.tables.numbers import numbers
from ig3d_ray.data.tables.packed import Columns, in_pieces, row_count, without
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.columns import LABELS, TRUTH, VA_PLAIN, VA_PLAIN_NAMES, WEAK_LABELS, find_va, is_expression
from ig3d_ray.importing.reading import Reading
from ig3d_ray.importing.row_ids import sample_ids
from ig3d_ray.importing.tools import ToolFormat, numbered_classes

VA_SLACK = 1e-6
FEW = 5
"""Rows from which on agreement in all of them is no chance."""
MUCH_BETTER, ENOUGH = 0.3, 20
OWN_PREFIXES = ("score_", "probability_")


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
    _, true = find_va(what, without(columns, VA_PLAIN_NAMES))
    plain = tuple(find_column(columns, names) for names in VA_PLAIN)
    expression = true_classes(what, columns, about, reading, None, notes)
    return ids, expression, true_va(what, columns, about, true if any(true) else (plain[0], plain[1]), notes), notes


def true_classes(
    what: str,
    columns: Columns,
    about: Dataset,
    reading: Reading,
    tool: ToolFormat | None,
    notes: list[str],
    logits: np.ndarray | None = None,
) -> np.ndarray:
    """True classes, `[N]` int64, -1 where there is none.

    Args:
        what: the file, for messages.
        columns: of the file.
        about: whose classes.
        reading: may name the column.
        tool: that wrote the file.
        notes: gets what was decided.
        logits: `[N, C]` predictions beside them, to recognize a column that has the predicted class.

    Raises:
        Ig3dError: there is no such column, two contradict each other, or a value is no class.
    """
    rows = row_count(columns)
    if reading.label_column is not None and reading.label_column not in columns:
        raise Ig3dError(f"{what}: --label-column {reading.label_column}: no such column; there are: {listed(columns)}")
    if not about.width:
        return np.full(rows, -1, np.int64)
    name = reading.label_column or (tool.label if tool and tool.label in columns else None)
    name = name or _found(what, columns, tool)
    if name is None:
        return np.full(rows, -1, np.int64)
    values = numbered_classes(columns[name], tool)
    others = np.fromiter((about.index(one) is None and is_expression(one) for one in in_pieces(values)), bool)
    classes, missing = classes_of(what, name, np.where(others, "", values), about)
    if reading.label_column is None and _is_prediction(name, columns, classes, logits):
        notes.append(f"column {name} is the class with the largest score in every row: a prediction, not a label")
        return np.full(rows, -1, np.int64)
    notes.append(f"column {name} has the true classes")
    if others.any():
        words = ", ".join(sorted(set(values[others].tolist()))[:3])
        notes.append(f"{int(others.sum())} samples are of other classes ({words}): they count as not annotated")
    if missing > others.sum():
        notes.append(f"{missing - int(others.sum())} samples have no class in column {name}: they are not annotated")
    if logits is not None:
        _check_first(what, name, classes, logits, about)
    return classes


def _found(what: str, columns: Columns, tool: ToolFormat | None) -> str | None:
    """The column of true classes.

    Raises:
        Ig3dError: two columns are called so and differ.
    """
    predicted = tool.predicted if tool else None
    there = [one for name in LABELS if (one := find_column(columns, (name,))) not in (None, predicted)]
    names = list(dict.fromkeys(one for one in there if one is not None))
    for other in names[1:]:
        if (columns[names[0]].astype(np.str_) != columns[other].astype(np.str_)).any():
            raise Ig3dError(f"{what}: columns {names[0]!r} and {other!r} differ; --label-column says which is true")
    if names:
        return names[0]
    weak = find_column(columns, WEAK_LABELS)
    return None if weak == predicted else weak


def _is_prediction(name: str, columns: Columns, classes: np.ndarray, logits: np.ndarray | None) -> bool:
    """Whether a column that may be a label is the class with the largest score throughout."""
    if logits is None or normalized(name) in {normalized(one) for one in TRUTH}:
        return False
    there = ~np.isnan(logits).any(axis=1)
    same = bool((classes == logits.argmax(axis=1))[there].all()) and bool(there.any())
    own = all(one in ("sample_id", "predicted", "label", "missing") or one.startswith(OWN_PREFIXES) for one in columns)
    weak = normalized(name) in {normalized(one) for one in WEAK_LABELS}
    return same and (own or (weak and int(there.sum()) >= FEW))


def _check_first(what: str, name: str, classes: np.ndarray, logits: np.ndarray, about: Dataset) -> None:
    """Labels from 1 to C - 1 that fit the predictions much better as 0 to C - 2 count from 1.

    Raises:
        Ig3dError: they do.
    """
    known = (classes >= 0) & ~np.isnan(logits).any(axis=1)
    if known.sum() < ENOUGH or (classes[known] == 0).any():
        return
    top = logits.argmax(axis=1)[known]
    as_they_are, shifted = (top == classes[known]).mean(), (top == classes[known] - 1).mean()
    if shifted > as_they_are + MUCH_BETTER:
        fit = f"fit the predictions by {as_they_are:.2f}, less 1 by {shifted:.2f}"
        raise Ig3dError(
            f"{what}: column {name}: no sample is {about.class_names[0]}, and the labels {fit}: they count from 1;"
            " subtract 1, or use names"
        )


def true_va(
    what: str, columns: Columns, about: Dataset, names: tuple[str | None, str | None], notes: list[str]
) -> np.ndarray:
    """True valence and arousal in [-1, 1]; values that mean "not annotated" are NaN."""
    rows = row_count(columns)
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
