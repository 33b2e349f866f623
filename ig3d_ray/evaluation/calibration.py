"""How well probabilities agree with how often they are right: log-loss, Brier score, calibration error, reliability."""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.evaluation.bootstrap import Interval, interval_of
from ig3d_ray.evaluation.distributions import folded_normal_mean
from ig3d_ray.types import Frozen

BINS = 15
FEWEST_PER_BIN = 20
RESAMPLES = 300
SMALLEST = 1e-15
"""Probabilities below this count as this in a log-loss, as in scikit-learn."""


class Calibration(Frozen):
    """Scores of probabilities, each with its 95 % bootstrap interval; the less, the better."""

    log_loss: Interval
    """Mean of minus the logarithm of the probability of the true class."""
    brier: Interval
    """Mean over the samples of the squared error, summed over the classes: from 0 to 2."""
    ece: Interval
    """Expected calibration error of the predicted class: equal-mass bins, debiased (see `ece`)."""


class CalibrationScores(Frozen):
    """An ensemble's probabilities on the report set, before and after its temperature."""

    uncalibrated: Calibration
    """Before."""
    calibrated: Calibration
    """After."""


@dataclass(frozen=True)
class Reliability:
    """Bins of equally many samples, ascending in confidence.

    Attributes:
        confidence: `[B]` mean probability of the predicted class.
        accuracy: `[B]` how often it is right.
        count: `[B]` samples.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def reliability(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> Reliability:
    """The reliability diagram of the predicted classes.

    Args:
        probabilities_NC: `[N, C]`, rows that sum to 1.
        labels_N: `[N]` int.
    """
    confidence, right = probabilities_NC.max(axis=1), probabilities_NC.argmax(axis=1) == labels_N
    order = np.argsort(confidence, kind="stable")
    return _binned(confidence[order], right[order], np.ones(len(order)))


def _binned(confidence: np.ndarray, right: np.ndarray, times: np.ndarray) -> Reliability:
    """Bins of equal mass, of samples in ascending order of confidence that each count a number of times."""
    total = times.sum()
    bins = max(1, min(BINS, int(total) // FEWEST_PER_BIN))
    place = np.minimum(((np.cumsum(times) - 0.5 * times) * bins / total).astype(np.int64), bins - 1)
    count = np.maximum(np.bincount(place, times, bins), 1e-12)
    found, hits = (np.bincount(place, times * values, bins) / count for values in (confidence, right))
    return Reliability(found, hits, count)


def log_losses(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """`[N]`: minus the logarithm of the true class's probability; arguments as for `reliability`."""
    of_label = probabilities_NC[np.arange(len(labels_N)), labels_N]
    return np.asarray(-np.log(np.maximum(of_label, SMALLEST)))


def brier_scores(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """`[N]`: squared error of the probabilities, summed over the classes (Brier 1950); as for `reliability`."""
    errors = np.array(probabilities_NC, dtype=np.float64)
    errors[np.arange(len(labels_N)), labels_N] -= 1
    return np.asarray((errors**2).sum(axis=1))


def ece(bins: Reliability) -> float:
    """The expected calibration error without the part that chance adds to it.

    Args:
        bins: of the predicted classes.

    Chance makes a bin's error a normal variable around the true one, whose absolute value is a folded normal variable.
    The bins' errors are shrunk by one factor, so that the expected value of their mean is the mean that was found; if
    that is what calibrated probabilities would have, the error is 0.
    """
    share, errors = bins.count / bins.count.sum(), np.abs(bins.accuracy - bins.confidence)
    noise = np.sqrt(np.maximum(bins.accuracy * (1 - bins.accuracy), 1e-12) / bins.count)
    low, high = 0.0, 1.0
    for _ in range(30):
        factor = 0.5 * (low + high)
        expected = float(folded_normal_mean(factor * errors, noise) @ share)
        low, high = (factor, high) if expected < errors @ share else (low, factor)
    return low * float(errors @ share)


def _plain_ece(bins: Reliability) -> float:
    return float((np.abs(bins.accuracy - bins.confidence) * bins.count).sum() / bins.count.sum())


def calibration(
    probabilities_NC: np.ndarray, labels_N: np.ndarray, seed: int, groups: np.ndarray | None = None
) -> Calibration:
    """Every score of probabilities, with intervals.

    Args:
        probabilities_NC: `[N, C]`, rows that sum to 1.
        labels_N: `[N]` int.
        seed: of the resamples.
        groups: `[N]` int: samples that are redrawn together; None for none.
    """
    rng, count = np.random.default_rng([seed, 71]), len(labels_N)
    losses, briers = log_losses(probabilities_NC, labels_N), brier_scores(probabilities_NC, labels_N)
    confidence, right = probabilities_NC.max(axis=1), probabilities_NC.argmax(axis=1) == labels_N
    order = np.argsort(confidence, kind="stable")
    confidence, right, losses, briers = confidence[order], right[order], losses[order], briers[order]
    plain = _plain_ece(_binned(confidence, right, np.ones(count)))
    blocks = np.arange(count) if groups is None else np.unique(groups[order], return_inverse=True)[1]
    drawn = np.empty((RESAMPLES, 3))
    for number in range(RESAMPLES):
        of_block = rng.integers(0, blocks.max() + 1, blocks.max() + 1)
        times = np.bincount(of_block, minlength=blocks.max() + 1)[blocks].astype(np.float64)
        again = _plain_ece(_binned(confidence, right, times))
        drawn[number] = losses @ times / times.sum(), briers @ times / times.sum(), again
    # Resampling adds to the plug-in error what chance adds: the basic interval takes it off.
    errors = interval_of(ece(reliability(probabilities_NC, labels_N)), np.maximum(2 * plain - drawn[:, 2], 0.0))
    # The estimate is 0 where the errors are what calibrated probabilities would have, and 0 is then not excluded.
    around = {"low": min(errors.low, errors.value), "high": max(errors.high, errors.value)}
    return Calibration(
        log_loss=interval_of(float(losses.mean()), drawn[:, 0]),
        brier=interval_of(float(briers.mean()), drawn[:, 1]),
        ece=errors.model_copy(update=around),
    )
