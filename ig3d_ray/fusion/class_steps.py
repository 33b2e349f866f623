"""Macro F1 and the other metrics of classes as exact step functions of one weight, computed in one pass.

Every change of a sample's top class is found, in blocks of samples; then each class's part of the metric is
computed where its counts change, and the parts are added up.
"""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.evaluation.metrics import CLASS_PARTS
from ig3d_ray.fusion.piecewise import Steps, classes_first, steps_at

BLOCK = 4096
"""Samples at a time: few enough that their scores stay in the processor's cache."""
NOTHING = 1e-9


@dataclass(frozen=True)
class _Changes:
    """Where samples' top classes change: position, row of the sample, its label, class before and after; and all at
    `low`."""

    position: np.ndarray
    row: np.ndarray
    label: np.ndarray
    before: np.ndarray
    after: np.ndarray
    top_at_low: np.ndarray


def class_steps(
    first_NC: np.ndarray,
    second_NC: np.ndarray,
    labels_N: np.ndarray,
    metric: str,
    low: float = 0.0,
    high: float = 1.0,
    share_N: np.ndarray | None = None,
) -> Steps:
    """Any metric of classes of (1 - w) * first + w * second for every w in [low, high].

    Args:
        first_NC: `[N, C]` class scores of the first member.
        second_NC: `[N, C]` of the second.
        labels_N: `[N]` int classes.
        metric: one of `metrics.METRICS[Task.EXPRESSION]`.
        low: lowest weight of the second member.
        high: highest weight.
        share_N: `[N]`: what each sample counts; all 1 by default.

    Raises:
        ValueError: the shapes differ.

    Source: each sample's upper envelope of C lines is walked from `low` to `high`, a block of samples at once:
    O(N C) for each of at most C - 1 steps, in practice two or three.
    """
    if second_NC.shape != first_NC.shape or labels_N.shape != first_NC.shape[:1]:
        raise ValueError(f"shapes differ: {first_NC.shape}, {second_NC.shape}, labels {labels_N.shape}")
    blocks = [slice(start, start + BLOCK) for start in range(0, max(len(labels_N), 1), BLOCK)]
    parts = [_block_changes(first_NC[rows], second_NC[rows], labels_N[rows], low, high, rows.start) for rows in blocks]
    fields = ("position", "row", "label", "before", "after", "top_at_low")
    found = {name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}
    order = np.argsort(found["position"], kind="stable")
    changes = _Changes(**{name: found[name][order] for name in fields[:-1]}, top_at_low=found["top_at_low"])
    share = np.ones(len(labels_N)) if share_N is None else share_N
    values = _values(changes, labels_N, share, metric, first_NC.shape[1])
    return steps_at(changes.position, values, low, high)


def _values(changes: _Changes, labels_N: np.ndarray, share_N: np.ndarray, metric: str, classes: int) -> np.ndarray:
    """The metric before the first change and after each, `[K + 1]`."""
    count = len(changes.position)
    above, below = np.zeros(count + 1), np.zeros(count + 1)
    top, parts, shared = changes.top_at_low, CLASS_PARTS[metric], bool((share_N != 1).any())
    for one in range(classes):
        # A class's counts change only where it becomes the top class or ends to be.
        lost, won = changes.before == one, changes.after == one
        at = np.flatnonzero(lost | won)
        step, of_class = (won[at].astype(np.float64) - lost[at]) * share_N[changes.row[at]], changes.label[at] == one
        on_top, labeled = top == one, labels_N == one
        predicted = share_N[on_top].sum() + np.concatenate([[0.0], np.cumsum(step)])
        hits = share_N[on_top & labeled].sum() + np.concatenate([[0.0], np.cumsum(step * of_class)])
        support = np.full(len(hits), share_N[labeled].sum())
        if shared:
            # Sums of shares that cancel leave rounding errors, and a ratio of two such is no number near 0.
            predicted, hits = (np.where(np.abs(x) < NOTHING, 0.0, x) for x in (predicted, hits))
        lengths = np.diff(np.concatenate([[0], at + 1, [count + 1]]))
        part_above, part_below = parts(hits, support, predicted)
        above += np.repeat(part_above, lengths)
        below += np.repeat(part_below, lengths)
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


def _block_changes(
    first_NC: np.ndarray, second_NC: np.ndarray, labels_N: np.ndarray, low: float, high: float, begin: int
) -> _Changes:
    """The changes of a block of samples, of which the first has the number `begin`.

    Scores are `[C, N]`: operations along samples are many times faster.
    """
    start, second = classes_first(first_NC), classes_first(second_NC)
    slope = second - start
    if low != 0:
        start = start + low * slope
    active, top = np.arange(start.shape[1]), start.argmax(axis=0)
    top_at_low, now = top, np.zeros(start.shape[1])
    found: list[tuple[np.ndarray, ...]] = []
    while len(active):
        rows = np.arange(len(active))
        gap, rise = start[top, rows] - start, slope - slope[top, rows]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            reach = np.where(rise > 0, np.maximum(gap / rise, now), np.inf)
        now = reach.min(axis=0)
        going = now <= high - low
        active, top, now = active[going], top[going], now[going]
        start, slope, rise, reach = start[:, going], slope[:, going], rise[:, going], reach[:, going]
        tied = reach == now
        # From here on the steepest of those that meet is on top; where they meet, the first of them.
        steepest = np.where(tied, rise, -np.inf).argmax(axis=0)
        meeting = np.minimum(top, tied.argmax(axis=0))
        position = low + now
        for at, before, after in ((position, top, meeting), (np.nextafter(position, np.inf), meeting, steepest)):
            # Where the steepest is also the first, it is on top from the meeting point on.
            change = before != after
            rows_changed = active[change]
            found.append((at[change], begin + rows_changed, labels_N[rows_changed], before[change], after[change]))
        top = steepest
    fields = [np.concatenate(part) for part in zip(*found, strict=True)] if found else [np.zeros(0, int)] * 5
    return _Changes(fields[0], fields[1], fields[2], fields[3], fields[4], top_at_low)
