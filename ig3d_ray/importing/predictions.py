"""Imports predictions of any model into the logit cache, with labels that agree."""

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ig3d_ray.data import datasets
from ig3d_ray.data.ids import SMALLEST_SHARE, match_ids, unlike
from ig3d_ray.data.labels import Labels, find_labels, merge_labels, save_labels
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitStore, LogitTable
from ig3d_ray.evaluation.metrics import score
from ig3d_ray.importing.faces import one_per_sample
from ig3d_ray.importing.reading import Predictions, Reading
from ig3d_ray.importing.row_ids import ROW_PATTERN
from ig3d_ray.importing.tables import read_rows
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
        notes: what was decided and changed while reading, one line each.
    """

    table: LogitTable
    found: tuple[str, ...]
    numbered: bool
    scores: dict[str, float]
    notes: tuple[str, ...]


def import_predictions(
    store: Store,
    file: Path,
    dataset: str,
    spec: ImportedSpec,
    split: Split,
    row_order_is_id: bool = False,
    replace: bool = False,
    reading: Reading | None = None,
    allow_missing: bool = False,
) -> Imported:
    """Read a file of predictions and publish it as a member's logit table.

    Args:
        store: where it is published.
        file: a table or a known tool's output, see `importing.containers`.
        dataset: whose samples they are.
        spec: the member's name and view.
        split: of the samples.
        row_order_is_id: number the rows instead of requiring ids; then every file imported for this
            split must agree with the others in its labels, row by row.
        replace: accept other predictions than those already imported under this name; and other labels, if those came
            with them.
        reading: what can't be found out about the file.
        allow_missing: accept a file of whose ids fewer than 95 % are known.

    Raises:
        Ig3dError: the file can't be understood or contradicts what is known; nothing is written then.
    """
    about = datasets.use(store, dataset)
    reading = reading or Reading()
    if row_order_is_id:
        reading = dataclasses.replace(reading, row_order_is_id=True)
    rows = read_rows(file, about, reading)
    read = one_per_sample(rows, file, reading.faces)
    if read.logits is None and Task.EXPRESSION in about.tasks[:1] and not about.has_va:
        raise Ig3dError(
            f"{file}: valence and arousal alone, but {dataset} is searched for expressions; add columns logit_0.."
        )
    if read.logits is None and read.va is None:
        raise Ig3dError(f"{file}: no predictions for {' or '.join(about.tasks)}, which {dataset} is searched for")
    known = find_labels(store, dataset, split)
    member = fingerprint(dataset, "", spec)
    if known is not None and replace and read.has_labels and _brought_labels(store, dataset, split, member):
        known = None
    if known is not None and not read.numbered:
        read = _known_rows(read, known, file, allow_missing)
    table = LogitTable(
        dataset=dataset,
        split=split,
        member=member,
        name=spec.name,
        view=spec.view,
        member_spec=spec_json(spec),
        dataset_fingerprint="",
        ids=read.ids,
        logits=read.logits,
        va=read.va,
    )
    # Where the first file has labels, so do its samples without a prediction.
    labeled = read if known is not None or rows.numbered else rows.take(np.unique(rows.ids, return_index=True)[1])
    labels = _agreed_labels(store, file, labeled, table, known)
    cache = LogitStore(store)
    _check_name(cache, table, file, replace)
    datasets.publish(store, about)
    if labels is not None:
        save_labels(store, labels)
    cache.write(table)
    found = tuple(kind for kind, values in (("logits", read.logits), ("va", read.va)) if values is not None)
    labels = find_labels(store, dataset, split)
    notes = (*read.notes, *_coverage(labels, table))
    return Imported(table, found, read.numbered, _scores(labels, table), notes)


def _brought_labels(store: Store, dataset: str, split: Split, member: str) -> bool:
    """Whether a split's labels came with this member's file, which is to be replaced: no other member has outputs
    there, and there is no samples table. What is wrong with that file, such as its ids, is wrong with the labels."""
    cache = LogitStore(store)
    if store.exists(paths.samples_table(dataset)) or not cache.has(dataset, member, split):
        return False
    return not any(split in card.splits for card in cache.members(dataset) if card.fingerprint != member)


def _known_rows(read: Predictions, known: Labels, file: Path, allow_missing: bool) -> Predictions:
    """The rows whose samples are known, under their known ids; the others are dropped, and counted in the output.

    Raises:
        Ig3dError: fewer than 95 % of the ids are known.
    """
    if not len(known.ids):
        raise Ig3dError(f"{file}: {known.dataset} has no {known.split} samples; check --split")
    match = match_ids(known.ids, read.ids)
    lost = match.place < 0
    count = int(lost.sum())
    if match.share < SMALLEST_SHARE and not (allow_missing and count < len(lost)):
        ambiguous = f"; {match.ambiguous}, several ids would be one" if match.ambiguous else ""
        way_out = "" if count == len(lost) else "; --allow-missing imports the others"
        raise Ig3dError(
            f"{file}: {count} of {len(lost)} samples are not among the {len(known.ids)} of {known.dataset}'s"
            f" {known.split} split: {unlike(known.ids, read.ids[lost])}{ambiguous}; check ids, --dataset and"
            f" --split{way_out}"
        )
    notes = []
    if match.how:
        first = int((~lost).argmax())
        example = f"{str(read.ids[first])!r} is {str(known.ids[match.place[first]])!r}"
        notes.append(f"ids were matched {match.how}: {example}")
    if count:
        notes.append(f"{count} rows of unknown samples were dropped, such as {str(read.ids[lost][0])!r}")
    ids = read.ids.astype(object)
    ids[~lost] = known.ids[match.place[~lost]]
    return dataclasses.replace(read, ids=ids.astype(np.str_)).take(~lost, *notes)


def _coverage(labels: Labels | None, table: LogitTable) -> list[str]:
    """How many of the known samples the table lacks."""
    if labels is None:
        return []
    lacking = int((~np.isin(labels.ids, table.ids)).sum())
    return [f"{lacking} of {len(labels.ids)} known samples have no prediction"] if lacking else []


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


def labels_of(read: Predictions, dataset: str, split: Split = "test") -> Labels | None:
    """The labels in a file of predictions; None if there are none."""
    return Labels(dataset, split, read.ids, read.expression, read.va_true) if read.has_labels else None


def _agreed_labels(
    store: Store, file: Path, read: Predictions, table: LogitTable, known: Labels | None
) -> Labels | None:
    """The labels to publish, or None where the data set's own samples table has them."""
    imported = labels_of(read, table.dataset, table.split)
    if store.exists(paths.samples_table(table.dataset)) and known is not None:
        if read.numbered:
            raise Ig3dError(f"{file}: {table.dataset} has a samples table, so rows can't be numbered; add sample_id")
        if imported is not None:
            merge_labels(known, imported, str(file))
        return None
    if imported is None and known is None:
        raise Ig3dError(
            f"{file}: no labels: add a column label, or val_true and aro_true; or `ig3d import labels FILE`;"
            " or make a samples table first"
        )
    if known is None:
        return imported
    _check_numbering(file, read, known, imported)
    return known if imported is None else merge_labels(known, imported, str(file))


