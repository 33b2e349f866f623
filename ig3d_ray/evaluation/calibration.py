"""How well probabilities agree with how often they are right, with intervals."""

import numpy as np

from ig3d_ray.evaluation.bootstrap import Interval, interval_of
from ig3d_ray.evaluation.probability_scores import binned, brier_scores, ece, log_losses, plain_ece, reliability
from ig3d_ray.types import Frozen

RESAMPLES = 300


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
    plain = plain_ece(binned(confidence, right, np.ones(count)))
    blocks = np.arange(count) if groups is None else np.unique(groups[order], return_inverse=True)[1]
    drawn = np.empty((RESAMPLES, 3))
    for number in range(RESAMPLES):
        of_block = rng.integers(0, blocks.max() + 1, blocks.max() + 1)
        times = np.bincount(of_block, minlength=blocks.max() + 1)[blocks].astype(np.float64)
        again = plain_ece(binned(confidence, right, times))
        drawn[number] = losses @ times / times.sum(), briers @ times / times.sum(), again
    # Resampling adds to the plug-in error what chance adds: the basic interval takes it off.
    errors = interval_of(float(ece(reliability(probabilities_NC, labels_N))), np.maximum(2 * plain - drawn[:, 2], 0.0))
    # The estimate is 0 where the errors are what calibrated probabilities would have, and 0 is then not excluded.
    around = {"low": min(errors.low, errors.value), "high": max(errors.high, errors.value)}
    return Calibration(
        log_loss=interval_of(float(losses.mean()), drawn[:, 0]),
        brier=interval_of(float(briers.mean()), drawn[:, 1]),
        ece=errors.model_copy(update=around),
    )
