"""The weight of two members for metrics of probabilities, each weight at its best temperature."""

from collections.abc import Callable

import numpy as np

from ig3d_ray.evaluation.metrics import score_one
from ig3d_ray.fusion.calibrated import best_temperature
from ig3d_ray.fusion.combine import TINY, Space, log_softmax
from ig3d_ray.fusion.stacking import least_log_loss
from ig3d_ray.types import Task

TRIED = (0.0, 0.25, 0.5, 0.75, 1.0)
_GOLDEN, _STEPS = 0.5 * (5**0.5 - 1), 14


def weight_for_probabilities(
    first_NC: np.ndarray, second_NC: np.ndarray, labels_N: np.ndarray, space: Space, metric: str
) -> float:
    """The weight of the second member with the least loss, where each weight has the temperature of least log-loss.

    Of logits and log-loss it is exact: log-loss is convex in both members' weights of free scale, whose sum is one over
    the temperature. Otherwise the loss along the weight is not convex: the exact weight without a temperature and a
    few others are tried, and the interval around the best is narrowed by golden sections. So it is never worse than
    either member, or their mean.

    Args:
        first_NC: `[N, C]` outputs in the space.
        second_NC: `[N, C]` those of the second member.
        labels_N: `[N]` int.
        space: where they are combined.
        metric: `log_loss`, `brier` or `ece`.
    """
    weights = least_log_loss(np.stack([first_NC, second_NC]), labels_N, mixture=space == "probabilities")
    # Where neither member is better than knowing nothing, no weight is better than another.
    exact = float(weights[1] / weights.sum()) if weights.sum() > 0 else 0.5
    if metric == "log_loss" and space != "probabilities":
        return exact

    def loss(weight: float) -> float:
        fused = (1 - weight) * first_NC + weight * second_NC
        logits = np.log(np.maximum(fused, TINY)) if space == "probabilities" else fused
        return score_one(Task.EXPRESSION, log_softmax(logits / best_temperature(logits, labels_N)), labels_N, metric)

    return _least(loss, sorted({*TRIED, exact}))


def _least(loss: Callable[[float], float], tried: list[float]) -> float:
    """The point of least loss of some, or within the interval around the best of them."""
    known = {at: loss(at) for at in tried}
    best = min(range(len(tried)), key=lambda place: known[tried[place]])
    low, high = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        for at in (left, right):
            if at not in known:
                known[at] = loss(at)
        low, high = (low, right) if known[left] <= known[right] else (left, high)
    return min(known, key=known.__getitem__)
