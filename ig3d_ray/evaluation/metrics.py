"""Scores of predictions, for one set of samples or for thousands of resamples of it at once.

Every metric here is a function of sums over samples: of hits, labels and predictions per class, or of errors
and moments. So a prediction is first turned into per-sample statistics `[N, S]`; summed with weights they
give one row of sums `[S]`, or `[R, S]` for R bootstrap resamples, and each metric is computed from sums.
"""

from collections.abc import Callable

import numpy as np

from ig3d_ray.errors import Ig3dError
from ig3d_ray.types import Metric, Task

Sums = np.ndarray
Scores = dict[str, float]


TIE = 1e-12
"""Scores that differ by less than this share of the largest are equal: sums in another order differ by less."""


def top_shares(scores: np.ndarray) -> np.ndarray:
    """`[N, C]`: 1 for the class of the largest score; 1 / k for each of k classes that tie for it.

    Args:
        scores: `[N, C]`.

    A sample whose top classes tie counts as the share of right that is expected if one of them is drawn. So no order of
    the classes, and no rounding, makes an ensemble look better. A prediction is the first of the tied.
    """
    highest = scores.max(axis=1, keepdims=True)
    tied = scores >= highest - TIE * np.abs(highest)
    return np.asarray(tied / np.count_nonzero(tied, axis=1)[:, None])


def top_ties(columns: np.ndarray) -> bool:
    """Whether the top classes of some sample tie; scores are `[C, N]`."""
    highest = columns.max(axis=0)
    return int(np.count_nonzero(columns >= highest - TIE * np.abs(highest))) > columns.shape[1]


