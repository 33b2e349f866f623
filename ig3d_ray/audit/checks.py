"""Checks of predictions, one function per fault."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ig3d_ray.audit.chance import FALSE_ALARM, advantage_p, better_order, kind_of, repeats
from ig3d_ray.data.labels import is_missing
from ig3d_ray.evaluation import metrics
from ig3d_ray.types import Task

RISE = 0.05
"""The gain in CCC that a correction must have, beside being unlikely by chance."""
TOGETHER = 20
"""Neighbouring rows of valence and arousal are taken as dependent, as many at a time."""
REPEATS = 0.02
ALIKE = 1e-6
COVERED = 0.95
LAGS = 5
SLACK = 1e-3


@dataclass(frozen=True)
class Audited:
    """One member's predictions as they were written.

    Attributes:
        name: the displayed name.
        task: expression or va.
        ids: `[N]` str, in the order of the rows.
        numbered: whether they are row numbers.
        outputs: `[N, C]` declared as logits, or `[N, 2]` valence and arousal.
        labels: `[N]` int64, -1 where unknown; or `[N, 2]`, NaN where unknown.
        class_names: in the order of the columns.
    """

    name: str
    task: Task
    ids: np.ndarray
    numbered: bool
    outputs: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def labeled(self) -> np.ndarray:
        """Which rows have a label, bool `[N]`."""
        return ~is_missing(self.labels, self.task)

    @cached_property
    def votes(self) -> bool:
        """Whether the outputs are only class labels, encoded as one-hot rows."""
        if not self.task.has_classes or not np.isin(self.outputs, (0.0, 1.0)).all():
            return False
        return bool((self.outputs.sum(axis=1) == 1).all())


@dataclass(frozen=True)
class Finding:
    """A finding of the audit.

    Attributes:
        kind: `fault` for an error that affects scores, `warning` where it may be one, `note` for information.
        check: the name of the check.
        who: the member, or the pair.
        what: a sentence that includes the remedy.
    """

    kind: Literal["fault", "warning", "note"]
    check: str
    who: str
    what: str


def _score(one: Audited, outputs: np.ndarray, labels: np.ndarray) -> float:
    return metrics.score_one(one.task, outputs, labels, one.task.default_metric)


def class_order(one: Audited) -> Finding | None:
    """Whether another order of the classes explains the predictions better (DDAMFN's RAF-DB order does so)."""
    if not one.task.has_classes or not one.labeled.any():
        return None
    classes, labels = len(one.class_names), one.labels[one.labeled]
    found = better_order(labels, one.outputs[one.labeled].argmax(axis=1), classes)
    kind = None if found is None else kind_of(found.p)
    if found is None or kind is None:
        return None
    order = ", ".join(map(str, found.columns))
    return Finding(
        kind,
        "class order",
        one.name,
        f"accuracy {found.now:.4f} becomes {found.then:.4f} if its columns are taken in the order {order}"
        f" for {', '.join(one.class_names)} ({_by_chance(found.p)}); reorder them and import again",
    )


def _by_chance(p: float) -> str:
    return f"p = {p:.1g} by chance" if p > 1e-99 else "p < 1e-99 by chance"


def swapped_dimensions(one: Audited) -> Finding | None:
    """Whether valence and arousal are swapped."""
    if one.task.has_classes or one.labeled.sum() < 3:
        return None
    outputs, labels = one.outputs[one.labeled], one.labels[one.labeled]
    now, then = _score(one, outputs, labels), _score(one, outputs[:, ::-1], labels)
    rows = np.arange(len(labels))
    kind = kind_of(advantage_p(_nearer(outputs, labels, outputs[:, ::-1], labels), rows // TOGETHER, 1))
    if kind is None or then - now <= RISE:
        return None
    message = (
        f"mean CCC {now:.4f} becomes {then:.4f} with valence and arousal exchanged; exchange them and import again"
    )
    return Finding(kind, "swapped valence and arousal", one.name, message)


def _nearer(outputs: np.ndarray, labels: np.ndarray, others: np.ndarray, other_labels: np.ndarray) -> np.ndarray:
    """By how much the squared error of the alternative is smaller, `[N]`."""
    return np.asarray(((outputs - labels) ** 2).sum(axis=1) - ((others - other_labels) ** 2).sum(axis=1))


def shifted_rows(one: Audited) -> Finding | None:
    """Whether the outputs fit the labels of other rows: shifted by a few, or in reverse."""
    if one.labeled.sum() < 20:
        return None
    outputs, labels = one.outputs[one.labeled], one.labels[one.labeled]
    now = _score(one, outputs, labels)
    others = {f"of {abs(k)} rows {'later' if k > 0 else 'earlier'}": np.roll(labels, -k, axis=0) for k in _lags()}
    others["in reverse order"] = labels[::-1]
    which, then = max(((name, _score(one, outputs, other)) for name, other in others.items()), key=lambda x: x[1])
    other, rows = others[which], np.arange(len(labels))
    if one.task.has_classes:
        top = outputs.argmax(axis=1)
        better = (top == other).astype(float) - (top == labels)
        # Neighbours of one class are taken as one, since a file may be sorted by class or hold videos.
        together = np.cumsum(np.concatenate([[0], labels[1:] != labels[:-1]]))
    else:
        better, together = _nearer(outputs, labels, outputs, other), rows // TOGETHER
    p = advantage_p(better, together, len(others))
    kind = kind_of(p)
    if kind is None or then - now <= (0.0 if one.task.has_classes else RISE):
        return None
    metric = "accuracy" if one.task.has_classes else "mean CCC"
    what = f"{metric} {now:.4f} on its own rows' labels is {then:.4f} on those {which} ({_by_chance(p)})"
    return Finding(kind, "misaligned rows", one.name, f"{what}; the rows lost their ids")


def _lags() -> list[int]:
    return [k for k in range(-LAGS, LAGS + 1) if k]


def probabilities_as_logits(one: Audited) -> Finding | None:
    """Whether numbers declared as logits are probabilities."""
    if not one.task.has_classes or one.votes:
        return None
    sums = one.outputs.sum(axis=1)
    if (one.outputs < 0).any() or (np.abs(sums - 1) > SLACK).any():
        return None
    what = "all rows are positive and sum to 1: probabilities, not logits; name the columns prob_ and import again"
    return Finding("fault", "probabilities as logits", one.name, what)


def constant_runs(one: Audited) -> Finding | None:
    """Whether neighboring rows have the same outputs more often than rounding explains: one sample's outputs broadcast
    over a batch, or frames of a video."""
    if one.votes or len(one.outputs) < 2:
        return None
    labels = one.labels if one.task.has_classes else np.zeros(len(one.outputs), np.int64)
    found = repeats(one.outputs, labels)
    if found.same.all():
        return Finding("fault", "constant outputs", one.name, "all samples have the same outputs; what made them?")
    if found.p >= FALSE_ALARM or found.share - found.expected <= REPEATS:
        return None
    if found.of_one_length:
        return Finding(
            "fault", "constant within runs", one.name, _runs(found.same, "has the outputs of the row before it")
        )
    what = (
        f"{found.share:.1%} of the rows have the outputs of the row before, and {found.expected:.1%} would by"
        " rounding: frames of a video, or copies of images? If neither, predict again sample by sample"
    )
    return Finding("warning", "repeated outputs", one.name, what)


def _runs(same: np.ndarray, what: str) -> str:
    starts = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
    lengths = np.diff(starts)
    longest = int(lengths.max())
    return (
        f"{int(same.sum())} of {len(same) + 1} rows: each {what}, in runs of up to {longest}: the signature of one"
        " sample's outputs broadcast over its batch; index by sample and predict again"
    )


def check_one(one: Audited) -> list[Finding]:
    """Every check of one member's predictions."""
    columns = [finding for check in (class_order, swapped_dimensions) if (finding := check(one)) is not None]
    # Columns in another order also fit some other rows better; that one fault is reported once.
    others = (
        (probabilities_as_logits, constant_runs) if columns else (shifted_rows, probabilities_as_logits, constant_runs)
    )
    found = columns + [finding for check in others if (finding := check(one)) is not None]
    if one.numbered:
        what = "rows are numbered: only the order of the files identifies the samples; add a sample_id column"
        found.append(Finding("note", "row order is id", one.name, what))
    return found


def duplicates(members: Sequence[Audited]) -> list[Finding]:
    """Members whose outputs are the same up to scale and a constant per sample."""
    found = []
    for i, first in enumerate(members):
        for second in members[:i]:
            a, b = _on_common(first, second)
            if len(a) < 2 or a.shape[1] != b.shape[1] or first.votes or second.votes:
                continue
            if first.task.has_classes:
                a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
            sizes = np.linalg.norm(a) * np.linalg.norm(b)
            if sizes > 0 and 1 - float((a * b).sum()) / sizes < ALIKE:
                what = "outputs are the same but for scale; in an ensemble they count as one: remove one"
                found.append(Finding("fault", "duplicate members", f"{second.name} and {first.name}", what))
    return found


def broadcast_in_fusion(members: Sequence[Audited]) -> list[Finding]:
    """Pairs that differ, up to a factor, only by something constant within runs: a fusion with a broadcast member."""
    found = []
    for one in members:
        for other in members:
            if one is other or one.votes or other.votes:
                continue
            a, b = _on_common(one, other)
            if len(a) < 20 or a.shape != b.shape:
                continue
            da, db = np.diff(a, axis=0), np.diff(b, axis=0)
            moves = (db**2).sum(axis=1)
            factor = float(np.median((da * db).sum(axis=1)[moves > 0] / moves[moves > 0])) if (moves > 0).any() else 0.0
            # A factor above one is the same pair in reverse order; with a factor of one the order is irrelevant.
            seen = abs(factor - 1) < SLACK and members.index(one) < members.index(other)
            if seen or not 0.05 < factor < 1 + SLACK:
                continue
            size = np.abs(da).max(axis=1)
            same = (size > 0) & (np.abs(da - factor * db).max(axis=1) < 1e-4 * size)
            # Rows that are equal in both, such as unanimous votes, are no sum of one of them and something else.
            same &= (a != b).any(axis=1)[1:]
            if same.mean() > 0.5 and not same.all():
                what = _runs(same, f"differs from {factor:.2f} x {other.name} by what the row before it does")
                found.append(Finding("fault", "fusion with a broadcast member", f"{one.name} and {other.name}", what))
    return found


def _on_common(first: Audited, second: Audited) -> tuple[np.ndarray, np.ndarray]:
    """Outputs on the samples that both have, in the first one's order of rows."""
    if np.array_equal(first.ids, second.ids):
        return first.outputs.astype(np.float64), second.outputs.astype(np.float64)
    order = np.argsort(second.ids)
    place = np.minimum(np.searchsorted(second.ids, first.ids, sorter=order), len(order) - 1)
    rows = order[place]
    shared = second.ids[rows] == first.ids
    return first.outputs[shared].astype(np.float64), second.outputs[rows[shared]].astype(np.float64)


def coverage(members: Sequence[Audited]) -> list[Finding]:
    """Members without outputs on samples that others have: every comparison is on the common samples."""
    union = np.unique(np.concatenate([one.ids for one in members]))
    found = []
    for one in members:
        lacks = np.setdiff1d(union, one.ids)
        if len(lacks) == 0:
            continue
        share = 1 - len(lacks) / len(union)
        what = f"has {share:.2%} of the {len(union)} samples; {len(lacks)} are missing, the first {str(lacks[0])!r}"
        kind: Literal["fault", "note"] = "note" if share >= COVERED else "fault"
        found.append(Finding(kind, "coverage", one.name, what + "; all are compared on what is common"))
    return found


def repeated_ids(one: Audited) -> Finding | None:
    """Whether a sample_id is duplicated."""
    unique, counts = np.unique(one.ids, return_counts=True)
    if len(unique) == len(one.ids):
        return None
    first = str(unique[counts > 1][0])
    what = f"sample_id {first!r} is duplicated ({int((counts > 1).sum())} such ids); keep one row of each"
    return Finding("fault", "repeated ids", one.name, what)


def unequal_labels(members: Sequence[Audited]) -> list[Finding]:
    """Files with different labels for one sample."""
    found = []
    for i, first in enumerate(members):
        for second in members[:i]:
            shared, here, there = np.intersect1d(first.ids, second.ids, return_indices=True)
            known = first.labeled[here] & second.labeled[there]
            a, b = first.labels[here][known], second.labels[there][known]
            differs = np.abs(a - b) > (0 if first.task.has_classes else 1e-5)
            differs = differs if differs.ndim == 1 else differs.any(axis=1)
            if differs.any():
                sample = str(shared[known][int(differs.argmax())])
                what = f"labels of {int(differs.sum())} samples differ, first {sample!r}; one file is of other samples"
                found.append(Finding("fault", "unequal labels", f"{second.name} and {first.name}", what))
    return found


def order_matters(one: Audited, again: Audited) -> Finding | None:
    """Whether a model's output for a sample changes when the rows are in another order."""
    a, b = _on_common(one, again)
    differs = np.abs(a - b).max(axis=1) > SLACK * (np.abs(a).max(axis=1) + SLACK) if len(a) else np.ones(1, bool)
    if not differs.any():
        return None
    scores = []
    for which in (one, again):
        rows = which.labeled
        scores.append(f"{_score(which, which.outputs[rows], which.labels[rows]):.4f}" if rows.any() else "unknown")
    what = (
        f"{int(differs.sum())} of {len(differs)} samples get other outputs when rows are shuffled; score {scores[0]}"
        f" becomes {scores[1]}: predictions depend on the order of rows, as with one sample's outputs for a batch"
    )
    return Finding("fault", "order of rows matters", one.name, what)


def check_all(members: Sequence[Audited]) -> list[Finding]:
    """Every check of each member, and of all together."""
    found = [finding for one in members for finding in check_one(one)]
    if len(members) > 1:
        found += duplicates(members) + broadcast_in_fusion(members) + coverage(members) + unequal_labels(members)
    return found
