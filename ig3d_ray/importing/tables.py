"""Files of predictions as people have them: ids, class scores, valence and arousal, and the labels beside them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.tables.classes import classes_of
from ig3d_ray.data.tables.columns import find_column, listed
from ig3d_ray.data.tables.containers import Columns, read_columns
from ig3d_ray.data.tables.numbers import numbers
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.columns import (
    IDS,
    LABELS,
    VA_PLAIN,
    VA_PLAIN_NAMES,
    ScoreColumns,
    find_scores,
    find_va,
    is_expression,
    scores_by_option,
)
from ig3d_ray.importing.scores import ABSENT_CLASS, SMALLEST_PROBABILITY, table_of_numbers, to_logits
from ig3d_ray.importing.tools import ScoreKind, ToolFormat, recognize, tool_format, tool_scores, tool_va

ROW_ID = "row-{:07d}"
ROW_PATTERN = re.compile(r"row-\d{7}")
VA_SLACK = 1e-6
FEW = 20
"""Rows from which on agreement in all of them is no chance."""
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


def read_predictions(file: Path, about: Dataset, reading: Reading = Reading()) -> Predictions:
    """Read a file and keep one row with predictions per sample.

    Args:
        file: see `containers.READERS` for the formats.
        about: whose classes and labels.
        reading: what can't be found out.

    Raises:
        Ig3dError: the file can't be understood; the message says what is wrong and which option helps.
    """
    return one_per_sample(read_rows(file, about, reading), file, reading.faces)


def read_rows(file: Path, about: Dataset, reading: Reading = Reading()) -> Predictions:
    """Read a file as it is: every row, those without predictions and duplicates included.

    Raises:
        Ig3dError: as `read_predictions`.
    """
    return rows_of(read_columns(file), str(file), about, reading)


def rows_of(columns: Columns, what: str, about: Dataset, reading: Reading = Reading()) -> Predictions:
    """The predictions in columns, as `read_rows`.

    Args:
        columns: name -> `[N]`.
        what: begins messages.
        about: whose classes and labels.
        reading: what can't be found out.
    """
    notes: list[str] = []
    tool = tool_format(reading.format) if reading.format else recognize(columns)
    if tool is not None:
        notes.append(f"read as {tool.name}: {tool.about}")
        if tool.predicted_label is not None:
            columns = {name: values for name, values in columns.items() if name != tool.predicted_label}
    ids, numbered = sample_ids(what, columns, reading, tool)
    logits, absent = _logits(what, columns, about, reading, tool, notes)
    va_columns, va_true_columns = find_va(what, columns)
    va_columns = _asked_va(what, columns, reading) or _tool_va(columns, about, tool) or va_columns
    va = None
    if va_columns is not None:
        va = table_of_numbers(what, list(va_columns), columns)
        if about.va is not None and about.va.is_rescaled:
            va = about.va.rescaled(va)
            notes.append(f"valence and arousal were rescaled from {_range(about)} to [-1, 1]")
    if logits is None and va is None:
        raise Ig3dError(
            f"{what}: no predictions: columns logit_0.., prob_0.., named as the classes, cat_pred or val_pred and"
            f" aro_pred are missing (there are: {listed(columns)}); give --columns CLASS=COLUMN,..."
        )
    expression = _labels(what, columns, about, reading, tool, notes)
    if _is_own_prediction(columns, reading, logits, expression):
        notes.append("column label is the class with the largest score in every row: a prediction, not a label")
        expression = np.full(len(ids), -1, np.int64)
    va_true = _va_labels(what, columns, about, va_true_columns, notes)
    return Predictions(
        ids=ids,
        numbered=numbered,
        logits=None if logits is None else logits.astype(np.float32),
        va=None if va is None else va.astype(np.float32),
        expression=expression,
        va_true=va_true,
        sizes=_sizes(what, columns, tool),
        notes=tuple(notes),
        absent=absent,
    )


def _is_own_prediction(columns: Columns, reading: Reading, logits: np.ndarray | None, labels: np.ndarray) -> bool:
    """Whether a column `label` is what this package's own output has there: the predicted class, by name."""
    if logits is None or reading.label_column or "label" not in columns or len(labels) < FEW:
        return False
    by_name = (
        any(name.startswith(("score_", "probability_")) for name in columns) and columns["label"].dtype.kind == "U"
    )
    predicted = np.nan_to_num(logits, nan=-np.inf).argmax(axis=1)
    return by_name and bool((labels == predicted).all())


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
    expression = _labels(what, columns, about, reading, None, notes)
    return ids, expression, _va_labels(what, columns, about, true if any(true) else (plain[0], plain[1]), notes), notes


