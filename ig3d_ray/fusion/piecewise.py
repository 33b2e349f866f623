"""Accuracy and balanced accuracy as exact step functions of one weight, computed in one pass over the samples.

Along a line of fused scores, first + w * direction, each class's score is a straight line in w. So a sample's top
class changes at most C - 1 times, and whatever is counted from top classes is constant between such changes.
"""

from dataclasses import dataclass

import numpy as np

SHORTEST = 1e-8
"""Steps shorter than this are ties, or so short that a weight with nine decimals misses them; none is put there."""
_BLOCK = 4096
EQUAL = 1e-12
"""Values that differ by less are equally good; different counts of up to a billion samples differ by more."""


@dataclass(frozen=True)
class BestWeight:
    """A best weight of the second member.

    Attributes:
        weight: the one to use: the middle of the widest interval of equally good weights.
        low: lower end of that interval; both ends equal `weight` where the best is a single point.
        high: upper end of that interval.
        value: the metric there.
    """

    weight: float
    low: float
    high: float
    value: float


@dataclass(frozen=True)
class Steps:
    """A metric, the more the better, as a step function of w on [low, high].

    Attributes:
        positions: `[K]` ascending; from each on, itself included, the next value holds.
        values: `[K + 1]`: `values[0]` holds before the first position.
        points: (weight, metric) where top classes tie and nothing is rounded: one member alone, or their mean.
    """

    positions: np.ndarray
    values: np.ndarray
    low: float
    high: float
    points: tuple[tuple[float, float], ...] = ()

    def score_at(self, weights: np.ndarray) -> np.ndarray:
        """The metric at any weights in [low, high], same shape: one binary search each.

        At a weight where top classes tie, it is that of one of the sides.
        """
        return self.values[np.searchsorted(self.positions, weights, side="right")]

    def best(self) -> BestWeight:
        """The best weight: the middle of the widest interval on which the metric is highest.

        A single weight where scores tie is never chosen, because rounding would decide the result; except those of
        `points`, if they are better than any interval.
        """
        inside = (self.positions > self.low) & (self.positions <= self.high)
        edges = np.concatenate([[self.low], self.positions[inside], [self.high]])
        values = np.concatenate([self.score_at(np.array([self.low])), self.values[1:][inside]])
        usable = np.diff(edges) > SHORTEST
        point = max(self.points, key=lambda at: at[1], default=(self.low, -np.inf))
        if not usable.any() and not self.points:
            usable[0] = True
        top = values[usable].max() if usable.any() else -np.inf
        if point[1] > top + EQUAL:
            return BestWeight(point[0], point[0], point[0], point[1])
        good = values >= top - EQUAL
        # Neighbouring pieces that are equally good make one interval; a better tie in between does not end it.
        ends = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(int), [0]])))
        runs = [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if usable[a:b].any()]
        first, last = max(runs, key=lambda run: edges[run[1]] - edges[run[0]])
        low, high = float(edges[first]), float(edges[last])
        weight = 0.5 * (low + high)
        if high - low <= SHORTEST:
            weight = low = high = self.low if first == 0 else self.high
        return BestWeight(weight, low, high, float(top))


def pair_steps(
    first_NC: np.ndarray,
    second_NC: np.ndarray,
    labels_N: np.ndarray,
    low: float = 0.0,
    high: float = 1.0,
    worth_N: np.ndarray | None = None,
) -> Steps:
    """The worth of the samples that (1 - w) * first + w * second classifies correctly, over the worth of all.

    The difference of the two is in memory for a block of samples at a time only.

    Args:
        first_NC: `[N, C]` class scores of the first member.
        second_NC: `[N, C]` of the second.
        labels_N: `[N]` int classes.
        low: lowest weight of the second member.
        high: highest weight.
        worth_N: `[N]`: what each sample counts; all the same by default (accuracy). The inverse of its class's
            count makes it balanced accuracy.

    Raises:
        ValueError: the shapes differ.

    Source: for each other class c the label's margin over it, a_c + w * b_c, must not be negative: a half-line of w.
    Their intersection is one interval. O(N C + N log N).
    """
    count, parts = len(first_NC), []
    if second_NC.shape != first_NC.shape or labels_N.shape != (count,):
        raise ValueError(f"shapes differ: {first_NC.shape}, {second_NC.shape}, labels {labels_N.shape}")
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        first, second = classes_first(first_NC[rows]), classes_first(second_NC[rows])
        parts.append(_right_between(first, second - first, labels_N[rows], low))
    return _count(parts, worth_N, count, low, high)


def classes_first(block_NC: np.ndarray) -> np.ndarray:
    """`[C, N]` float64: operations along samples are many times faster than along a handful of classes."""
    return np.array(block_NC.T, dtype=np.float64, order="C")


def _count(
    parts: list[tuple[np.ndarray, np.ndarray]], worth_N: np.ndarray | None, count: int, low: float, high: float
) -> Steps:
    """The worth of the samples that are right, from the intervals of w in which each is."""
    begin, over = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else (np.zeros(0), np.zeros(0))
    right = (begin < over) & (begin <= high) & (over > low)
    later, ending = right & (begin > low), right & (over <= high)
    if worth_N is None:
        # Two sorted runs are merged in linear time.
        positions = np.concatenate([np.sort(begin[later]), np.sort(over[ending])])
        changes = np.ones(len(positions))
        changes[np.count_nonzero(later) :] = -1.0
        before, total = float(np.count_nonzero(right & ~later)), float(count)
    else:
        worth = np.asarray(worth_N, dtype=np.float64)
        positions = np.concatenate([begin[later], over[ending]])
        changes = np.concatenate([worth[later], -worth[ending]])
        before, total = float(worth[right & ~later].sum()), float(worth.sum())
    order = np.argsort(positions, kind="stable")
    values = np.cumsum(np.concatenate([[before], changes[order]])) / total
    return steps_at(positions[order], values, low, high)


def _right_between(
    start: np.ndarray, slope: np.ndarray, labels_N: np.ndarray, low: float
) -> tuple[np.ndarray, np.ndarray]:
    """From which w on, and until before which, each sample of a block is classified correctly; nowhere if both are
    the same. Scores at w = 0 and their slopes: `[C, N]`."""
    rows = np.arange(len(labels_N))
    if low != 0:
        start = start + low * slope
    margin = start[labels_N, rows] - start
    rise = slope[labels_N, rows] - slope
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        crossing = -margin / rise
    begins, ends = np.where(rise > 0, crossing, -np.inf), np.where(rise < 0, crossing, np.inf)
    begin, end = begins.max(axis=0), ends.min(axis=0)
    # At the crossing itself the classes tie, and the first of them is predicted.
    earlier = np.arange(len(start))[:, None] < labels_N
    not_yet, no_more = (((side == edge) & earlier).any(axis=0) for side, edge in ((begins, begin), (ends, end)))
    begin, end = low + begin, low + end
    begin = np.where(not_yet, np.nextafter(begin, np.inf), begin)
    over = np.where(no_more, end, np.nextafter(end, np.inf))
    parallel = rise == 0
    if np.count_nonzero(parallel) > len(rows):  # more than each label with itself
        never = (parallel & ((margin < 0) | ((margin == 0) & earlier))).any(axis=0)
        over = np.where(never, begin, over)
    return begin, over


def steps_at(positions: np.ndarray, values: np.ndarray, low: float, high: float) -> Steps:
    """Steps at sorted positions; of several at one position only the last value counts."""
    last = np.append(positions[1:] != positions[:-1], True)[: len(positions)]
    return Steps(positions[last], np.concatenate([values[:1], values[1:][last]]), low, high)
