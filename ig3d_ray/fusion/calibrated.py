"""Fused scores as calibrated probabilities: one temperature, which changes no predicted class."""

import numpy as np

from ig3d_ray.evaluation.metrics import PROBABILITY_METRICS
from ig3d_ray.evaluation.probability_scores import SMALLEST
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.fusion.rounding import significant
from ig3d_ray.fusion.temperature import fit_temperatures

SHARPEST, FLATTEST = 0.05, 20.0
"""Bounds of a temperature: an ensemble that is never wrong where it was chosen would have one of zero."""


def with_temperature(fusion: Fusion, temperature: float | None) -> Fusion:
    """A fusion with calibrated probabilities; its fused scores and classes are the same."""
    return fusion.model_copy(update={"fused_temperature": temperature})


def best_temperature(logits_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """The temperature of fused logits that gives the least log-loss, within bounds.

    Args:
        logits_NC: `[N, C]`, best of samples that chose neither members nor weights.
        labels_N: `[N]` int.
    """
    (found,) = fit_temperatures(logits_NC[None], labels_N)
    return significant(float(np.clip(found, SHARPEST, FLATTEST)))


def fused_temperature(fusion: Fusion, fused_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """That of a fusion's scores.

    Args:
        fusion: how they were fused.
        fused_NC: `[N, C]` fused scores.
        labels_N: `[N]` int.
    """
    return best_temperature(fusion.fused_logits(fused_NC), labels_N)


def scored(fusion: Fusion, fused_NC: np.ndarray, metric: str) -> np.ndarray:
    """What a metric takes as predictions: fused scores, or the logarithms of their probabilities.

    Args:
        fusion: how they were fused, with a temperature if the metric is one of probabilities.
        fused_NC: `[N, C]`, or `[N, 2]` valence and arousal.
        metric: any of the task.
    """
    if metric not in PROBABILITY_METRICS:
        return fused_NC
    return np.asarray(np.log(np.maximum(fusion.probabilities(fused_NC), SMALLEST)))
