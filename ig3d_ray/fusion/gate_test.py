"""A test whether weights depend on the sample: of the scores (Rao 1948), with the information that the model expects.

The information that is observed, from products of derivatives, is too small on hundreds of samples: where nothing
depends on the sample, its p-values are below .001 in 5 to 14 of 100 trials (800 samples, two and three members).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

LARGE = 0.01
"""P-values that no second test makes smaller than what matters."""
_ROWS = 8192
"""Samples whose products are in memory at once."""
_SINGULAR = 1e-10


@dataclass(frozen=True)
class Derivatives:
    """Of each sample's log-loss with respect to the logarithms of K weights.

    Attributes:
        slope: `[N, K]`.
        spread: `[N, K, K]` their covariance over the classes as the fused probabilities have them.
    """

    slope: np.ndarray
    spread: np.ndarray

    @staticmethod
    def of(parts_KNC: np.ndarray, likely_NC: np.ndarray, truth_NC: np.ndarray) -> "Derivatives":
        """The derivatives where members' weighted outputs are summed.

        Args:
            parts_KNC: `[K, N, C]` outputs times weights.
            likely_NC: fused probabilities.
            truth_NC: one-hot labels.
        """
        mean = np.einsum("knc,nc->nk", parts_KNC, likely_NC)
        slope = mean - np.einsum("knc,nc->nk", parts_KNC, truth_NC)
        around = (parts_KNC - mean.T[:, :, None]) * np.sqrt(likely_NC)
        return Derivatives(slope, np.einsum("knc,lnc->nkl", around, around))

    def p_value(self, basis_NB: np.ndarray, tested_KB: np.ndarray) -> float:
        """Of no dependence of the weights on some functions of the sample, whatever constant weights would be better;
        the larger one of both kinds of information.

        Args:
            basis_NB: the functions, a first one that is 1.
            tested_KB: `[K, B]` bool: which function of which weight, never the first.
        """
        scores = self.slope.T @ basis_NB
        expected = _p_value(scores, _information(self.spread, basis_NB), tested_KB)
        if expected > LARGE:
            return expected
        observed = self.slope[:, :, None] * self.slope[:, None, :]
        return max(expected, _p_value(scores, _information(observed, basis_NB), tested_KB))


def _information(spread_NKK: np.ndarray, basis_NB: np.ndarray) -> np.ndarray:
    """The covariance of the scores `[K * B, K * B]`."""
    count, width = spread_NKK.shape[1], basis_NB.shape[1]
    total = np.zeros((count * count, width * width))
    for start in range(0, len(basis_NB), _ROWS):
        basis = basis_NB[start : start + _ROWS]
        pairs = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
        total += spread_NKK[start : start + _ROWS].reshape(len(basis), -1).T @ pairs
    return total.reshape(count, count, width, width).transpose(0, 2, 1, 3).reshape(count * width, -1)


def _p_value(scores_KB: np.ndarray, information: np.ndarray, tested_KB: np.ndarray) -> float:
    constant = np.zeros_like(tested_KB)
    constant[:, 0] = True
    tested, free = np.flatnonzero(tested_KB), np.flatnonzero(constant)
    # What the constants explain is theirs.
    explained = information[np.ix_(tested, free)] @ np.linalg.pinv(information[np.ix_(free, free)], _SINGULAR, True)
    rest = scores_KB.ravel()[tested] - explained @ scores_KB.ravel()[free]
    whole = information[np.ix_(tested, tested)]
    left = whole - explained @ information[np.ix_(free, tested)]
    values, vectors = np.linalg.eigh(left)
    kept = values > _SINGULAR * float(np.diag(whole).max())
    statistic = float((((vectors.T @ rest)[kept]) ** 2 / values[kept]).sum())
    return float(chdtrc(int(kept.sum()), statistic)) if kept.any() else 1.0
