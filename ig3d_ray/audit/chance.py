"""How often a right file would look as wrong as this one: the test behind each check.

A finding is a fault below `FALSE_ALARM` and a warning below `DOUBTFUL`: rates of false alarms, if nothing is wrong,
with the number of alternatives that were tried taken into account (Bonferroni).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # its parts when they are used, as in fusion/combine.py
from scipy.optimize import linear_sum_assignment

FALSE_ALARM = 0.001
DOUBTFUL = 0.02
OF_ONE_LENGTH = 0.8
"""The share of the repeated rows that lie in runs of one length, above which a batch made them."""


def kind_of(p: float) -> Literal["fault", "warning"] | None:
    """Whether a probability is that of a fault, of a warning, or of nothing."""
    return "fault" if p < FALSE_ALARM else "warning" if p < DOUBTFUL else None


@dataclass(frozen=True)
class Order:
    """Another order of the classes.

    Attributes:
        columns: `[C]`: the column that each class should be taken from.
        now: accuracy with the columns as they are.
        then: accuracy in that order.
        p: of an advantage as large as that of its least certain cycle, were the columns right.
    """

    columns: np.ndarray
    now: float
    then: float
    p: float


def better_order(labels: np.ndarray, top: np.ndarray, classes: int) -> Order | None:
    """The order of the columns that fits the labels better than theirs, exchange by exchange; None if none does.

    Args:
        labels: `[N]` int classes.
        top: `[N]` int, the predicted columns.
        classes: how many there are; those without labels stay where they are, since nothing is known about them.

    Each cycle of the best order has two tests, and the larger p counts: a sign test of the samples that are right under
    one order only, and a z test of the recalls, to which a model that predicts one class too often is no evidence. Both
    are multiplied by the number of such cycles.
    """
    counts = np.bincount(labels * classes + top, minlength=classes**2).reshape(classes, classes)
    there = np.flatnonzero(counts.sum(axis=1))
    rates = counts[there] / counts[there].sum(axis=1, keepdims=True)
    best = np.arange(classes)
    best[there] = there[linear_sum_assignment(-rates[:, there])[1]]
    columns, worst = np.arange(classes), 0.0
    for cycle in _cycles(best):
        p = _cycle_p(counts, cycle, best) * math.comb(len(there), len(cycle)) * math.factorial(len(cycle) - 1)
        if p < DOUBTFUL:
            columns[cycle], worst = best[cycle], max(worst, p)
    if (columns == np.arange(classes)).all():
        return None
    now, then = counts.trace() / len(labels), counts[np.arange(classes), columns].sum() / len(labels)
    return Order(columns, float(now), float(then), worst)


def _cycles(order: np.ndarray) -> list[np.ndarray]:
    """The cycles of a permutation that move something."""
    left, found = set(range(len(order))), []
    while left:
        cycle = [min(left)]
        while (following := int(order[cycle[-1]])) != cycle[0]:
            cycle.append(following)
        left -= set(cycle)
        found += [np.array(cycle)] if len(cycle) > 1 else []
    return found


def _cycle_p(counts: np.ndarray, cycle: np.ndarray, best: np.ndarray) -> float:
    other, own, total = counts[cycle, best[cycle]], counts[cycle, cycle], counts[cycle].sum(axis=1)
    sign = scipy.stats.binom.sf(other.sum() - 1, other.sum() + own.sum(), 0.5)
    # Half a sample more on either side, so that a class of few samples isn't certain.
    there, here = (other + 0.5) / (total + 1), (own + 0.5) / (total + 1)
    spread = np.sqrt(((there + here - (there - here) ** 2) / total).sum())
    return float(max(sign, scipy.stats.norm.sf((there - here).sum() / spread)))


def advantage_p(advantage: np.ndarray, together: np.ndarray, tried: int) -> float:
    """The probability of a mean advantage as large as this one if there were none.

    Args:
        advantage: `[N]`: by how much the other alternative fits each row better.
        together: `[N]` int: rows of one number depend on each other, such as the frames of a video.
        tried: how many alternatives there were.
    """
    groups = np.unique(together, return_inverse=True)[1]
    sums = np.bincount(groups, weights=advantage)
    count = len(sums)
    if count < 3 or sums.mean() <= 0:
        return 1.0
    spread = float(sums.std(ddof=1)) / count**0.5
    return 0.0 if spread == 0 else min(1.0, tried * float(scipy.stats.t.sf(sums.mean() / spread, count - 1)))


@dataclass(frozen=True)
class Repeats:
    """Rows whose outputs are those of the row before.

    Attributes:
        same: `[N - 1]` bool: which are.
        share: of the pairs of neighbours, those that are the same in label and predicted class too.
        expected: that share if the rows of one label and predicted class were in random order, from rounding.
        p: of as many.
        of_one_length: whether they are in runs of one length, as batches are.
    """

    same: np.ndarray
    share: float
    expected: float
    p: float
    of_one_length: bool


def repeats(outputs: np.ndarray, labels: np.ndarray) -> Repeats:
    """Compare the repeats of neighbouring rows with those that rounding alone explains.

    Args:
        outputs: `[N, C]`, at least two rows.
        labels: `[N]` int; a file may be sorted by them.
    """
    _, row_of = np.unique(outputs, axis=0, return_inverse=True)
    row_of, top = row_of.reshape(-1), outputs.argmax(axis=1) + (labels + 1) * outputs.shape[1]
    same = row_of[1:] == row_of[:-1]
    alike = top[1:] == top[:-1]
    expected = spread = 0.0
    for one in np.unique(top):
        rows = np.bincount(row_of[top == one]).astype(np.float64)
        count, pairs = rows.sum(), float(np.count_nonzero(alike & (top[1:] == one)))
        if count < 2:
            continue
        equal = float((rows * (rows - 1)).sum() / (count * (count - 1)))
        # Neighbouring pairs share a row, so frequent rows make them vary more.
        thrice = float(((rows / count) ** 3).sum())
        expected += pairs * equal
        spread += pairs * (equal * (1 - equal) + 2 * max(thrice - equal**2, 0.0))
    seen = np.count_nonzero(same & alike)
    excess = seen - 0.5 - expected
    p = float(scipy.stats.norm.sf(excess / np.sqrt(spread))) if spread > 0 else float(excess <= 0)
    lengths = np.diff(np.flatnonzero(np.concatenate([[True], ~same, [True]])))
    longer = lengths[lengths > 1]
    usual = np.bincount(longer).argmax() if len(longer) else 0
    batches = bool(len(longer)) and longer[longer == usual].sum() >= OF_ONE_LENGTH * longer.sum()
    return Repeats(same, seen / len(same), expected / len(same), p, bool(batches))
