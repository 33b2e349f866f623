"""Exact coordinate search: one member's weight at a time, each set to its global best value."""

from collections.abc import Sequence

import numpy as np

from ig3d_ray.evaluation.metrics import score_one
from ig3d_ray.fusion.pair_weight import expression_steps
from ig3d_ray.fusion.piecewise import EQUAL
from ig3d_ray.types import Task

_SWEEPS = 20
_ALONE = 1e-9
"""The remaining weight of the others when one member has practically all of it."""


def coordinate_search(
    outputs_MNC: np.ndarray,
    labels_N: np.ndarray,
    starts: Sequence[np.ndarray],
    metric: str = "accuracy",
    restarts: int = 2,
    seed: int = 0,
) -> np.ndarray:
    """Non-negative weights `[M]` that no change of a single one improves; they sum to one.

    Args:
        outputs_MNC: `[M, N, C]` class scores in one space.
        labels_N: `[N]` int.
        starts: weights `[M]` to begin with, such as a stack's.
        metric: any metric of classes.
        restarts: further random starts around the first; the best end of all is taken, the earliest of equals.

    Accuracy is a step function of the weights, flat almost everywhere, so gradient-based methods cannot reach the
    optimum; along one weight the best value is solved for exactly (`steps`).
    """
    rng = np.random.default_rng([seed, len(outputs_MNC)])
    first = np.asarray(starts[0], dtype=np.float64)
    shaken = [first * rng.gamma(4.0, 0.25, len(first)) for _ in range(restarts)]
    best, best_value = first, -np.inf
    for number, start in enumerate((*starts, *shaken)):
        # Each start has a separate random generator, so that additional starts do not change the others.
        of_climb = np.random.default_rng([seed, len(outputs_MNC), number])
        weights, value = _climb(outputs_MNC, labels_N, np.asarray(start, dtype=np.float64), metric, of_climb)
        if value > best_value + EQUAL:
            best, best_value = weights, value
    return best


def _climb(
    outputs_MNC: np.ndarray, labels_N: np.ndarray, weights: np.ndarray, metric: str, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """The weights that no change of a single weight improves, starting from given ones; and the metric there."""
    weights = weights / weights.sum()
    value = score_one(Task.EXPRESSION, np.tensordot(weights, outputs_MNC.astype(np.float64), 1), labels_N, metric)
    for _ in range(_SWEEPS):
        before = value
        # Recomputed each time, so that rounding errors do not accumulate.
        fused = np.tensordot(weights, outputs_MNC.astype(np.float64), 1)
        for member in rng.permutation(len(weights)):
            others = 1.0 - weights[member]
            if others <= _ALONE:
                continue
            # The member and the rest of the ensemble are a pair: solved for all shares from 0 to 1.
            output = outputs_MNC[member].astype(np.float64)
            rest = (fused - weights[member] * output) / others
            found = expression_steps(rest, output, labels_N, metric).best()
            if found.value > value + EQUAL:
                value = found.value
                weights *= (1 - found.weight) / others
                weights[member] = found.weight
                fused = (1 - found.weight) * rest + found.weight * output
        if value <= before + EQUAL:
            break
    return weights, value
