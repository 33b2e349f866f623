"""When to leave a face to a person: a threshold of confidence that bounds the error among the answered samples."""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.evaluation.distributions import binomial_cdf, share_interval
from ig3d_ray.types import Frozen

LEVEL = 0.05
STEPS = 20
"""Shares of the samples that are tried, from few and most confident to all."""
DECIMALS = 9


class Abstention(Frozen):
    """Below which confidence the ensemble abstains, and what that was on the report set."""

    risk: float
    """The error among answered samples that was asked for, at most."""
    threshold: float | None
    """The smallest probability of the predicted class at which it answers; None: nowhere, it abstains from all."""
    coverage: float
    """The share of the report set that is answered."""
    error: Interval | None
    """The error among those, with its exact 95 % interval (Clopper and Pearson 1934); None if none is answered."""


@dataclass(frozen=True)
class RiskCoverage:
    """The error among the most confident samples, for each share of them.

    Attributes:
        coverage: `[K]` shares that are answered, ascending.
        risk: `[K]` error among them.
    """

    coverage: np.ndarray
    risk: np.ndarray


def risk_coverage(confidence: np.ndarray, right: np.ndarray, points: int = 200) -> RiskCoverage:
    """The curve of risk against coverage.

    Args:
        confidence: `[N]`.
        right: `[N]` bool.
        points: of the curve, at most.
    """
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(~right[order])
    counts = np.unique(np.linspace(1, len(order), min(points, len(order))).astype(np.int64))
    return RiskCoverage(counts / len(order), errors[counts - 1] / counts)


def threshold_for(confidence: np.ndarray, right: np.ndarray, risk: float) -> float | None:
    """The lowest threshold with an error of at most `risk` among the answered samples, with 95 % confidence.

    Args:
        confidence: `[N]` probabilities of the predicted classes, of samples that are independent of each other.
        right: `[N]` bool.
        risk: the greatest error among the samples whose confidence is at or above the threshold.

    Source: exact binomial tests of "the error is greater", in a fixed sequence from the most confident samples on,
    until one doesn't reject; so the level holds for all of them together (Bauer 1991; Angelopoulos et al. 2021).
    """
    ordered, found = np.sort(confidence)[::-1], None
    for step in range(1, STEPS + 1):
        threshold = float(ordered[max(1, len(ordered) * step // STEPS) - 1])
        answered = confidence >= threshold
        count, errors = int(answered.sum()), int((answered & ~right).sum())
        if binomial_cdf(1, count, risk) > LEVEL:
            continue  # too few to reject with even one error
        if binomial_cdf(errors, count, risk) > LEVEL:
            break
        found = threshold
    return None if found is None else round(found, DECIMALS)


def abstention(risk: float, threshold: float | None, answered: np.ndarray, right: np.ndarray) -> Abstention:
    """What a threshold was on the report set.

    Args:
        risk: that was asked for.
        threshold: the exported ensemble's.
        answered: `[N]` bool: where it answers; under cross-fitting by the threshold of each fold's choice.
        right: `[N]` bool.
    """
    count = int(answered.sum())
    error = None
    if count:
        wrong = int((answered & ~right).sum())
        value, (low, high) = wrong / count, share_interval(wrong, count, 0.95)
        error = Interval(value=round(value, DECIMALS), low=round(low, DECIMALS), high=round(high, DECIMALS))
    return Abstention(risk=risk, threshold=threshold, coverage=round(count / len(right), DECIMALS), error=error)
