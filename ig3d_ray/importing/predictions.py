"""Imports predictions of any model into the logit cache, with labels that agree."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ig3d_ray.data import datasets
from ig3d_ray.data.labels import Labels, find_labels, merge_labels, save_labels
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitStore, LogitTable
from ig3d_ray.evaluation.metrics import score
from ig3d_ray.importing.tables import ROW_PATTERN, classes_of, numbers, predictions, read_columns, sample_ids
from ig3d_ray.models.spec import ImportedSpec, fingerprint, spec_json
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split, Task


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        table: as it was published.
        found: `logits`, `va`.
        numbered: whether ids are row numbers.
        scores: `accuracy` and `ccc`, if there are labels; low values indicate mixed-up classes or rows.
    """

    table: LogitTable
    found: tuple[str, ...]
    numbered: bool
    scores: dict[str, float]


def import_predictions(
    store: Store,
    file: Path,
    dataset: str,
    spec: ImportedSpec,
    split: Split,
    row_order_is_id: bool = False,
    replace: bool = False,
) -> Imported:
    """Read a file of predictions and publish it as a member's logit table.

    Args:
        file: ending in .csv, .parquet or .npz.
        spec: the member's name and view.
        row_order_is_id: number the rows instead of requiring `sample_id`; then every file imported for this
            split must agree with the others in its labels, row by row.
        replace: accept other predictions than those already imported under this name.

    Raises:
        Ig3dError: the file can't be understood or contradicts what is known; nothing is written then.
    """
    columns = read_columns(file)
    ids, numbered = sample_ids(file, columns, row_order_is_id)
    logits, va = predictions(file, columns, dataset)
    if logits is None and not datasets.dataset(dataset).has_va:
        raise Ig3dError(
            f"{file}: valence and arousal alone, but {dataset} is searched for expressions; add columns logit_0.."
        )
    table = LogitTable(
        dataset=dataset,
        split=split,
        member=fingerprint(dataset, "", spec),
        name=spec.name,
        view=spec.view,
        member_spec=spec_json(spec),
        dataset_fingerprint="",
        ids=ids,
        logits=logits,
        va=va,
    )
    labels = _agreed_labels(store, file, columns, table, numbered)
    cache = LogitStore(store)
    _check_name(cache, table, file, replace)
    if labels is not None:
        save_labels(store, labels)
    cache.write(table)
    found = tuple(kind for kind, values in (("logits", logits), ("va", va)) if values is not None)
    return Imported(table, found, numbered, _scores(find_labels(store, dataset, split), table))


def _check_name(cache: LogitStore, table: LogitTable, file: Path, replace: bool) -> None:
    """Whether the member's name is free, or its table the same."""
    for card in cache.members(table.dataset):
        if card.name == table.name and card.fingerprint != table.member:
            raise Ig3dError(f"{file}: there is a member {table.name} of view {card.view} already; use another --member")
    known = cache.has(table.dataset, table.member, table.split) and not replace
    if known and cache.read(table.dataset, table.member, table.split).digest != table.digest:
        raise Ig3dError(f"{file}: {table.name} already has other {table.split} predictions; use --replace or rename it")


def _scores(labels: Labels | None, table: LogitTable) -> dict[str, float]:
    scores = {}
    for task, metric, outputs in ((Task.EXPRESSION, "accuracy", table.logits), (Task.VA, "ccc", table.va)):
        with contextlib.suppress(Ig3dError):
            if outputs is not None and labels is not None:
                truth = labels.of(table.ids, task)
                scores[metric] = score(task, outputs, truth)[metric]
    return scores


def labels_in_file(
    file: Path, columns: dict[str, np.ndarray], dataset: str, ids: np.ndarray, split: Split = "test"
) -> Labels | None:
    """The labels in a file of predictions; None if there are none.

    Raises:
        Ig3dError: a label is not a class, or not a number.
    """
    rows = len(ids)
    expression, va = np.full(rows, -1, np.int64), np.full((rows, 2), np.nan, np.float32)
    for name in ("label", "cat_true"):
        if name in columns:
            expression = classes_of(file, columns, name, dataset)
    for index, name in enumerate(("val_true", "aro_true")):
        if name in columns:
            va[:, index] = numbers(file, columns, name)
    if (expression < 0).all() and np.isnan(va).all():
        return None
    return Labels(dataset, split, ids, expression, va)


def _agreed_labels(
    store: Store, file: Path, columns: dict[str, np.ndarray], table: LogitTable, numbered: bool
) -> Labels | None:
    """The labels to publish, or None where the data set's own samples table has them."""
    known = find_labels(store, table.dataset, table.split)
    imported = labels_in_file(file, columns, table.dataset, table.ids, table.split)
    if store.exists(paths.samples_table(table.dataset)):
        assert known is not None
        lacking = ~np.isin(table.ids, known.ids)
        if lacking.any():
            first, count = table.ids[int(lacking.argmax())], int(lacking.sum())
            where = f"{table.dataset}'s {table.split} split"
            raise Ig3dError(f"{file}: sample_id {str(first)!r} is not in {where} ({count} of {len(lacking)} rows)")
        if imported is not None:
            merge_labels(known, imported, str(file))
        return None
    if imported is None and known is None:
        raise Ig3dError(
            f"{file}: no labels: add a column label, or val_true and aro_true; or make a samples table first"
        )
    if known is None:
        return imported
    if numbered and len(known.ids) != len(table.ids):
        raise Ig3dError(
            f"{file}: {len(table.ids)} rows, but the files imported before have {len(known.ids)}; rows can't be"
            " matched by order: add sample_id"
        )
    if imported is None:
        if numbered:
            raise Ig3dError(f"{file}: no labels to check the order of rows by; add label, or val_true and aro_true")
        lacking = ~np.isin(table.ids, known.ids)
        if lacking.any():
            first = table.ids[int(lacking.argmax())]
            raise Ig3dError(f"{file}: sample_id {str(first)!r} has no label ({int(lacking.sum())} such rows)")
        return known
    if numbered != all(ROW_PATTERN.fullmatch(known_id) for known_id in known.ids.tolist()):
        raise Ig3dError(
            f"{file}: row numbers beside ids: the files imported before {'have' if numbered else 'lack'} sample_id"
        )
    if not np.isin(table.ids, known.ids).any():
        raise Ig3dError(
            f"{file}: none of its {len(table.ids)} samples is among those of the files imported before, such as"
            f" {str(known.ids[0])!r}; nothing could be compared: check sample_id, --dataset and --split"
        )
    if numbered and not _comparable(known, imported):
        raise Ig3dError(
            f"{file}: its labels are of another kind than those of the files imported before, so the order of rows"
            " can't be checked; add the same labels or a column sample_id"
        )
    return merge_labels(known, imported, str(file))


def _comparable(known: Labels, imported: Labels) -> bool:
    """Whether two numbered files have a kind of label in common, on every row."""
    classes = bool(((known.expression >= 0) & (imported.expression >= 0)).all())
    return classes or not bool(np.isnan(known.va).any() or np.isnan(imported.va).any())