def _check_numbering(file: Path, read: Predictions, known: Labels, imported: Labels | None) -> None:
    """Row numbers can only be compared with row numbers, by labels of the same kind.

    Raises:
        Ig3dError: the files imported before have other ids, another number of rows, or other labels.
    """
    if read.numbered != all(ROW_PATTERN.fullmatch(known_id) for known_id in known.ids.tolist()):
        raise Ig3dError(
            f"{file}: row numbers beside ids: the files imported before {'have' if read.numbered else 'lack'} sample_id"
        )
    if not read.numbered:
        return
    if len(known.ids) != len(read.ids):
        raise Ig3dError(
            f"{file}: {len(read.ids)} rows, but the files imported before have {len(known.ids)}; rows can't be"
            " matched by order: add sample_id"
        )
    if imported is None:
        raise Ig3dError(f"{file}: no labels to check the order of rows by; add label, or val_true and aro_true")
    if not _comparable(known, imported):
        raise Ig3dError(
            f"{file}: its labels are of another kind than those of the files imported before, so the order of rows"
            " can't be checked; add the same labels or a column sample_id"
        )


def _comparable(known: Labels, imported: Labels) -> bool:
    """Whether two numbered files have a kind of label in common, on every row."""
    classes = bool(((known.expression >= 0) & (imported.expression >= 0)).all())
    return classes or not bool(np.isnan(known.va).any() or np.isnan(imported.va).any())
