"""An upper bound of the accuracy that any weights of many members have, and what proves it.

A sample is right where its label's fused score exceeds that of each other class: a few linear inequalities in the
weights. If a non-negative combination of the inequalities of some samples has no positive coefficient left, no
non-negative weights fulfil them all (Farkas's lemma), so at least one of these samples is wrong with any weights. Sets
of such samples that have no sample in common prove one mistake each. They are searched around given weights: for each
sample that is wrong there, a linear program looks for few right ones that exclude it.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # its parts when they are used, as in per_class.py

from ig3d_ray.evaluation.metrics import TIE

NEAREST = 50
"""For each member, how many inequalities that are nearly violated a linear program has as columns."""
TRIED = 4000
"""Wrong samples for which a set is searched, at most; those that are the least wrong."""
_CLEAR = 1e-6


@dataclass(frozen=True)
class UpperBound:
    """How many samples are wrong at least, with any weights.

    Attributes:
        samples: N.
        hopeless: samples that are wrong with any weights.
        sets: disjoint sets of two or more samples that no weights get right together.
        is_whole: whether all samples were tried that are wrong at the given weights.
    """

    samples: int
    hopeless: int
    sets: int
    is_whole: bool

    @property
    def accuracy(self) -> float:
        """That no weights exceed."""
        return 1 - (self.hopeless + self.sets) / self.samples


def upper_bound(outputs_MNC: np.ndarray, labels_N: np.ndarray, weights_M: np.ndarray) -> UpperBound:
    """Bound the accuracy of all non-negative weights.

    Args:
        outputs_MNC: `[M, N, C]`, in the space in which they are averaged.
        labels_N: `[N]` int, in [0, C).
        weights_M: `[M]` good ones; around the best ones the bound is the closest.
    """
    rows = _Inequalities.of(np.asarray(outputs_MNC, dtype=np.float64), labels_N)
    margins = rows.slopes @ (weights_M / weights_M.sum())
    worst = margins.min(axis=1)
    wrong = np.flatnonzero(worst < 0)
    none = np.empty(0, dtype=np.int64)
    hopeless = [one for one in wrong.tolist() if rows.may_be_hopeless(one) and rows.excluding(one, none) is not None]
    others = np.setdiff1d(wrong, hopeless)
    # The least wrong first: few right ones exclude them, and many the others.
    tried = others[np.argsort(-worst[others], kind="stable")][:TRIED]
    free, owners = worst >= 0, np.repeat(np.arange(len(labels_N)), rows.slopes.shape[1])
    nearest = np.argsort(margins, axis=None, kind="stable")
    nearest = nearest[margins.ravel()[nearest] >= 0]
    sets = 0
    for sample in tried.tolist():
        columns = nearest[free[owners[nearest]]][: NEAREST * len(weights_M)]
        used = rows.excluding(sample, columns)
        if used is not None:
            free[owners[used]] = False
            sets += 1
    return UpperBound(len(labels_N), len(hopeless), sets, len(tried) == len(others))


@dataclass(frozen=True)
class _Inequalities:
    """`slopes @ weights > 0` for each sample and each other class than its own.

    Attributes:
        slopes: `[N, C - 1, M]`, of length 1.
        tolerances: `[N, C - 1]` by how much they may be violated and the classes still count as tied.
    """

    slopes: np.ndarray
    tolerances: np.ndarray

    @staticmethod
    def of(outputs: np.ndarray, labels: np.ndarray) -> "_Inequalities":
        classes = outputs.shape[2]
        others = np.array([[c for c in range(classes) if c != label] for label in range(classes)])[labels]
        own = np.take_along_axis(outputs, labels[None, :, None], 2)
        slopes = (own - np.take_along_axis(outputs, others[None], 2)).transpose(1, 2, 0)
        lengths = np.linalg.norm(slopes, axis=2)
        known = np.where(lengths > 0, lengths, 1.0)
        largest = np.abs(outputs).max(axis=(0, 2))
        return _Inequalities(slopes / known[:, :, None], TIE * largest[:, None] / known)

    def may_be_hopeless(self, sample: int) -> bool:
        """Whether no member alone is right."""
        return not bool((self.slopes[sample] > 0).all(axis=0).any())

    def excluding(self, sample: int, columns: np.ndarray) -> np.ndarray | None:
        """Those of some inequalities, by their flat places, with which a sample can't be right, of none if it never is;
        None if they don't exclude it."""
        own, members = self.slopes[sample], self.slopes.shape[2]
        slopes = np.concatenate([own, self.slopes.reshape(-1, members)[columns]])
        tolerances = np.concatenate([self.tolerances[sample], self.tolerances.ravel()[columns]])
        is_own = np.arange(len(slopes)) < len(own)
        found = scipy.optimize.linprog(
            np.where(is_own, 0.0, 1.0),
            A_ub=slopes.T,
            b_ub=np.full(members, -_CLEAR),
            A_eq=is_own[None].astype(float),
            b_eq=[1.0],
            method="highs-ds",
        )
        if found.x is None:
            return None
        shares = np.where(found.x > _CLEAR**2, found.x, 0.0)
        # What the solver found is verified, ties taken into account.
        if not (slopes.T @ shares < -(tolerances @ shares)).all():
            return None
        return np.asarray(columns[shares[len(own) :] > 0])
