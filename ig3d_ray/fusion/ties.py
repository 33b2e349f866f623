"""Classes that tie at every weight of two members, such as those of equal votes in both.

A sample whose top classes tie counts as its expected share of right, 1 / k for k of them. At single weights that is for
`metrics.top_shares`; where classes have the same scores in both members, they tie on whole intervals of weights. Such a
sample is replaced by copies that each keep one of the tied classes, and each count as a share of a sample.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Split:
    """Two members' scores without lasting ties at the top.

    Attributes:
        first: `[N', C]` class scores of the first member.
        second: `[N', C]` of the second.
        labels: `[N']` int.
        source: `[N']` int: the row that each came from; None where nothing was changed.
        share: `[N']`: what each counts; None where nothing was changed.
    """

    first: np.ndarray
    second: np.ndarray
    labels: np.ndarray
    source: np.ndarray | None = None
    share: np.ndarray | None = None


def without_lasting_ties(
    first_NC: np.ndarray, second_NC: np.ndarray, labels_N: np.ndarray, low: float, high: float
) -> Split:
    """The same samples, those with lasting ties at the top as copies.

    Args:
        first_NC: `[N, C]` class scores of the first member.
        second_NC: `[N, C]` of the second.
        labels_N: `[N]` int.
        low: lowest weight of the second member.
        high: highest weight.
    """
    both = _has_equal(first_NC)
    # Nearly always there are none, which is known from the first member.
    both = np.flatnonzero(both & _has_equal(second_NC)) if both.any() else np.zeros(0, dtype=np.int64)
    if not len(both):
        return Split(first_NC, second_NC, labels_N)
    first, second = first_NC[both].astype(np.float64), second_NC[both].astype(np.float64)
    rows = [int(row) for row in np.flatnonzero(_may_tie_at_the_top(first, second, low, high))]
    copies = [_copies(first[row], second[row], low, high) for row in rows]
    of = {int(both[row]): found for row, found in zip(rows, copies, strict=True) if len(found[0]) > 1}
    if not of:
        return Split(first_NC, second_NC, labels_N)
    kept = np.setdiff1d(np.arange(len(labels_N)), list(of))
    source = np.concatenate([kept, *(np.full(len(found[0]), row) for row, found in of.items())])
    share = np.concatenate([np.ones(len(kept)), *(np.full(len(f[0]), 1 / len(f[0])) for f in of.values())])
    parts = [
        np.concatenate([values[kept].astype(np.float64), *(found[side] for found in of.values())])
        for side, values in enumerate((first_NC, second_NC))
    ]
    return Split(parts[0], parts[1], labels_N[source], source, share)


def _has_equal(scores_NC: np.ndarray) -> np.ndarray:
    """Whether two classes of a sample have the same score, bool `[N]`."""
    columns = np.ascontiguousarray(scores_NC.T)
    found = np.zeros(len(scores_NC), dtype=bool)
    for one in range(1, len(columns)):
        for other in range(one):
            found |= columns[one] == columns[other]
    return found


def _may_tie_at_the_top(first: np.ndarray, second: np.ndarray, low: float, high: float) -> np.ndarray:
    """Whether two classes have the same scores in both members, and no class is above them throughout; bool `[N]`."""
    start, end = (first + weight * (second - first) for weight in (low, high))
    found = np.zeros(len(first), dtype=bool)
    for one in range(first.shape[1]):
        same = (first == first[:, [one]]) & (second == second[:, [one]])
        above = (start >= start[:, [one]]) & (end >= end[:, [one]]) & ~same
        found |= (same.sum(axis=1) > 1) & ~above.any(axis=1)
    return found


def _copies(first: np.ndarray, second: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """A sample `[C]` of each member as copies `[K, C]`, in each of which one class of every tie is left."""
    _, of = np.unique(np.stack([first, second]), axis=1, return_inverse=True)
    ties = [np.flatnonzero(of == one) for one in np.unique(of) if np.count_nonzero(of == one) > 1]
    count = math.lcm(*map(len, ties))
    found = np.repeat(np.stack([first, second])[:, None], count, axis=1)
    # Below every class at both ends of the range, and so throughout.
    ends = np.stack([first + weight * (second - first) for weight in (low, high)])
    lowest = ends.min() - 1 - np.ptp(ends)
    for copy in range(count):
        for tie in ties:
            dropped = np.delete(tie, copy % len(tie))
            found[:, copy, dropped] = lowest
    return found[0], found[1]