def expression_statistics(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Per-sample counts `[N, 3*C]` float64: the label if predicted correctly, the label, the prediction.

    Args:
        scores: `[N, C]` fused class scores; the prediction is the class of the largest, shared by those that tie.
        labels: `[N]` int, in [0, C).
    """
    samples, classes = scores.shape
    rows, shares = np.arange(samples), top_shares(scores)
    statistics = np.zeros((samples, 3, classes))
    statistics[rows, 0, labels] = shares[rows, labels]
    statistics[rows, 1, labels] = 1.0
    statistics[:, 2] = shares
    return statistics.reshape(samples, 3 * classes)


def va_statistics(va: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Per-sample moments of valence, then arousal: `[N, 2*8]` float64.

    Each dimension gives: 1, squared error, absolute error, p, t, p^2, t^2, p*t.

    Args:
        va: `[N, 2]` predictions, labels: `[N, 2]` truth; nominally in [-1, 1].
    """
    p, t = va.astype(np.float64), labels.astype(np.float64)
    columns = [np.ones_like(p), (p - t) ** 2, np.abs(p - t), p, t, p * p, t * t, p * t]
    return np.stack(columns, axis=2).reshape(len(p), 16)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, 0 where below is 0 (as in scikit-learn for classes never predicted)."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below != 0)


Parts = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _mean_of(per_class: Callable[..., np.ndarray], weight: Callable[..., np.ndarray]) -> Parts:
    def parts(hits: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counted = weight(support, predicted).astype(np.float64)
        return per_class(hits, support, predicted) * counted, counted

    return parts


def _all_parts() -> dict[str, Parts]:
    averaged: dict[str, Callable[..., np.ndarray]] = {
        "f1": lambda hits, support, predicted: _ratio(2 * hits, support + predicted),
        "precision": lambda hits, support, predicted: _ratio(hits, predicted),
        "recall": lambda hits, support, predicted: _ratio(hits, support),
    }
    parts: dict[str, Parts] = {"accuracy": lambda hits, support, predicted: (hits, support)}
    parts["balanced_accuracy"] = _mean_of(averaged["recall"], lambda support, predicted: support > 0)
    for name, per_class in averaged.items():
        # As scikit-learn: a class counts in the macro mean if it has a label or a prediction.
        parts[f"macro_{name}"] = _mean_of(per_class, lambda support, predicted: support + predicted > 0)
        parts[f"weighted_{name}"] = _mean_of(per_class, lambda support, predicted: support)
    return parts


CLASS_PARTS = _all_parts()
"""Metric of classes -> each class's part of its numerator and of its denominator, from hits, labels, predictions."""


def _expression_metrics(sums: Sums) -> dict[str, np.ndarray]:
    counts = sums.reshape(*sums.shape[:-1], 3, sums.shape[-1] // 3)
    hits, support, predicted = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
    found = {name: parts(hits, support, predicted) for name, parts in CLASS_PARTS.items()}
    return {name: _ratio(above.sum(axis=-1), below.sum(axis=-1)) for name, (above, below) in found.items()}


def _moments(sums: Sums) -> tuple[np.ndarray, ...]:
    """n, MSE, MAE, covariance, both variances (population), the difference of the means."""
    n = sums[..., 0]
    mse, mae, p, t, pp, tt, pt = (_ratio(sums[..., i], n) for i in range(1, 8))
    return n, mse, mae, pt - p * t, np.maximum(pp - p * p, 0), np.maximum(tt - t * t, 0), p - t


def _va_metrics(sums: Sums) -> dict[str, np.ndarray]:
    valence, arousal = sums[..., :8], sums[..., 8:]
    metrics = {}
    for suffix, part in (("", valence + arousal), ("_valence", valence), ("_arousal", arousal)):
        n, mse, mae, covariance, var_p, var_t, apart = _moments(part)
        spread = var_p + var_t + apart**2
        metrics[f"mse{suffix}"], metrics[f"mae{suffix}"] = mse, mae
        metrics[f"rmse{suffix}"] = np.sqrt(mse)
        metrics[f"ccc{suffix}"] = _ratio(2 * covariance, spread)
        # evaluation.py of CAGE and Ig3D divides the covariance by n-1 and the variances by n.
        metrics[f"ccc_paper{suffix}"] = metrics[f"ccc{suffix}"] * _ratio(n, n - 1)
        metrics[f"pcc{suffix}"] = _ratio(covariance, np.sqrt(var_p * var_t))
    metrics["ccc_mean"] = 0.5 * (metrics["ccc_valence"] + metrics["ccc_arousal"])
    return metrics


_BY_TASK: dict[Task, Callable[[Sums], dict[str, np.ndarray]]] = {
    Task.EXPRESSION: _expression_metrics,
    Task.VA: _va_metrics,
}
METRICS: dict[Task, tuple[str, ...]] = {
    Task.EXPRESSION: tuple(_expression_metrics(np.zeros(3))),
    Task.VA: tuple(_va_metrics(np.zeros(16))),
}
_ERRORS = ("mse", "mae", "rmse")


def metric_of(name: str) -> Metric:
    """The metric of this name.

    Raises:
        Ig3dError: no such metric; the message lists them.
    """
    for task, names in METRICS.items():
        if name in names:
            return Metric(name, task, greater_is_better=not name.startswith(_ERRORS))
    known = "; ".join(f"{task}: {', '.join(names)}" for task, names in METRICS.items())
    raise Ig3dError(f"unknown metric {name!r}; known for {known}")


def statistics(task: Task, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Per-sample statistics `[N, S]` of predictions (`[N, C]` scores or `[N, 2]` va) against labels."""
    if len(predictions) != len(labels):
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} labels")
    return expression_statistics(predictions, labels) if task.has_classes else va_statistics(predictions, labels)


def from_sums(task: Task, sums: Sums) -> dict[str, np.ndarray]:
    """Every metric of a task from summed statistics `[..., S]`; each value has shape `[...]`."""
    return _BY_TASK[task](sums)


def score(task: Task, predictions: np.ndarray, labels: np.ndarray) -> Scores:
    """Every metric of one set of predictions.

    Args:
        task: what is predicted.
        predictions: `[N, C]` class scores, or `[N, 2]` valence and arousal.
        labels: `[N]` classes, or `[N, 2]`.
    """
    task = Task(task)
    sums = statistics(task, predictions, labels).sum(axis=0)
    return {name: float(value) for name, value in from_sums(task, sums).items()}


def score_one(task: Task, predictions: np.ndarray, labels: np.ndarray, metric: str) -> float:
    """One metric of one set of predictions; equal to the value from `score`, in a fraction of the time."""
    if task.has_classes:
        classes, columns = predictions.shape[1], np.ascontiguousarray(predictions.T)
        top, highest = columns.argmax(axis=0), columns.max(axis=0)
        if np.count_nonzero(columns >= highest - TIE * np.abs(highest)) > len(labels):
            sums = expression_statistics(predictions, labels).sum(axis=0)
        else:
            counted = (labels[top == labels], labels, top)
            sums = np.concatenate([np.bincount(c, minlength=classes) for c in counted]).astype(np.float64)
        above, below = CLASS_PARTS[metric](*sums.reshape(3, classes))
        return float(_ratio(above.sum(), below.sum()))
    return float(from_sums(task, va_statistics(predictions, labels).sum(axis=0))[metric])
