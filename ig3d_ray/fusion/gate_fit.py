"""Fitting a gate: first a test whether the static weights miss anything, then the penalized log-loss is minimized."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy  # its parts when they are used, as in per_class.py

from ig3d_ray.fusion.combine import log_softmax, softmax
from ig3d_ray.fusion.gate_test import Derivatives
from ig3d_ray.fusion.gating import STEEPEST, Gate, basis_of, confidences
from ig3d_ray.fusion.rounding import significant

GATED = 6
"""Members whose weights vary, those of the most influence; the weights of the others are static."""
PARAMETERS = 8
"""Parameters that are inputs beside the confidences, those of the clearest evidence."""
KNOTS = (0.25, 0.5, 0.75)
"""Quantiles of each input."""
SLOPE, SHIFT = 0.3, 5.0
"""Standard deviations of the normal priors."""
LEVEL = 0.001
"""Of the test of no gate, and of those of all parameters together."""
DECIMALS = 3
_ROUNDS, _CLOSE = 400, 1e-12


class Parameters(NamedTuple):
    """Parameters that may be inputs of a gate: P of a representation."""

    representation: str
    """Whose parameters."""
    columns: np.ndarray
    """`[P]` int: their places in the full vector."""
    vectors: np.ndarray
    """`[N, W]`: full vectors."""


def fit_gate(
    logits_MNC: np.ndarray,
    values_MNC: np.ndarray,
    labels_N: np.ndarray,
    weights_M: np.ndarray,
    parameters: Parameters | None = None,
) -> tuple[Gate, np.ndarray] | None:
    """The gate of least log-loss under a normal prior, and the weights `[M]` that it changes; None where static weights
    miss nothing that can be seen.

    Args:
        logits_MNC: `[M, N, C]` members' outputs as they are.
        values_MNC: the same in the space in which they are fused.
        labels_N: `[N]` int.
        weights_M: `[M]` static weights, above 0.
        parameters: those that may be inputs too; each one is, for which a test finds that weights depend on it.
    """
    if len(weights_M) < 2 or len(labels_N) < 2 * GATED:
        return None
    influence = weights_M * np.array([float(one.std(dtype=np.float64)) for one in values_MNC])
    members = np.sort(np.argsort(-influence, kind="stable")[:GATED])
    problem = _Problem.of(logits_MNC, values_MNC, labels_N, weights_M, members)
    is_missed = problem.is_missed()
    if parameters is not None:
        factors = problem.factors_of(problem.minimum()) if is_missed else np.ones(problem.parts.shape[:2])
        columns = problem.missed_parameters(parameters, factors)
        if len(columns):
            is_missed, problem = True, problem.with_parameters(parameters, columns)
    if not is_missed:
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
        inputs: `[I]` confidences, and parameters after them.
        parts: `[K, N, C]` gated members' outputs times their static weights.
        rest: `[N, C]` the others' sum.
        truth: `[N, C]` one-hot labels.
        representation: whose parameters are inputs.
        parameters: `[S]` their places.
    """

    members: np.ndarray
    inputs: "tuple[_Input, ...]"
    parts: np.ndarray
    rest: np.ndarray
    truth: np.ndarray
    representation: str | None = None
    parameters: tuple[int, ...] = ()

    @staticmethod
    def of(
        logits: np.ndarray, values: np.ndarray, labels: np.ndarray, weights: np.ndarray, members: np.ndarray
    ) -> "_Problem":
        inputs = tuple(map(_Input.of, confidences(logits[members].astype(np.float64))))
        parts = weights[members, None, None] * values[members].astype(np.float64)
        others = np.setdiff1d(np.arange(len(weights)), members)
        rest = np.tensordot(weights[others], values[others].astype(np.float64), 1)
        return _Problem(members, inputs, parts, rest, np.eye(values.shape[2])[labels])

    @cached_property
    def basis(self) -> np.ndarray:
        """`[N, 1 + I * (1 + Q)]`, a first column of ones."""
        return np.concatenate([np.ones((len(self.truth), 1)), *(one.basis for one in self.inputs)], axis=1)

    def with_parameters(self, parameters: Parameters, columns: np.ndarray) -> "_Problem":
        """The same with parameters as further inputs."""
        more = tuple(_Input.of(parameters.vectors[:, place].astype(np.float64)) for place in columns)
        named = (parameters.representation, tuple(columns.tolist()))
        return _Problem(self.members, self.inputs + more, self.parts, self.rest, self.truth, *named)

    def _residual(self, factors: np.ndarray) -> tuple[float, np.ndarray]:
        """The log-loss in sum, and its derivative with respect to the fused scores, `[N, C]`; factors are `[K, N]`."""
        fused = self.rest.copy()
        for factor, part in zip(factors, self.parts, strict=True):
            fused += factor[:, None] * part
        scores = log_softmax(fused)
        return -float((scores * self.truth).sum()), np.exp(scores) - self.truth

    def is_missed(self) -> bool:
        """Whether a test finds that the weights depend on confidences: each one as it is on each weight, and each one's
        excesses over its knots on its own."""
        width, count = self.inputs[0].basis.shape[1], len(self.members)
        tested = np.zeros((count, 1 + count * width), dtype=bool)
        tested[:, 1::width] = True
        for place in range(count):
            tested[place, 1 + place * width : 1 + (place + 1) * width] = True
        return self._derivatives(np.ones(self.parts.shape[:2])).p_value(self.basis, tested) < LEVEL

    def missed_parameters(self, parameters: Parameters, factors: np.ndarray) -> np.ndarray:
        """The parameters `[S]` on which the weights depend beyond what factors `[K, N]` have, as far as a test of each
        shows; those of the smallest p-values."""
        derivatives, found = self._derivatives(factors), []
        for place in parameters.columns.tolist():
            own = _Input.of(parameters.vectors[:, place].astype(np.float64)).basis
            basis = np.concatenate([np.ones((len(own), 1)), own], axis=1)
            tested = np.ones((len(self.members), basis.shape[1]), dtype=bool)
            tested[:, 0] = False
            p_value = derivatives.p_value(basis, tested)
            if p_value < LEVEL / len(parameters.columns):
                found.append((p_value, place))
        return np.sort(np.array([place for _, place in sorted(found)[:PARAMETERS]], dtype=np.int64))

    def _derivatives(self, factors: np.ndarray) -> "Derivatives":
        fused = self.rest + np.einsum("kn,knc->nc", factors, self.parts)
        return Derivatives.of(factors[:, :, None] * self.parts, softmax(fused), self.truth)

    def factors_of(self, flat: np.ndarray) -> np.ndarray:
        """What coefficients `[K * (1 + I * (1 + Q))]` multiply the weights by, `[K, N]`."""
        coefficients = flat.reshape(len(self.members), -1)
        change = coefficients[:, 1:] @ self.basis[:, 1:].T
        return np.asarray(np.exp(coefficients[:, :1] + np.clip(change, -STEEPEST, STEEPEST)))

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

    def minimum(self) -> np.ndarray:
        """The coefficients of least penalized log-loss, searched from the static weights on."""
        width = self.basis.shape[1]
        penalty = np.full(width, 1 / SLOPE**2)
        penalty[0] = 1 / SHIFT**2
        start = np.zeros(len(self.members) * width)
        found = scipy.optimize.minimize(
            self._value, start, (penalty,), method="L-BFGS-B", jac=True, options={"maxiter": _ROUNDS, "ftol": _CLOSE}
        )
        return np.asarray(found.x)

    def solve(self) -> tuple[Gate, np.ndarray]:
        """The gate, and the factors `[K]` of the static weights."""
        # To fewer digits than the minimum is found to, so that another machine gives the same.
        rows = np.round(self.minimum().reshape(len(self.members), -1), DECIMALS) + 0.0
        gate = Gate(
            members=tuple(self.members.tolist()),
            center=tuple(one.center for one in self.inputs),
            scale=tuple(one.scale for one in self.inputs),
            knots=tuple(one.knots for one in self.inputs),
            slopes=tuple(map(tuple, rows[:, 1:].tolist())),
            representation=self.representation,
            parameters=self.parameters,
        )
        return gate, np.exp(rows[:, 0])


class _Input(NamedTuple):
    """An input of a gate: how it is standardized, its knots, and its basis `[N, 1 + Q]`."""

    center: float
    scale: float
    knots: tuple[float, ...]
    basis: np.ndarray

    @staticmethod
    def of(values_N: np.ndarray) -> "_Input":
        # Rounded as they are exported, so that what is fitted is what is applied.
        center, scale = significant(float(values_N.mean())), significant(float(values_N.std())) or 1.0
        standard = (values_N - center) / scale
        knots = tuple(significant(float(one)) for one in np.quantile(standard, KNOTS))
        return _Input(center, scale, knots, np.stack(basis_of(standard, knots), axis=1))
