"""Valence and arousal of many members: globally optimal weights for squared error, and for concordance."""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.fusion.qp import minimize_quadratic

_ROUNDS = 100


def least_squares(outputs_MN: np.ndarray, truth_N: np.ndarray, total: float | None = 1.0) -> np.ndarray:
    """The weights `[M]` of the least mean squared error.

    Args:
        outputs_MN: `[M, N]`, one dimension, or both of them one after the other.
        truth_N: `[N]`.
        total: what the weights sum to; None for non-negative least squares of free scale.
    """
    outputs = np.asarray(outputs_MN, dtype=np.float64)
    count = outputs.shape[1]
    return minimize_quadratic(outputs @ outputs.T / count, -(outputs @ truth_N) / count, total)


@dataclass(frozen=True)
class Concordance:
    """The terms of the concordance correlation of weighted members.

    CCC(u) = 2 c'u / (u'Vu + v + (m'u - t)^2), a linear function over a convex quadratic one.

    Attributes:
        c: `[K]` covariances with the truth. V: `[K, K]` covariances.
        m: `[K]` means.
        v: the truth's variance.
        t: the truth's mean.
    """

    c: np.ndarray
    V: np.ndarray
    m: np.ndarray
    v: float
    t: float

    def at(self, u: np.ndarray) -> float:
        """CCC at weights `[K]`; 0 where nothing varies."""
        below = u @ self.V @ u + self.v + (self.m @ u - self.t) ** 2
        return float(2 * self.c @ u / below) if below > 0 else 0.0


def concordance(outputs_KN: np.ndarray, truth_N: np.ndarray) -> Concordance:
    """From outputs `[K, N]` and truth `[N]`."""
    outputs, truth = np.asarray(outputs_KN, dtype=np.float64), np.asarray(truth_N, dtype=np.float64)
    m, t = outputs.mean(axis=1), float(truth.mean())
    apart, truth0, count = outputs - m[:, None], truth - t, len(truth)
    return Concordance(apart @ truth0 / count, apart @ apart.T / count, m, float(truth0 @ truth0) / count, t)


def most_concordant(about: Concordance, groups_K: np.ndarray | None = None) -> np.ndarray:
    """The weights, each group's on its simplex, that maximize the concordance correlation.

    Args:
        about: of the members.
        groups_K: `[K]` int: weights that sum to one together; all by default.

    Source: Dinkelbach (1967). The ratio can reach r exactly if max 2 c'u - r * (quadratic) is not negative; for
    r >= 0 that is a convex problem, solved exactly, and the ratio at its solution is the next r. Rising r converges
    superlinearly to the global maximum. Where no member has positive covariance, the ratio is nowhere positive,
    the same argument turns convex into concave, and the maximum is at a vertex: one member of each group.
    """
    groups = np.zeros(len(about.c), dtype=int) if groups_K is None else groups_K
    u = _best_vertex(about, groups)
    r = about.at(u)
    if r <= 0:
        return u
    curved = about.V + np.outer(about.m, about.m)
    for _ in range(_ROUNDS):
        found = minimize_quadratic(2 * r * curved, -2 * about.c - 2 * r * about.t * about.m, 1.0, groups)
        reached = about.at(found)
        if not reached > r + 1e-15:
            break
        u, r = found, reached
    return u


def _best_vertex(about: Concordance, groups: np.ndarray) -> np.ndarray:
    """The best single member, or of two groups the best choice of one of each.

    Raises:
        ValueError: more than two groups.
    """
    first, *others = (np.flatnonzero(groups == group) for group in np.unique(groups))
    if len(others) > 1:
        raise ValueError(f"{1 + len(others)} groups; valence and arousal are two")
    above, spread, mean = 2 * about.c[first], np.diagonal(about.V)[first], about.m[first]
    if others:
        (second,) = others
        above = above[:, None] + 2 * about.c[second]
        spread = spread[:, None] + np.diagonal(about.V)[second] + 2 * about.V[np.ix_(first, second)]
        mean = mean[:, None] + about.m[second]
    below = spread + about.v + (mean - about.t) ** 2
    values = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    best = np.unravel_index(int(values.argmax()), values.shape)
    u = np.zeros(len(groups))
    for group, member in zip((first, *others), best, strict=True):
        u[group[member]] = 1.0
    return u
