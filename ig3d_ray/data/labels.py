"""Ground truth labels of the samples of one split, by id: from the samples table, or imported with predictions."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ig3d_ray.data import datasets
from ig3d_ray.data.samples import load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.parquet import table_from_bytes, table_to_bytes
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split, Task

ATTRIBUTE = "attribute."
"""Begins the names of columns of subgroups in a table of imported labels."""


@dataclass(frozen=True)
class Labels:
    """Labels of one split.

    Attributes:
        dataset: the data set's name.
        split: of the samples.
        ids: `[N]` str, unique.
        expression: `[N]` int64 classes, -1 where unknown.
        va: `[N, 2]` float32, NaN where unknown.
        attributes: name -> `[N]` str of subgroups, such as gender; empty where it is not known.
        groups: `[N]` str: what each sample belongs to, such as a video; empty, or None, where nothing is known.
    """

    dataset: str
    split: Split
    ids: np.ndarray
    expression: np.ndarray
    va: np.ndarray
    groups: np.ndarray | None = None
    attributes: Mapping[str, np.ndarray] = field(default_factory=dict)

    def digest(self, task: Task) -> str:
        """SHA-256 of the ids and labels of a task, in hex, whatever the order of rows."""
        order = np.argsort(self.ids)
        content = hashlib.sha256("\0".join([self.split, task, *self.ids[order].tolist()]).encode())
        content.update(np.ascontiguousarray(self.truth(task)[order]).tobytes())
        return content.hexdigest()

    def truth(self, task: Task) -> np.ndarray:
        """The labels of a task: `[N]` classes, or `[N, 2]` valence and arousal."""
        return self.expression if task.has_classes else self.va

    def of(self, ids: np.ndarray, task: Task) -> np.ndarray:
        """The labels of these samples for a task: `[n]` int64 or `[n, 2]` float32.

        Raises:
            Ig3dError: a sample is unknown or has no label for the task; the message names the first.
        """
        if len(self.ids) == 0:
            raise Ig3dError(f"{self.dataset}: there are no {self.split} samples; see protocol.kind for other splits")
        order = np.argsort(self.ids)
        place = np.searchsorted(self.ids, ids, sorter=order)
        rows = order[np.minimum(place, len(order) - 1)]
        unknown = self.ids[rows] != ids
        if unknown.any():
            first, count = ids[int(unknown.argmax())], int(unknown.sum())
            raise Ig3dError(f"{self.dataset} {self.split}: sample {first} is not in the data set ({count} such)")
        chosen = self.truth(task)[rows]
        without = is_missing(chosen, task)
        if without.any():
            first, count = ids[int(without.argmax())], int(without.sum())
            raise Ig3dError(f"{self.dataset} {self.split}: sample {first} has no {task} label ({count} such)")
        return chosen


def is_missing(truth: np.ndarray, task: Task) -> np.ndarray:
    """Which labels of a task are missing, bool `[N]`: a negative class, or NaN."""
    return truth < 0 if task.has_classes else np.isnan(truth).any(axis=1)


def find_labels(store: Store, dataset: str, split: Split) -> Labels | None:
    """The labels of a split: from the samples table if there is one, else from imports; else None."""
    datasets.use(store, dataset)
    if store.exists(paths.samples_table(dataset)):
        samples = load_samples(store, dataset, only=()).in_split(split)
        return Labels(dataset, split, samples.ids, samples.expression, samples.va, samples.groups, samples.attributes)
    name = paths.labels_table(dataset, split)
    if not store.exists(name):
        return None
    try:
        table = table_from_bytes(store.read(name))
    except pa.ArrowInvalid as error:
        raise Ig3dError(f"{store.locate(name)}: cut short or not Parquet; delete it and import again") from error
    va = np.stack([table[c].to_numpy() for c in ("valence", "arousal")], axis=1).astype(np.float32)
    ids = np.asarray(table["sample_id"].to_pylist(), dtype=np.str_)
    groups = np.asarray(table["group"].to_pylist(), dtype=np.str_) if "group" in table.column_names else None
    attributes = {
        name.removeprefix(ATTRIBUTE): np.asarray(table[name].to_pylist(), dtype=np.str_)
        for name in table.column_names
        if name.startswith(ATTRIBUTE)
    }
    return Labels(dataset, split, ids, table["expression"].to_numpy().astype(np.int64), va, groups, attributes)


def save_labels(store: Store, labels: Labels) -> None:
    """Publish labels that were imported with predictions, rows sorted by id."""
    order = np.argsort(labels.ids)
    table = pa.table(
        {
            "sample_id": labels.ids[order].tolist(),
            "expression": labels.expression[order].astype(np.int64),
            "valence": labels.va[order, 0],
            "arousal": labels.va[order, 1],
        }
        | ({} if labels.groups is None else {"group": labels.groups[order].tolist()})
        | {f"{ATTRIBUTE}{name}": values[order].tolist() for name, values in labels.attributes.items()}
    )
    store.write(paths.labels_table(labels.dataset, labels.split), table_to_bytes(table))


def merge_labels(known: Labels, imported: Labels, what: str) -> Labels:
    """Known labels merged with newly imported ones.

    Args:
        what: the file they are imported from, for messages.

    Raises:
        Ig3dError: a sample has conflicting labels; the message names the first.
    """
    shared, here, there = np.intersect1d(known.ids, imported.ids, return_indices=True)
    a, b = known.expression[here], imported.expression[there]
    differ = (a >= 0) & (b >= 0) & (a != b)
    va_a, va_b = known.va[here], imported.va[there]
    # Published files round labels, CAGE's even to float16.
    differ |= (np.abs(va_a - va_b) > 1e-3).any(axis=1)
    if differ.any():
        first = int(differ.argmax())
        names = datasets.dataset(known.dataset).class_names
        message = [
            f"{names[label] if label >= 0 else 'no class'}, valence {va[0]:g}, arousal {va[1]:g}"
            for label, va in ((b[first], va_b[first]), (a[first], va_a[first]))
        ]
        raise Ig3dError(
            f"{what}: sample {shared[first]}: its label is ({message[0]}) but stored as ({message[1]});"
            f" {int(differ.sum())} samples differ: other samples, or another order (if an earlier file was wrong:"
            f" delete {paths.labels_table(known.dataset, known.split)} and import again)"
        )
    merged_expression, merged_va = known.expression.copy(), known.va.copy()
    merged_expression[here] = np.where(a >= 0, a, b)
    merged_va[here] = np.where(np.isnan(va_a), va_b, va_a)
    new = np.setdiff1d(np.arange(len(imported.ids)), there)
    return Labels(
        known.dataset,
        known.split,
        np.concatenate([known.ids, imported.ids[new]]),
        np.concatenate([merged_expression, imported.expression[new]]),
        np.concatenate([merged_va, imported.va[new]]),
        _merged_texts(known, imported, known.groups, imported.groups),
        _merged_attributes(known, imported),
    )


def _merged_attributes(known: Labels, imported: Labels) -> dict[str, np.ndarray]:
    found = {}
    for name in {**known.attributes, **imported.attributes}:
        merged = _merged_texts(known, imported, known.attributes.get(name), imported.attributes.get(name))
        if merged is not None:
            found[name] = merged
    return found


def _merged_texts(
    known: Labels, imported: Labels, ours: np.ndarray | None, theirs: np.ndarray | None
) -> np.ndarray | None:
    """A column of text of both, `[N]`: the known samples, then the new ones; what is imported has precedence."""
    if ours is None and theirs is None:
        return None
    _, here, there = np.intersect1d(known.ids, imported.ids, return_indices=True)
    new = np.setdiff1d(np.arange(len(imported.ids)), there)
    a = np.zeros(len(known.ids), "U1") if ours is None else ours
    b = np.zeros(len(imported.ids), "U1") if theirs is None else theirs
    merged = np.concatenate([a, b[new]])
    merged[here] = np.where(b[there] == "", a[here], b[there])
    return merged
