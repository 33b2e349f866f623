"""A pool: members' outputs on the same samples, with the labels. Rows are matched by id only."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ig3d_ray.data.labels import Labels, is_missing
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitTable
from ig3d_ray.types import Split, Task, View


@dataclass(frozen=True)
class Pool:
    """M members on N common samples.

    Attributes:
        dataset: of the outputs.
        split: of the outputs.
        task: what is predicted.
        names: of the M members, in order.
        fingerprints: of the members.
        views: of the members.
        ids: `[N]` str, ascending: so no score can depend on the order of rows.
        outputs_MNC: `[M, N, C]` float32 logits, or `[M, N, 2]` valence and arousal.
        labels: `[N]` int64 classes, or `[N, 2]` float32.
        excluded: the ids for which the output of some member is missing, ascending.
        groups: `[N]` int: samples of one number belong together; None where each is on its own.
        attributes: name -> `[N]` str of subgroups, such as gender; empty where it is not known.
        parameters: representation -> `[N, W]` float32 of the samples, where a search takes them as input.
        labels_digest: SHA-256 of the labels of the whole split, whatever the members; empty where it has no labels.
    """

    dataset: str
    split: Split
    task: Task
    names: tuple[str, ...]
    fingerprints: tuple[str, ...]
    views: tuple[View, ...]
    ids: np.ndarray
    outputs_MNC: np.ndarray
    labels: np.ndarray
    excluded: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    labels_digest: str = ""
    attributes: Mapping[str, np.ndarray] = field(default_factory=dict)
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def samples_digest(self) -> str:
        """SHA-256 of ids and labels, in hex: two pools with equal hashes have the same samples."""
        content = hashlib.sha256("\0".join([self.dataset, self.split, *self.ids.tolist()]).encode())
        content.update(np.ascontiguousarray(self.labels).tobytes())
        return content.hexdigest()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all inputs of a search: samples, members and their outputs, in hex."""
        content = hashlib.sha256(self.samples_digest.encode())
        content.update("\0".join([self.task, *self.names, *self.views, *self.fingerprints]).encode())
        content.update(np.ascontiguousarray(self.outputs_MNC, dtype=np.float32).tobytes())
        if self.groups is not None:
            content.update(self.groups.tobytes())
        for name in sorted(self.parameters):
            content.update(name.encode())
            content.update(np.ascontiguousarray(self.parameters[name]).tobytes())
        return content.hexdigest()

    def take(self, rows: np.ndarray) -> "Pool":
        """The pool on some of its samples, `rows` being ascending indices."""
        parts = (self.ids[rows], np.take(self.outputs_MNC, rows, axis=1), self.labels[rows])
        about = (self.dataset, self.split, self.task, self.names, self.fingerprints, self.views)
        groups = None if self.groups is None else self.groups[rows]
        attributes = {name: values[rows] for name, values in self.attributes.items()}
        parameters = {name: values[rows] for name, values in self.parameters.items()}
        return Pool(*about, *parts, self.excluded, groups, self.labels_digest, attributes, parameters)

    def only(self, names: Sequence[str]) -> "Pool":
        """The pool with some of its members, in this order."""
        at = [self.names.index(name) for name in names]
        return replace(
            self,
            names=tuple(names),
            fingerprints=tuple(self.fingerprints[i] for i in at),
            views=tuple(self.views[i] for i in at),
            outputs_MNC=self.outputs_MNC[at],
        )

    def outputs_of(self, names: Sequence[str]) -> np.ndarray:
        """`[len(names), N, C]`: the outputs of these members, in this order."""
        return self.outputs_MNC[[self.names.index(name) for name in names]]


def align(tables: Sequence[LogitTable], labels: Labels, task: Task) -> Pool:
    """Members' tables on the samples that all of them have, and that are annotated for the task.

    Raises:
        Ig3dError: no tables; a table is without the task's outputs or is of another data set or split; the
            tables have no annotated sample in common; two have one name.
    """
    _check_tables(tables, labels)
    annotated = labels.ids[~is_missing(labels.truth(task), task)]
    if not len(annotated):
        # These messages name a member without the outputs, or a sample.
        _aligned(tables, labels, task, tables[0].ids[:0])
        labels.of(tables[0].ids, task)
    common = union = np.intersect1d(tables[0].ids, annotated)
    for table in tables[1:]:
        common = np.intersect1d(common, table.ids)
        union = np.union1d(union, np.intersect1d(table.ids, annotated))
    if len(common) == 0:
        names = ", ".join(table.name for table in tables)
        raise Ig3dError(f"{labels.dataset} {labels.split}: no sample is common to {names}; check their sample_id")
    return Pool(
        dataset=labels.dataset,
        split=labels.split,
        task=task,
        names=tuple(table.name for table in tables),
        fingerprints=tuple(table.member for table in tables),
        views=tuple(table.view for table in tables),
        ids=common,
        outputs_MNC=_aligned(tables, labels, task, common),
        labels=labels.of(common, task),
        excluded=tuple(np.setdiff1d(union, common).tolist()),
    )


def _check_tables(tables: Sequence[LogitTable], labels: Labels) -> None:
    if not tables:
        raise Ig3dError(f"{labels.dataset}: the pool is empty; train a member or import predictions")
    ((name, count),) = Counter(table.name for table in tables).most_common(1)
    if count > 1:
        raise Ig3dError(f"{labels.dataset}: {count} members are called {name!r}; import one of them under another name")
    for table in tables:
        foreign = ~np.isin(table.ids, labels.ids)
        if foreign.any():
            first, of = table.ids[int(foreign.argmax())], f"{int(foreign.sum())} of {len(table.ids)} such"
            raise Ig3dError(
                f"{table.name}: sample {str(first)!r} is not among {labels.dataset}'s {labels.split} samples ({of});"
                " its predictions are of other samples: import them again"
            )


def _aligned(tables: Sequence[LogitTable], labels: Labels, task: Task, common: np.ndarray) -> np.ndarray:
    """The outputs of each table on the common samples, `[M, N, C]`."""
    outputs_MNC = np.empty((0, 0, 0), dtype=np.float32)
    for member, table in enumerate(tables):
        if (table.dataset, table.split) != (labels.dataset, labels.split):
            raise Ig3dError(
                f"{table.name}: outputs on {table.dataset} {table.split}, not {labels.dataset} {labels.split}"
            )
        values = table.outputs(task)
        if values is None:
            raise Ig3dError(f"{table.name}: no {task.outputs} cached")
        order = np.argsort(table.ids)
        if member == 0:
            # Filled member by member, so that a large pool needs memory for one copy besides its tables, not two.
            outputs_MNC = np.empty((len(tables), len(common), values.shape[1]), dtype=np.float32)
        outputs_MNC[member] = values[order[np.searchsorted(table.ids, common, sorter=order)]]
    return outputs_MNC
