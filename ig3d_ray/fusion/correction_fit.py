"""Fitting a linear correction: ridge-penalized log-loss, strictly convex, minimized by Newton's method."""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.fusion.combine import log_softmax
from ig3d_ray.fusion.correction import Correction

RIDGE = 100.0
"""Of the squared coefficients, against the log-loss in sum: a normal prior with a standard deviation of 0.1."""
_OF_BIAS = 1e-3
WIDEST = 512
"""Class scores of members that are taken, at most."""
LARGEST = 4_000_000
"""Samples times class scores, at most."""
DECIMALS = 6
_NEWTON, _CONJUGATE, _HALVINGS = 40, 300, 30
_CLOSE = 1e-9
"""The largest component of the gradient at the end, of a loss in sum."""


def corrected_members(values_MNC: np.ndarray, labels_N: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    """The members that a correction takes, ascending: all; of very many, or on very many samples, those with weights,
    then those of least log-loss.

    Args:
        values_MNC: `[M, N, C]` members' logits or log-probabilities.
        labels_N: `[N]` int.
        weights_M: `[M]` static weights.
    """
    rows = np.arange(len(labels_N))
    alone = [-float(log_softmax(one.astype(np.float64))[rows, labels_N].mean()) for one in values_MNC]
    ranked = np.lexsort((np.array(alone), weights_M <= 0))
    columns = min(WIDEST, LARGEST // len(labels_N))
    return np.sort(ranked[: max(1, columns // values_MNC.shape[2])])


def fit_correction(values_MNC: np.ndarray, labels_N: np.ndarray, weights_M: np.ndarray) -> Correction:
    """The correction of a static fusion that has the least penalized log-loss.

    Args:
        values_MNC: `[M, N, C]` members' outputs in the space in which they are fused.
        labels_N: `[N]` int.
        weights_M: `[M]` static weights.
    """
    members, _, classes = values_MNC.shape
    values = values_MNC.astype(np.float64)
    fused, inputs = np.tensordot(weights_M, values, 1), np.concatenate(list(values), axis=1)
    center = inputs.mean(axis=0)
    coefficients = _Problem(inputs - center, fused, np.eye(classes)[labels_N]).solve()
    rows = np.round(coefficients[:-1], DECIMALS) + 0.0
    bias = np.round(coefficients[-1] - center @ rows, DECIMALS) + 0.0
    matrices = rows.reshape(members, classes, classes)
    return Correction(
        matrices=tuple(tuple(map(tuple, matrix)) for matrix in matrices.tolist()),
        bias=tuple(bias.tolist()),
    )


@dataclass(frozen=True)
class _Problem:
    """Log-loss of `fused + inputs @ rows + bias`, plus a penalty; coefficients are `[F + 1, C]`, the last row the bias,
    which is hardly penalized: only so that it is unique, since adding a constant to all scores changes nothing.

    Attributes:
        inputs: `[N, F]`, of mean zero.
        fused: `[N, C]` scores that are corrected.
        truth: `[N, C]` one-hot labels.
    """

    inputs: np.ndarray
    fused: np.ndarray
    truth: np.ndarray

    def _scores(self, coefficients: np.ndarray) -> np.ndarray:
        return log_softmax(self.fused + self.inputs @ coefficients[:-1] + coefficients[-1])

    def _value(self, scores: np.ndarray, coefficients: np.ndarray) -> float:
        penalty = RIDGE * float((coefficients[:-1] ** 2).sum()) + _OF_BIAS * float((coefficients[-1] ** 2).sum())
        return -float((scores * self.truth).sum()) + 0.5 * penalty

    def _backwards(self, residual: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """From derivatives with respect to the scores, `[N, C]`, to those with respect to the coefficients."""
        whole = np.vstack([self.inputs.T @ residual, residual.sum(axis=0)])
        whole[:-1] += RIDGE * direction[:-1]
        whole[-1] += _OF_BIAS * direction[-1]
        return whole

    def solve(self) -> np.ndarray:
        """The coefficients, from zero on."""
        at = np.zeros((self.inputs.shape[1] + 1, self.fused.shape[1]))
        scores = self._scores(at)
        for _ in range(_NEWTON):
            likely = np.exp(scores)
            gradient = self._backwards(likely - self.truth, at)
            size = float(np.abs(gradient).max())
            if size < _CLOSE:
                break
            step = self._newton_step(likely, gradient)
            value, slope, share = self._value(scores, at), float((gradient * step).sum()), 1.0
            for _ in range(_HALVINGS):
                scores = self._scores(at + share * step)
                if self._value(scores, at + share * step) <= value + 1e-4 * share * slope + 1e-9 * abs(value):
                    break
                share *= 0.5
            at = at + share * step
        return at

    def _newton_step(self, likely: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The solution of Hessian @ step = -gradient by conjugate gradients, the closer the smaller the gradient."""

        def curvature(direction: np.ndarray) -> np.ndarray:
            moved = self.inputs @ direction[:-1] + direction[-1]
            moved = likely * (moved - (likely * moved).sum(axis=1, keepdims=True))
            return self._backwards(moved, direction)

        step, residual = np.zeros_like(gradient), -gradient
        direction, square = residual, float((residual**2).sum())
        enough = square * np.clip(square**0.5 / len(self.inputs), 1e-4, 1e-2) ** 2
        for _ in range(_CONJUGATE):
            bent = curvature(direction)
            length = square / float((direction * bent).sum())
            step = step + length * direction
            residual = residual - length * bent
            before, square = square, float((residual**2).sum())
            if square <= enough:
                break
            direction = residual + square / before * direction
        return step
