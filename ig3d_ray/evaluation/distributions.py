"""Tail probabilities and quantiles of a few distributions by SciPy's special functions: importing SciPy's statistics
takes half a second, which is longer than a search of two members."""

import numpy as np
from scipy.special import betainc, betaincinv, erf, ndtri, stdtr, stdtrit


def binomial_cdf(successes: int, trials: int, share: float) -> float:
    """The probability of at most so many successes.

    Args:
        successes: 0 or more.
        trials: 1 or more.
        share: the probability of each success, in 0 .. 1.
    """
    return 1.0 if successes >= trials else float(betainc(trials - successes, successes + 1, 1 - share))


def sign_test(successes: int, trials: int) -> float:
    """The two-sided exact binomial test that successes are as probable as failures.

    Args:
        successes: 0 or more.
        trials: 1 or more.

    Returns:
        p, in 0 .. 1.
    """
    return min(1.0, 2 * binomial_cdf(min(successes, trials - successes), trials, 0.5))


def share_interval(successes: int, trials: int, level: float) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson 1934).

    Args:
        successes: 0 or more.
        trials: 1 or more.
        level: such as 0.95.
    """
    tail, failures = (1 - level) / 2, trials - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0
    return low, high


def t_test(values: np.ndarray) -> float:
    """The two-sided t test that a mean is zero.

    Args:
        values: `[N]`, at least two that differ.

    Returns:
        p, in 0 .. 1.
    """
    count = len(values)
    statistic = values.mean() / (values.std(ddof=1) / np.sqrt(count))
    return float(2 * stdtr(count - 1, -abs(statistic)))


def normal_quantile(share: float) -> float:
    """The value below which a standard normal variable lies with this probability.

    Args:
        share: above 0 and below 1.
    """
    return float(ndtri(share))


def t_quantile(share: float, freedom: int) -> float:
    """The value below which Student's t lies with this probability.

    Args:
        share: above 0 and below 1.
        freedom: degrees of freedom, 1 or more.
    """
    return float(stdtrit(freedom, share))


def folded_normal_mean(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The mean of a normal variable's absolute value, `[N]`.

    Args:
        mean: `[N]`.
        spread: `[N]` standard deviations, above 0.
    """
    ratio = mean / spread
    found = spread * np.sqrt(2 / np.pi) * np.exp(-0.5 * ratio**2) + mean * erf(ratio / np.sqrt(2))
    return np.asarray(found)
