"""Scores of probabilities: log-loss, Brier score, and the calibration error of bins of equally many samples."""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.evaluation.distributions import folded_normal_mean

BINS = 15
FEWEST_PER_BIN = 20
SMALLEST = 1e-15
"""Probabilities below this count as this in a log-loss, as in scikit-learn."""
_HALVINGS = 30


@dataclass(frozen=True)
class Reliability:
    """Bins of equally many samples, ascending in confidence; of several sets of samples, `[..., B]`.

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
    return binned(confidence[order], right[order], np.ones(len(order)))


def binned(confidence: np.ndarray, right: np.ndarray, times: np.ndarray) -> Reliability:
    """Bins of equal mass, of samples in ascending order of confidence that each count a number of times.

    Args:
        confidence: `[N]`.
        right: bool `[N]`.
        times: `[N]`.
    """
    place, bins = _places(times)
    count = np.maximum(np.bincount(place, times, bins), 1e-12)
    found, hits = (np.bincount(place, times * values, bins) / count for values in (confidence, right))
    return Reliability(found, hits, count)


def _places(times: np.ndarray) -> tuple[np.ndarray, int]:
    """The bin `[N]` of each sample in ascending order of confidence, and how many bins there are."""
    total = times.sum()
    bins = max(1, min(BINS, int(total) // FEWEST_PER_BIN))
    return np.minimum(((np.cumsum(times) - 0.5 * times) * bins / total).astype(np.int64), bins - 1), bins


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """The bin of each sample, `[N]` int in [0, `BINS`), of bins with equally many samples.

    Args:
        confidence: `[N]`, in any order.
    """
    places = np.empty(len(confidence), dtype=np.int64)
    places[np.argsort(confidence, kind="stable")] = _places(np.ones(len(confidence)))[0]
    return places


def log_losses(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """`[N]`: minus the logarithm of the true class's probability; arguments as for `reliability`."""
    of_label = probabilities_NC[np.arange(len(labels_N)), labels_N]
    return np.asarray(-np.log(np.maximum(of_label, SMALLEST)))


def brier_scores(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """`[N]`: squared error of the probabilities, summed over the classes (Brier 1950); as for `reliability`."""
    errors = np.array(probabilities_NC, dtype=np.float64)
    errors[np.arange(len(labels_N)), labels_N] -= 1
    return np.asarray((errors**2).sum(axis=1))


def ece(bins: Reliability) -> np.ndarray:
    """The expected calibration error without the part that chance adds to it; one of each set of bins, `[...]`.

    Args:
        bins: of the predicted classes, `[..., B]`; those without samples have no part in it.

    Chance makes a bin's error a normal variable around the true one, whose absolute value is a folded normal variable.
    The bins' errors are shrunk by one factor, so that the expected value of their mean is the mean that was found; if
    that is what calibrated probabilities would have, the error is 0.
    """
    share = bins.count / bins.count.sum(axis=-1, keepdims=True)
    errors = np.abs(bins.accuracy - bins.confidence)
    noise = np.sqrt(np.maximum(bins.accuracy * (1 - bins.accuracy), 1e-12) / np.maximum(bins.count, 1e-12))
    found = (errors * share).sum(axis=-1)
    low, high = np.zeros_like(found), np.ones_like(found)
    for _ in range(_HALVINGS):
        factor = 0.5 * (low + high)
        expected = (folded_normal_mean(factor[..., None] * errors, noise) * share).sum(axis=-1)
        low, high = np.where(expected < found, factor, low), np.where(expected < found, high, factor)
    return np.asarray(low * found)


def plain_ece(bins: Reliability) -> float:
    """The expected calibration error as it is usually computed, with the part that chance adds.

    Args:
        bins: of the predicted classes, `[B]`.
    """
    return float((np.abs(bins.accuracy - bins.confidence) * bins.count).sum() / bins.count.sum())
