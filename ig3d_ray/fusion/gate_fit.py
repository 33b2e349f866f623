"""Fitting a gate: first a test whether the static weights miss anything, then the penalized log-loss is minimized."""

from dataclasses import dataclass

import numpy as np
import scipy  # its parts when they are used, as in per_class.py
from scipy.special import chdtrc

from ig3d_ray.fusion.combine import log_softmax
from ig3d_ray.fusion.gating import STEEPEST, Gate, basis_of, confidences
from ig3d_ray.fusion.rounding import significant

GATED = 6
"""Members whose weights vary, those of the most influence; the weights of the others are static."""
KNOTS = (0.25, 0.5, 0.75)
"""Quantiles of each member's confidence."""
SLOPE, SHIFT = 0.3, 5.0
"""Standard deviations of the normal priors."""
LEVEL = 0.001
"""Of the test of no gate."""
DECIMALS = 3
_ROUNDS, _CLOSE = 400, 1e-12


def fit_gate(
    logits_MNC: np.ndarray, values_MNC: np.ndarray, labels_N: np.ndarray, weights_M: np.ndarray
) -> tuple[Gate, np.ndarray] | None:
    """The gate of least log-loss under a normal prior, and the weights `[M]` that it changes; None where static weights
    miss nothing that can be seen.

    Args:
        logits_MNC: `[M, N, C]` members' outputs as they are.
        values_MNC: the same in the space in which they are fused.
        labels_N: `[N]` int.
        weights_M: `[M]` static weights, above 0.
    """
    if len(weights_M) < 2 or len(labels_N) < 2 * GATED:
        return None
    influence = weights_M * np.array([float(one.std(dtype=np.float64)) for one in values_MNC])
    members = np.sort(np.argsort(-influence, kind="stable")[:GATED])
    problem = _Problem.of(logits_MNC, values_MNC, labels_N, weights_M, members)
    if not problem.is_missed():
        return None
    gate, factors = problem.solve()
    weights = np.array(weights_M, dtype=np.float64)
    weights[members] *= factors
    return gate, weights


@dataclass(frozen=True)
class _Problem:
    """Penalized log-loss of a gate.

    Attributes:
        members: `[K]` places of the gated members.
        center: `[K]`. scale: `[K]`. knots: `[K, Q]`.
        basis: `[N, 1 + K * (1 + Q)]`, a first column of ones.
        parts: `[K, N, C]` gated members' outputs times their static weights.
        rest: `[N, C]` the others' sum.
        truth: `[N, C]` one-hot labels.
    """

    members: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    knots: np.ndarray
    basis: np.ndarray
    parts: np.ndarray
    rest: np.ndarray
    truth: np.ndarray

    @staticmethod
    def of(
        logits: np.ndarray, values: np.ndarray, labels: np.ndarray, weights: np.ndarray, members: np.ndarray
    ) -> "_Problem":
        confidence = confidences(logits[members].astype(np.float64))
        center, scale = confidence.mean(axis=1), confidence.std(axis=1)
        scale = np.where(scale > 0, scale, 1.0)
        # Rounded as they are exported, so that what is fitted is what is applied.
        center, scale = (np.array([significant(one) for one in row]) for row in (center, scale))
        standard = (confidence - center[:, None]) / scale[:, None]
        knots = np.array([[significant(one) for one in np.quantile(row, KNOTS)] for row in standard])
        columns = [c for row, own in zip(standard, knots, strict=True) for c in basis_of(row, own)]
        parts = weights[members, None, None] * values[members].astype(np.float64)
        others = np.setdiff1d(np.arange(len(weights)), members)
        rest = np.tensordot(weights[others], values[others].astype(np.float64), 1)
        basis = np.stack([np.ones(len(labels)), *columns], axis=1)
        return _Problem(members, center, scale, knots, basis, parts, rest, np.eye(values.shape[2])[labels])

    def _residual(self, factors: np.ndarray) -> tuple[float, np.ndarray]:
        """The log-loss in sum, and its derivative with respect to the fused scores, `[N, C]`; factors are `[K, N]`."""
        fused = self.rest.copy()
        for factor, part in zip(factors, self.parts, strict=True):
            fused += factor[:, None] * part
        scores = log_softmax(fused)
        return -float((scores * self.truth).sum()), np.exp(scores) - self.truth

    def is_missed(self) -> bool:
        """Whether a test of the scores (Rao 1948) finds that confidences would change the weights."""
        _, residual = self._residual(np.ones(self.parts.shape[:2]))
        # Of each confidence as it is on each weight, and of each one's excesses over its knots on its own.
        slope = np.stack([(residual * part).sum(axis=1) for part in self.parts], axis=1)
        width = 1 + self.knots.shape[1]
        columns = [slope]
        for place in range(len(self.members)):
            own = self.basis[:, 1 + place * width : 1 + (place + 1) * width]
            columns += [slope * own[:, :1], slope[:, place : place + 1] * own[:, 1:]]
        scores = np.concatenate(columns, axis=1)
        total, covariance = scores.sum(axis=0), scores.T @ scores
        statistic = float(total @ np.linalg.lstsq(covariance, total, rcond=1e-10)[0])
        return float(chdtrc(scores.shape[1], max(statistic, 0.0))) < LEVEL

    def _value(self, flat: np.ndarray, penalty: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = flat.reshape(len(self.members), -1)
        change = coefficients[:, 1:] @ self.basis[:, 1:].T
        factors = np.exp(coefficients[:, :1] + np.clip(change, -STEEPEST, STEEPEST))
        loss, residual = self._residual(factors)
        moved = np.stack([(residual * part).sum(axis=1) for part in self.parts]) * factors
        value = loss + 0.5 * float((penalty * coefficients**2).sum())
        gradient = penalty * coefficients
        gradient[:, 0] += moved.sum(axis=1)
        gradient[:, 1:] += (moved * (np.abs(change) < STEEPEST)) @ self.basis[:, 1:]
        samples = len(self.basis)
        return value / samples, gradient.ravel() / samples

    def solve(self) -> tuple[Gate, np.ndarray]:
        """The gate, and the factors `[K]` of the static weights; minimized from these on."""
        width = self.basis.shape[1]
        penalty = np.full(width, 1 / SLOPE**2)
        penalty[0] = 1 / SHIFT**2
        start = np.zeros(len(self.members) * width)
        found = scipy.optimize.minimize(
            self._value, start, (penalty,), method="L-BFGS-B", jac=True, options={"maxiter": _ROUNDS, "ftol": _CLOSE}
        )
        # To fewer digits than the minimum is found to, so that another machine gives the same.
        rows = np.round(found.x.reshape(len(self.members), -1), DECIMALS) + 0.0
        gate = Gate(
            members=tuple(self.members.tolist()),
            center=tuple(self.center.tolist()),
            scale=tuple(self.scale.tolist()),
            knots=tuple(map(tuple, self.knots.tolist())),
            slopes=tuple(map(tuple, rows[:, 1:].tolist())),
        )
        return gate, np.exp(rows[:, 0])