def _range(about: Dataset) -> str:
    low, high = about.va.range if about.va else (-1.0, 1.0)
    return f"[{low:g}, {high:g}]"


def sample_ids(
    what: str, columns: Columns, reading: Reading = Reading(), tool: ToolFormat | None = None
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
    rows = len(next(iter(columns.values())))
    if reading.id_column is not None and reading.id_column not in columns:
        raise Ig3dError(f"{what}: --id-column {reading.id_column}: no such column; there are: {listed(columns)}")
    name = reading.id_column or find_column(columns, (*(tool.id if tool else ()), *IDS))
    if reading.row_order_is_id:
        if name is not None and (reading.id_column or name == "sample_id"):
            raise Ig3dError(f"{what}: has ids in column {name}; remove --row-order-is-id")
        return np.array([ROW_ID.format(row) for row in range(rows)], dtype=np.str_), True
    if name is None:
        raise Ig3dError(
            f"{what}: column 'sample_id' is missing (there are: {listed(columns)}); add it, give --id-column NAME, or"
            " --row-order-is-id if row i is the same sample in every file you import"
        )
    values = columns[name]
    ids = np.asarray([_id_text(value) for value in values.tolist()], dtype=np.str_)
    empty = ids == ""
    if empty.any():
        raise Ig3dError(f"{what}: row {int(empty.argmax()) + 1} has an empty {name}")
    if tool is not None and tool.frame in columns and name != tool.frame:
        frames = np.asarray([_id_text(value) for value in columns[tool.frame].tolist()], dtype=np.str_)
        per_id = {one: set() for one in ids.tolist()}  # type: dict[str, set[str]]
        for one, frame in zip(ids.tolist(), frames.tolist(), strict=True):
            per_id[one].add(frame)
        if any(len(there) > 1 for there in per_id.values()):
            # A video: one sample per frame.
            ids = np.asarray([f"{one}/{frame}" for one, frame in zip(ids, frames, strict=True)], dtype=np.str_)
    return ids, False


def _id_text(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    # A column of whole numbers that pandas read beside missing values.
    return text[:-2] if isinstance(value, float) and text.endswith(".0") else text.strip()


def _logits(
    what: str, columns: Columns, about: Dataset, reading: Reading, tool: ToolFormat | None, notes: list[str]
) -> tuple[np.ndarray | None, tuple[int, ...]]:
    """Class scores in the data set's order, and the classes that have no column."""
    if not about.width:
        return None, ()
    found = scores_by_option(what, reading.columns, columns, about)
    if found is None and tool is not None:
        found = _of_tool(columns, about, tool, notes)
    if found is None and (tool is None or tool.predicted is None):
        found = find_scores(what, columns, about, reading.order_is_known)
    if found is None:
        predicted = (tool.predicted if tool else None) or find_column(columns, ("cat_pred",))
        if predicted is None or predicted not in columns:
            return None, ()
        return _votes(what, columns, predicted, about, notes), ()
    asked = reading.scores
    if not reading.scores_are_checked and found.kind == "logits":
        asked = "logits"
    absent = tuple(index for index in range(about.width) if index not in found.by_class)
    return _scores(what, columns, found, about, asked, notes), absent


def _of_tool(columns: Columns, about: Dataset, tool: ToolFormat, notes: list[str]) -> ScoreColumns | None:
    scores = tool_scores(tool, columns)
    if not scores:
        return None
    notes.append(f"its classes are, in this order: {', '.join(one.expression for one in scores)}")
    found = ScoreColumns(tool.scores, tool.name)
    for expression, column in scores:
        index = about.index(expression)
        if index is None:
            found.others.append(column)
        else:
            found.by_class[index] = column
    return found


def _votes(what: str, columns: Columns, name: str, about: Dataset, notes: list[str]) -> np.ndarray:
    """A class without scores has no confidence: it counts as one vote."""
    values = columns[name].astype(np.str_)
    foreign = np.array([about.index(one) is None and is_expression(one) for one in values.tolist()], bool)
    predicted, _ = classes_of(what, name, np.where(foreign, "", values), about)
    notes.append(f"column {name} has a class without scores: it counts as one vote")
    if foreign.any():
        notes.append(f"{int(foreign.sum())} predictions are of no class of {about.name}: they count as no vote")
    votes = np.full((len(predicted), about.width), np.nan)
    votes[predicted >= 0] = np.eye(about.width)[predicted[predicted >= 0]]
    votes[foreign] = 0.0
    return votes


def _scores(
    what: str, columns: Columns, found: ScoreColumns, about: Dataset, asked: ScoreKind | None, notes: list[str]
) -> np.ndarray:
    """Class scores in the data set's order; classes that only one of file and data set has are dropped or filled."""
    order = sorted(found.by_class)
    names = [found.by_class[index] for index in order]
    absent = [name for index, name in enumerate(about.class_names) if index not in found.by_class]
    table = table_of_numbers(what, [*names, *found.others], columns)
    called = f"{found.called}_" if found.called else ""
    done = to_logits(what, table, found.kind, called, asked)
    notes += done.notes
    values = done.values[:, : len(names)]
    if found.others:
        others = ", ".join(found.others)
        notes.append(f"{about.name} has no such class: {others}; left out, the others renormalized")
    if absent:
        notes.append(f"the file has no column for {', '.join(absent)}: never predicted")
    logits = np.full((len(values), about.width), np.nan)
    there = ~np.isnan(values).any(axis=1)
    floor = values[there].min(axis=1) - ABSENT_CLASS if there.any() else np.zeros(0)
    logits[there] = np.maximum(floor, np.log(SMALLEST_PROBABILITY))[:, None] if absent else 0.0
    logits[np.ix_(there, order)] = values[there]
    return logits


def _asked_va(what: str, columns: Columns, reading: Reading) -> tuple[str, str] | None:
    given = {word.lower(): column for word, column in reading.columns.items() if word.lower() in ("valence", "arousal")}
    if not given:
        return None
    if len(given) < 2:
        raise Ig3dError(f"{what}: --columns: valence and arousal come together; give both")
    return given["valence"], given["arousal"]


def _tool_va(columns: Columns, about: Dataset, tool: ToolFormat | None) -> tuple[str, str] | None:
    return None if tool is None or not about.has_va else tool_va(tool, tool_scores(tool, columns), columns)


def _labels(
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


def _va_labels(
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
            va[:, index] = _in_range(what, name, about.va.rescaled(values), values, about)
    if any(names):
        lacking = np.isnan(va).any(axis=1)
        va[lacking] = np.nan
        if lacking.any():
            words = ", ".join(f"{value:g}" for value in about.va.missing_values)
            notes.append(
                f"{int(lacking.sum())} samples are not annotated (valence or arousal empty, {words}); excluded"
            )
        if about.va.is_rescaled:
            notes.append(f"true valence and arousal were rescaled from {_range(about)} to [-1, 1]")
    return va


def _in_range(what: str, name: str, values: np.ndarray, raw: np.ndarray, about: Dataset) -> np.ndarray:
    outside = np.abs(np.nan_to_num(values)) > 1 + VA_SLACK
    if outside.any():
        row = int(outside.argmax())
        raise Ig3dError(
            f"{what}: row {row + 1}, column {name}: {raw[row]:g} is outside {_range(about)} ({int(outside.sum())} such"
            f" rows); a data set with another range declares it: va: {{range: [LOW, HIGH]}}, see `ig3d data create`"
        )
    return values


def _sizes(what: str, columns: Columns, tool: ToolFormat | None) -> np.ndarray | None:
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
    _, first, place = np.unique(rows.ids, return_index=True, return_inverse=True)
    repeated = len(rows.ids) - len(first)
    if not repeated:
        return rows
    kept = first[place]
    same = np.ones(len(rows.ids), bool)
    for values in (rows.logits, rows.va):
        if values is not None:
            same &= (values == values[kept]).all(axis=1)
    if same.all():
        return rows.take(np.sort(first), f"{repeated} rows repeat another row of their sample, and were dropped")
    if faces == "error":
        one, count = str(rows.ids[int((~same).argmax())]), len(np.unique(rows.ids[~same]))
        raise Ig3dError(
            f"{file}: sample_id {one!r} is duplicated ({count} such ids), with different predictions: several faces of"
            " an image? give --faces first or --faces largest"
        )
    if faces == "largest":
        if rows.sizes is None:
            raise Ig3dError(
                f"{file}: --faces largest needs the size of each face (columns width and height); give first"
            )
        order = np.lexsort((np.arange(len(rows.ids)), -np.nan_to_num(rows.sizes, nan=-1.0), place))
        first = order[np.unique(place[order], return_index=True)[1]]
    count = int((np.bincount(place) > 1).sum())
    return rows.take(np.sort(first), f"{count} samples have several faces; the {faces} counts")
