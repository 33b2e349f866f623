"""Exact coordinate search: one member's weight at a time, each put on the best of all its values."""

from collections.abc import Sequence

import numpy as np

from ig3d_ray.fusion.steps import EQUAL, Steps, class_steps, hit_steps

_SWEEPS = 20


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
        outputs_MNC: `[M, N, C]` class scores in one space. labels_N: `[N]` int.
        starts: weights `[M]` to begin with, such as a stack's.
        metric: any metric of classes.
        restarts: further random starts around the first; the best end of all is taken, the earliest of equals.

    Accuracy is a step function of the weights, flat almost everywhere, so nothing that follows slopes can finish the
    job; along one weight its best value is solved for (`steps`).
    """
    rng = np.random.default_rng([seed, len(outputs_MNC)])
    first = np.asarray(starts[0], dtype=np.float64)
    shaken = [first * rng.gamma(4.0, 0.25, len(first)) for _ in range(restarts)]
    best, best_value = first, -np.inf
    for start in (*starts, *shaken):
        weights, value = _climb(outputs_MNC, labels_N, np.asarray(start, dtype=np.float64), metric, rng)
        if value > best_value + EQUAL:
            best, best_value = weights, value
    return best


def _climb(
    outputs_MNC: np.ndarray, labels_N: np.ndarray, weights: np.ndarray, metric: str, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """To where no single weight can be bettered."""
    weights, value = weights / weights.sum(), -np.inf
    for _ in range(_SWEEPS):
        before = value
        # Summed up anew each time, so that rounding does not add up.
        fused = np.tensordot(weights, np.asarray(outputs_MNC, dtype=np.float64), 1)
        for member in rng.permutation(len(weights)):
            output = outputs_MNC[member].astype(np.float64)
            rest, others = fused - weights[member] * output, weights.sum() - weights[member]
            if others <= 0:
                continue
            steps = _along(rest, output, labels_N, metric, 2 * others)
            found = steps.best()
            value = max(value, float(steps.score_at(np.array(weights[member]))))
            if found.value > value + EQUAL:
                value = found.value
                weights[member] = found.weight
                fused = rest + found.weight * output
        weights = weights / weights.sum()
        if value <= before + EQUAL:
            break
    return weights, value


def _along(rest: np.ndarray, output: np.ndarray, labels: np.ndarray, metric: str, high: float) -> Steps:
    """The metric for every weight of one member between 0 and `high`."""
    if metric == "accuracy":
        return hit_steps(rest, output, labels, 0.0, high)
    if metric == "balanced_accuracy":
        worth = 1.0 / np.bincount(labels, minlength=rest.shape[1])[labels]
        return hit_steps(rest, output, labels, 0.0, high, worth)
    return class_steps(rest, output, labels, metric, 0.0, high)
