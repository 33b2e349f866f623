"""Class scores of a table in the data set's order of classes: by name, by number, by a tool's format, or as votes."""

import numpy as np

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.tables.classes import classes_of
from ig3d_ray.data.tables.columns import find_column
from ig3d_ray.data.tables.packed import Columns, without
from ig3d_ray.importing.columns import PREDICTED, ScoreColumns, find_scores, is_expression, scores_by_option
from ig3d_ray.importing.reading import Reading
from ig3d_ray.importing.scores import ABSENT_CLASS, table_of_numbers, to_logits
from ig3d_ray.importing.tools import ScoreKind, ToolFormat, numbered_classes, tool_scores


def class_logits(
    what: str, columns: Columns, about: Dataset, reading: Reading, tool: ToolFormat | None, notes: list[str]
) -> tuple[np.ndarray | None, tuple[int, ...]]:
    """Class scores in the data set's order, and the classes that have no column."""
    if not about.width:
        return None, ()
    found = scores_by_option(what, reading.columns, columns, about)
    if found is None and tool is not None:
        found = _of_tool(columns, about, tool, notes)
    if found is None:
        others = columns if tool is None else without(columns, [one for one in (tool.label, tool.predicted) if one])
        found = find_scores(what, others, about, reading.order_is_known)
    if found is None:
        predicted = (tool.predicted if tool else None) or find_column(columns, PREDICTED)
        if predicted is None or predicted not in columns:
            return None, ()
        return _votes(what, numbered_classes(columns[predicted], tool), predicted, about, notes), ()
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


def _votes(what: str, values: np.ndarray, name: str, about: Dataset, notes: list[str]) -> np.ndarray:
    """A class without scores has no confidence: it counts as one vote."""
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
    if order == list(range(about.width)):
        return values
    logits = np.full((len(values), about.width), np.nan)
    there = ~np.isnan(values).any(axis=1)
    logits[there] = values[there].min(axis=1, keepdims=True) - ABSENT_CLASS
    logits[np.ix_(there, order)] = values[there]
    return logits
