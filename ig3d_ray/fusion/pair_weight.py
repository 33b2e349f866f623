"""The best weight of two members, solved exactly instead of sampled, for every metric.

With w the second (3D) member's weight and 1 - w the first's, each fused output is a straight line in w: metrics
of classes are step functions of w (`steps`), metrics of valence and arousal smooth or piecewise linear (`curves`).
"""

import numpy as np

from ig3d_ray.fusion.class_steps import class_steps
from ig3d_ray.fusion.curves import Curves
from ig3d_ray.fusion.piecewise import BestWeight, Steps, pair_steps
from ig3d_ray.types import Task


def expression_steps(
    first_NC: np.ndarray,
    second_NC: np.ndarray,
    labels_N: np.ndarray,
    metric: str = "accuracy",
    low: float = 0.0,
    high: float = 1.0,
) -> Steps:
    """A metric of (1 - w) * first + w * second for every w in [low, high].

    Args:
        first_NC: `[N, C]` class scores in one space, any floats.
        second_NC: `[N, C]` those of the second member.
        labels_N: `[N]` int classes.
        metric: one of `metrics.METRICS[Task.EXPRESSION]`.
        low: lowest weight; the range may leave [0, 1].
        high: highest weight.

    Raises:
        ValueError: shapes differ; nothing is ever broadcast.
    """
    if metric == "accuracy":
        return pair_steps(first_NC, second_NC, labels_N, low, high)
    if metric == "balanced_accuracy":
        counts = np.bincount(labels_N, minlength=first_NC.shape[1])
        return pair_steps(first_NC, second_NC, labels_N, low, high, worth_N=1.0 / counts[labels_N])
    return class_steps(first_NC, second_NC, labels_N, metric, low, high)


def va_curves(
    first_N2: np.ndarray, second_N2: np.ndarray, labels_N2: np.ndarray, low: float = 0.0, high: float = 1.0
) -> Curves:
    """Every metric of (1 - w) * first + w * second for every w in [low, high]; arrays `[N, 2]`."""
    first, second, truth = (np.asarray(x, dtype=np.float64) for x in (first_N2, second_N2, labels_N2))
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: {first.shape}, {second.shape}, labels {truth.shape}")
    return Curves(first, second - first, truth, low, high)


def best_weight(
    task: Task,
    first: np.ndarray,
    second: np.ndarray,
    labels: np.ndarray,
    metric: str,
    low: float = 0.0,
    high: float = 1.0,
) -> BestWeight:
    """The global best weight of the second member in [low, high], with the interval of equally good ones.

    Args:
        task: what is predicted.
        first: `[N, C]` class scores, or `[N, 2]` valence and arousal.
        second: those of the second member, the same shape.
        labels: `[N]` classes, or `[N, 2]`.
        metric: any metric of the task.
    """
    if task.has_classes:
        return expression_steps(first, second, labels, metric, low, high).best()
    return va_curves(first, second, labels, low, high).best(metric)
