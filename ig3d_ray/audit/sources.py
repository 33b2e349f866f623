"""The inputs of an audit: the members of a store with their exported ensembles, or files of predictions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ig3d_ray.audit.checks import Audited, Finding, check_all, order_matters, repeated_ids
from ig3d_ray.data import datasets
from ig3d_ray.data.labels import Labels, find_labels
from ig3d_ray.ensembles.spec import EnsembleSpec, parse_ensemble
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.logits import LogitStore, LogitTable
from ig3d_ray.evaluation.pool import align
from ig3d_ray.fusion.calibrated import scored
from ig3d_ray.importing.predictions import labels_of
from ig3d_ray.importing.reading import Reading
from ig3d_ray.importing.row_ids import ROW_PATTERN
from ig3d_ray.importing.tables import read_rows
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store
from ig3d_ray.types import SPLITS, Split, Task

SLACK = 1e-6


def audit_files(files: Sequence[Path], dataset: str, row_order_is_id: bool, shuffled: Path | None) -> list[Finding]:
    """Audit prediction files as they are, in the order of their rows.

    Args:
        files: as for `ig3d import predictions`.
        row_order_is_id: for those without sample_id.
        shuffled: the first file's model again, run on the same samples in another order.

    Raises:
        Ig3dError: a file cannot be read at all.
    """
    found: list[Finding] = []
    by_task: dict[Task, list[Audited]] = {Task.EXPRESSION: [], Task.VA: []}
    for file in files:
        for one in _of_file(file, dataset, row_order_is_id):
            twice = repeated_ids(one)
            if twice is not None:
                found.append(twice)
            else:
                by_task[one.task].append(one)
    for members in by_task.values():
        if members:
            found += check_all(members)
    return found + (_shuffled(files[0], shuffled, dataset) if shuffled is not None else [])


def _shuffled(file: Path, shuffled: Path, dataset: str) -> list[Finding]:
    """A model's outputs against its outputs on the same samples in another order; both need their ids."""
    first, again = ({one.task: one for one in _of_file(one, dataset, False)} for one in (file, shuffled))
    both = [task for task in first if task in again and np.isin(first[task].ids, again[task].ids).any()]
    if not both:
        raise Ig3dError(f"--shuffled {shuffled}: has no sample in common with {file}; give the same model's outputs")
    found = (order_matters(first[task], again[task]) for task in both)
    return [finding for finding in found if finding is not None]


def _of_file(file: Path, dataset: str, row_order_is_id: bool) -> list[Audited]:
    about = datasets.dataset(dataset)
    # As logits: whether they are is one of the checks.
    read = read_rows(file, about, Reading(row_order_is_id=row_order_is_id, scores_are_checked=False))
    read = read.take(~read.missing)
    labels = labels_of(read, dataset)
    found = []
    for task, outputs in ((Task.EXPRESSION, read.logits), (Task.VA, read.va)):
        if outputs is not None:
            truth = _labels_of(labels, read.ids, task)
            found.append(Audited(file.name, task, read.ids, read.numbered, outputs, truth, about.class_names))
    return found


def _labels_of(labels: Labels | None, ids: np.ndarray, task: Task) -> np.ndarray:
    """The labels of these rows, unknown where there is none; ids may repeat here."""
    truth = np.full(len(ids), -1, np.int64) if task.has_classes else np.full((len(ids), 2), np.nan)
    if labels is None or len(labels.ids) == 0:
        return truth
    order = np.argsort(labels.ids, kind="stable")
    rows = order[np.minimum(np.searchsorted(labels.ids, ids, sorter=order), len(order) - 1)]
    known = labels.ids[rows] == ids
    truth[known] = labels.truth(task)[rows[known]]
    return truth


def audit_store(store: Store, dataset: str) -> tuple[list[Finding], int]:
    """Audit what a store holds of a data set: each split's members, and the exported ensembles.

    Returns:
        The findings, and the number of tables of outputs that were checked.

    Raises:
        Ig3dError: there is nothing to audit, or a table is broken.
    """
    cache, found, looked = LogitStore(store), [], 0
    cards = cache.members(dataset)
    if not cards:
        raise Ig3dError(f"{store.locate(paths.logits_folder(dataset))}: no members to audit; run or import first")
    for split in SPLITS:
        tables = [cache.read(dataset, card.fingerprint, split) for card in cards if split in card.splits]
        looked += len(tables)
        labels = find_labels(store, dataset, split) if tables else None
        for task in datasets.dataset(dataset).tasks:
            members = [one for table in tables if (one := _of_table(table, labels, task)) is not None]
            found += check_all(members) if members else []
    for name in store.names(paths.searches_folder(dataset)):
        if name.endswith(paths.SPEC_FILE):
            spec = parse_ensemble(store.read(name).decode(), store.locate(name))
            finding = _ensemble_on_shuffled_rows(store, spec, name)
            found += [finding] if finding is not None else []
    # A data set with two tasks has its coverage reported once.
    return list(dict.fromkeys(found)), looked


def _of_table(table: LogitTable, labels: Labels | None, task: Task) -> Audited | None:
    outputs = table.outputs(task)
    if outputs is None:
        return None
    numbered = all(ROW_PATTERN.fullmatch(one) for one in table.ids.tolist())
    truth = _labels_of(labels, table.ids, task)
    names = datasets.dataset(table.dataset).class_names
    return Audited(f"{table.name} on {table.split}", task, table.ids, numbered, outputs, truth, names)


def _ensemble_on_shuffled_rows(store: Store, spec: EnsembleSpec, name: str) -> Finding | None:
    """Whether an exported ensemble's score is reproduced when every member's rows are shuffled."""
    split: Split = spec.protocol.choose_on
    cache, rng = LogitStore(store), np.random.default_rng(0)
    if not all(cache.has(spec.dataset, member.fingerprint, split) for member in spec.members):
        return Finding("note", "exported ensemble", name, f"its members' outputs on {split} are not in this storage")
    tables = []
    for member in spec.members:
        table = cache.read(spec.dataset, member.fingerprint, split)
        order = rng.permutation(len(table.ids))
        parts = [None if x is None else x[order] for x in (table.logits, table.va)]
        about = (table.dataset, table.split, table.member, table.name, table.view, table.member_spec)
        tables.append(LogitTable(*about, table.dataset_fingerprint, table.ids[order], *parts))
    labels = find_labels(store, spec.dataset, split)
    if labels is None:
        return None
    pool = align(tables, labels, spec.task)
    pool = pool.take(np.flatnonzero(~np.isin(pool.ids, spec.excluded.get(split, ()))))
    if pool.samples_digest != spec.provenance.samples_sha256.get(split):
        what = f"was chosen on other {split} samples or labels than are here now; search again"
        return Finding("fault", "exported ensemble", name, what)
    ours = scored(spec.fusion, spec.predict(pool), spec.objective)
    now = metrics.score_one(spec.task, ours, pool.labels, spec.objective)
    message = spec.scores.selection.metrics[spec.objective].value
    if abs(now - message) <= SLACK:
        return None
    what = f"{spec.objective} on {split}, rows shuffled, is {now:.6f}; the spec has {message:.6f}: search again"
    return Finding("fault", "exported ensemble", name, what)
