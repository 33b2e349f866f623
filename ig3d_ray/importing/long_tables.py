"""Tables with a row for each sample and class, as tidy data has them, to a row for each sample."""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.datasets.class_names import normalized, synonyms
from ig3d_ray.data.tables.columns import find_column
from ig3d_ray.data.tables.numbers import numbers
from ig3d_ray.data.tables.packed import Columns, each, texts
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.columns import IDS
from ig3d_ray.importing.reading import Reading

CLASSES = ("class", "class_name", "label", "emotion", "expression", "category", "predicted_class", "variable")
"""Columns that may hold the class of each row."""
SCORES = {
    **dict.fromkeys(("logit", "logits"), "logit"),
    **dict.fromkeys(("probability", "prob", "proba", "softmax", "p"), "prob"),
    **dict.fromkeys(("score", "confidence", "conf", "value", "prediction", "pred"), "score"),
}
"""Columns that may hold its score, and what the columns of the classes are then named after."""


LOOKED_AT = 50
"""Rows whose classes are looked at before all are read."""


def widened(columns: Columns, what: str, about: Dataset, reading: Reading, notes: list[str]) -> Columns:
    """A table in which every sample has a row for each class, as one with a column for each class; others as they are.

    Args:
        columns: of the file.
        what: the file, for messages.
        about: whose classes.
        reading: may name the column of ids.
        notes: what was done is added.

    Raises:
        Ig3dError: it is such a table, but a sample lacks classes that others have.
    """
    name = reading.id_column or find_column(columns, IDS)
    of_class, of_score = find_column(columns, CLASSES), find_column(columns, tuple(SCORES))
    if name is None or name not in columns or of_class in (None, name) or of_score is None or reading.columns:
        return columns
    known = {word for one in about.class_names for word in synonyms(normalized(one))}
    if not all(normalized(str(word)) in known for word in islice(each(columns, str(of_class)), LOOKED_AT)):
        return columns
    ids, samples = _numbered(texts(columns, name))
    words = [normalized(str(word)) for word in texts(columns, str(of_class)).tolist()]
    classes = sorted(set(words))
    count, rows = len(ids), len(samples)
    if not set(classes) <= known or len(classes) < 2 or rows <= count:
        return columns
    place = {word: at for at, word in enumerate(classes)}
    cells = samples * len(classes) + np.array([place[word] for word in words])
    if len(np.unique(cells)) < rows:
        return columns
    if rows < count * len(classes):
        least = int(np.bincount(samples, minlength=count).argmin())
        there = {word for word, sample in zip(words, samples.tolist(), strict=True) if sample == least}
        absent = next(word for word in classes if word not in there)
        raise Ig3dError(
            f"{what}: sample {ids[least]!r} has no row for the class {absent!r}; a table with a row for each sample and"
            " class needs all of them: save all scores, not the largest ones alone"
        )
    scores = np.empty(rows)
    scores[cells] = numbers(what, of_score, columns[of_score])
    first = np.unique(samples, return_index=True)[1]
    wide = {one: texts(columns, one)[first] for one in columns if one not in (of_class, of_score)}
    for at, word in enumerate(classes):
        wide[f"{SCORES[normalized(of_score)]}_{word}"] = scores[at :: len(classes)]
    notes.append(f"a row for each class ({of_class}, {of_score}): {rows} rows are {count} samples")
    return wide


def _numbered(values: Sequence[str] | np.ndarray) -> tuple[list[str], np.ndarray]:
    """The ids in the order in which they first occur, and of each row the number of its id."""
    place: dict[str, int] = {}
    numbered = np.array([place.setdefault(str(one), len(place)) for one in values], dtype=np.int64)
    return list(place), numbered
