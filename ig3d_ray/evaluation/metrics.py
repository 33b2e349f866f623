"""Scores of predictions, for one set of samples or for thousands of resamples of it at once.

Every metric here is a function of sums over samples: of hits, labels and predictions per class, of losses and bins
of probabilities, or of errors and moments. So a prediction is first turned into per-sample statistics `[N, S]`; summed
with weights they give one row of sums `[S]`, or `[R, S]` for R bootstrap resamples, and each metric is computed from
sums.
"""

from collections.abc import Callable

import numpy as np

from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.probability_scores import (
    BINS,
    Reliability,
    bins_of,
    brier_scores,
    ece,
    log_losses,
    reliability,
)
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


def probability_statistics(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Those of `expression_statistics`, and log-loss, Brier score, and for each bin of confidence whether the sample is
    in it, with which confidence, and whether it is right: `[N, 3*C + 2 + 3*BINS]` float64.

    Args:
        log_probabilities: `[N, C]`, of rows that sum to 1.
        labels: `[N]` int, in [0, C).
    """
    likely, rows = np.exp(log_probabilities), np.arange(len(labels))
    confidence = likely.max(axis=1)
    bins, place = np.zeros((len(labels), 3, BINS)), bins_of(confidence)
    bins[rows, 0, place] = 1.0
    bins[rows, 1, place] = confidence
    bins[rows, 2, place] = likely.argmax(axis=1) == labels
    losses = np.stack([log_losses(likely, labels), brier_scores(likely, labels)], axis=1)
    return np.hstack([expression_statistics(log_probabilities, labels), losses, bins.reshape(len(labels), -1)])


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


PROBABILITY_METRICS = ("log_loss", "brier", "ece")
"""Metrics of probabilities; predictions are then their logarithms."""
CLASS_PARTS = _all_parts()
"""Metric of classes -> each class's part of its numerator and of its denominator, from hits, labels, predictions."""


def _classes_of(width: int) -> int:
    """C, from the number of statistics of a sample, with those of probabilities or without."""
    return width // 3 if width % 3 == 0 else (width - 2) // 3 - BINS


def hits(statistics: np.ndarray) -> np.ndarray:
    """Whether each sample is predicted correctly, `[N]` in 0 .. 1.

    Args:
        statistics: `[N, S]`, of expressions.
    """
    return np.asarray(statistics[:, : _classes_of(statistics.shape[1])].sum(axis=1))


def _expression_metrics(sums: Sums) -> dict[str, np.ndarray]:
    classes = _classes_of(sums.shape[-1])
    right, support, predicted = (sums[..., start : start + classes] for start in (0, classes, 2 * classes))
    parts = {name: part(right, support, predicted) for name, part in CLASS_PARTS.items()}
    found = {name: _ratio(above.sum(axis=-1), below.sum(axis=-1)) for name, (above, below) in parts.items()}
    others = sums[..., 3 * classes :]
    return found | _probability_metrics(others, support.sum(axis=-1)) if others.shape[-1] else found


def _probability_metrics(sums: Sums, samples: np.ndarray) -> dict[str, np.ndarray]:
    count, confidence, right = (sums[..., start : start + BINS] for start in (2, 2 + BINS, 2 + 2 * BINS))
    bins = Reliability(_ratio(confidence, count), _ratio(right, count), count)
    found = (_ratio(sums[..., 0], samples), _ratio(sums[..., 1], samples), ece(bins))
    return dict(zip(PROBABILITY_METRICS, found, strict=True))


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
    Task.EXPRESSION: (*_expression_metrics(np.zeros(3)), *PROBABILITY_METRICS),
    Task.VA: tuple(_va_metrics(np.zeros(16))),
}
_ERRORS = ("mse", "mae", "rmse", *PROBABILITY_METRICS)


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


def statistics(task: Task, predictions: np.ndarray, labels: np.ndarray, of_probabilities: bool = False) -> np.ndarray:
    """Per-sample statistics `[N, S]` of predictions against labels.

    Args:
        task: what is predicted.
        predictions: `[N, C]` class scores, or `[N, 2]` valence and arousal.
        labels: `[N]` classes, or `[N, 2]`.
        of_probabilities: predictions are logarithms of probabilities, which are scored too.
    """
    if len(predictions) != len(labels):
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} labels")
    if not task.has_classes:
        return va_statistics(predictions, labels)
    return (probability_statistics if of_probabilities else expression_statistics)(predictions, labels)


def from_sums(task: Task, sums: Sums) -> dict[str, np.ndarray]:
    """Every metric of a task from summed statistics `[..., S]`; each value has shape `[...]`."""
    return _BY_TASK[task](sums)


def score(task: Task, predictions: np.ndarray, labels: np.ndarray, of_probabilities: bool = False) -> Scores:
    """Every metric of one set of predictions; arguments as for `statistics`."""
    task = Task(task)
    sums = statistics(task, predictions, labels, of_probabilities).sum(axis=0)
    return {name: float(value) for name, value in from_sums(task, sums).items()}


def score_one(task: Task, predictions: np.ndarray, labels: np.ndarray, metric: str) -> float:
    """One metric of one set of predictions; equal to the value from `score`, in a fraction of the time."""
    if metric in PROBABILITY_METRICS:
        return _score_probabilities(np.exp(predictions), labels, metric)
    if task.has_classes:
        classes, columns = predictions.shape[1], np.ascontiguousarray(predictions.T)
        highest = columns.max(axis=0)
        if np.count_nonzero(columns >= highest - TIE * np.abs(highest)) > len(labels):
            sums = expression_statistics(predictions, labels).sum(axis=0)
        elif metric == "accuracy":
            return float(np.count_nonzero(columns[labels, np.arange(len(labels))] == highest)) / max(len(labels), 1)
        else:
            top = columns.argmax(axis=0)
            counted = (labels[top == labels], labels, top)
            sums = np.concatenate([np.bincount(c, minlength=classes) for c in counted]).astype(np.float64)
        above, below = CLASS_PARTS[metric](*sums.reshape(3, classes))
        return float(_ratio(above.sum(), below.sum()))
    return float(from_sums(task, va_statistics(predictions, labels).sum(axis=0))[metric])


def _score_probabilities(likely: np.ndarray, labels: np.ndarray, metric: str) -> float:
    if metric == "ece":
        return float(ece(reliability(likely, labels)))
    return float((log_losses if metric == "log_loss" else brier_scores)(likely, labels).mean())
