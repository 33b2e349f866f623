"""The best weight of two members, solved exactly instead of sampled, for every metric.

With w the second (3D) member's weight and 1 - w the first's, each fused output is a straight line in w: metrics
of classes are step functions of w (`steps`), metrics of valence and arousal smooth or piecewise linear (`curves`).
"""

from dataclasses import replace

import numpy as np

from ig3d_ray.evaluation.metrics import score_one, top_ties
from ig3d_ray.fusion.class_steps import class_steps
from ig3d_ray.fusion.curves import Curves
from ig3d_ray.fusion.piecewise import BestWeight, Steps, pair_steps
from ig3d_ray.fusion.ties import without_lasting_ties
from ig3d_ray.types import Task

HALF = 0.5


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
    if second_NC.shape != first_NC.shape or labels_N.shape != first_NC.shape[:1]:
        raise ValueError(f"shapes differ: {first_NC.shape}, {second_NC.shape}, labels {labels_N.shape}")
    split = without_lasting_ties(first_NC, second_NC, labels_N, low, high)
    first, second, labels, worth = split.first, split.second, split.labels, split.share
    if metric == "accuracy":
        steps = pair_steps(first, second, labels, low, high, worth)
    elif metric == "balanced_accuracy":
        of_class = 1.0 / np.bincount(labels_N, minlength=first_NC.shape[1])[labels]
        steps = pair_steps(first, second, labels, low, high, of_class if worth is None else of_class * worth)
    else:
        steps = class_steps(first, second, labels, metric, low, high, worth)
    return replace(steps, points=_points(steps, first_NC, second_NC, labels_N, metric))


def _points(
    steps: Steps, first_NC: np.ndarray, second_NC: np.ndarray, labels_N: np.ndarray, metric: str
) -> tuple[tuple[float, float], ...]:
    """The metric of either member alone, and of their mean, where top classes tie there and nothing is rounded."""
    first, second = (np.array(one.T, dtype=np.float64, order="C") for one in (first_NC, second_NC))
    found = []
    for weight, columns in ((0.0, first), (HALF, HALF * (first + second)), (1.0, second)):
        if steps.low <= weight <= steps.high and (steps.low == steps.high or top_ties(columns)):
            found.append((weight, score_one(Task.EXPRESSION, columns.T, labels_N, metric)))
    return tuple(found)


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
