"""True classes, and valence and arousal, in a file of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ig3d_ray.data import datasets
from ig3d_ray.data.datasets import Dataset, ExpressionClass
from ig3d_ray.data.labels import Labels, find_labels, merge_labels, save_labels
from ig3d_ray.data.tables.classes import classes_of
from ig3d_ray.data.tables.columns import find_column
from ig3d_ray.data.tables.containers import read_columns
from ig3d_ray.data.tables.packed import each_text
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.columns import LABELS, WEAK_LABELS, is_expression
from ig3d_ray.importing.reading import Reading
from ig3d_ray.importing.row_ids import sample_ids
from ig3d_ray.importing.truth import read_labels_of
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split


def import_labels(
    store: Store,
    file: Path,
    dataset: str,
    split: Split,
    reading: Reading | None = None,
    group_column: str | None = None,
    attributes: Sequence[str] = (),
) -> tuple[Labels, list[str]]:
    """Publish the labels of a split, for predictions that come without.

    Args:
        store: where they are published.
        file: a table with ids, and classes or valence and arousal.
        dataset: whose samples they are.
        split: of the samples.
        reading: what can't be found out about the file.
        group_column: of what each sample belongs to, such as its video; `group` by default, if there is one.
        attributes: columns of subgroups, such as gender.

    Returns:
        The labels, and notes on reading them.

    Raises:
        Ig3dError: the file has no labels, they contradict those there, or a samples table has them already.
    """
    about = datasets.use(store, dataset)
    if store.exists(paths.samples_table(dataset)):
        raise Ig3dError(f"{file}: {dataset} has a samples table with its labels; make that anew instead")
    ids, expression, va, notes = read_labels_of(file, about, reading or Reading())
    if (expression < 0).all() and np.isnan(va).all():
        raise Ig3dError(f"{file}: no labels: no column label, nor valence and arousal; give --label-column NAME")
    unique, first = np.unique(ids, return_index=True)
    if len(unique) != len(ids):
        raise Ig3dError(f"{file}: {len(ids) - len(unique)} ids repeat; give each sample one label")
    groups = _texts(file, "--group-column", group_column, "group")
    texts = {name: _texts(file, "--attribute", name) for name in attributes}
    labels = Labels(
        dataset,
        split,
        unique,
        expression[first],
        va[first],
        None if groups is None else groups[first],
        {name: values[first] for name, values in texts.items() if values is not None},
    )
    known = find_labels(store, dataset, split)
    merged = labels if known is None else merge_labels(known, labels, str(file))
    datasets.publish(store, about)
    save_labels(store, merged)
    return merged, notes


def _texts(file: Path, option: str, column: str | None, usual: str = "") -> np.ndarray | None:
    """A column as text, `[N]`, empty where nothing is known; None where there is no such column and none was named."""
    columns = read_columns(file)
    if column is not None and column not in columns:
        raise Ig3dError(f"{option} {column}: {file} has {', '.join(list(columns)[:10])}")
    if (column or usual) not in columns:
        return None
    return np.asarray(["" if str(one) == "nan" else str(one) for one in each_text(columns, column or usual)])


def read_labels(file: Path, about: Dataset | None, id_column: str | None, label_column: str | None) -> "Truth":
    """The true classes in a file.

    Args:
        file: a table with ids and classes.
        about: whose class numbers they are; None for classes by name.
        id_column: of the ids, where it can't be found out.
        label_column: of the classes, likewise.

    Raises:
        Ig3dError: there is no such column, or a class is unknown.
    """
    columns, what = read_columns(file), str(file)
    ids, _ = sample_ids(what, columns, Reading(id_column=id_column))
    name = label_column or find_column(columns, (*LABELS, *WEAK_LABELS))
    if name is None or name not in columns:
        there = ", ".join(list(columns)[:10])
        raise Ig3dError(f"{what}: no column of classes (there are: {there}); give --label-column NAME")
    if about is None:
        about = _named_in(what, name, columns[name])
    labels, _ = classes_of(what, name, columns[name], about)
    unique, first = np.unique(ids, return_index=True)
    if len(unique) != len(ids):
        raise Ig3dError(f"{what}: {len(ids) - len(unique)} ids repeat; give each face one label")
    known = labels[first] >= 0
    return Truth(about, unique[known], labels[first][known])


@dataclass(frozen=True)
class Truth:
    """True classes of faces.

    Attributes:
        about: the classes.
        ids: `[N]` str, ascending.
        labels: `[N]` int64.
    """

    about: Dataset
    ids: np.ndarray
    labels: np.ndarray


def _named_in(what: str, name: str, values: np.ndarray) -> Dataset:
    words = sorted({one for one in values.astype(np.str_).tolist() if one})
    if not words or not all(map(is_expression, words)):
        strange = next((one for one in words if not is_expression(one)), "nothing")
        raise Ig3dError(
            f"{what}: column {name} has {strange[:40]!r}, which names no expression; give --dataset NAME, or --classes"
        )
    by_meaning = {ExpressionClass(name=word).words: word for word in reversed(words)}
    if len(by_meaning) < 2:
        raise Ig3dError(f"{what}: column {name} has the one class {words[0]!r}; there is nothing to tell apart")
    return Dataset.model_validate({"name": "labels", "classes": sorted(by_meaning.values())})
