"""Metrics of valence and arousal as exact functions of one weight, computed in one pass over the samples.

With p = first + w * (second - first), the sums that the metrics are made of are polynomials in w: the squared
errors and p^2 of degree two, p and p * t of degree one. The absolute error is convex and piecewise linear.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import polynomial

from ig3d_ray.evaluation import metrics
from ig3d_ray.fusion.piecewise import BestWeight

_DIMENSIONS = {"": slice(0, 2), "_valence": slice(0, 1), "_arousal": slice(1, 2)}


@dataclass(frozen=True)
class Moments:
    """Means over the samples of one or two dimensions, as polynomials in w (coefficients, lowest first).

    Attributes:
        count: how many numbers.
        mse: `[3]`.
        covariance: `[2]`, of prediction and truth.
        variance: `[3]`, of the prediction.
        apart: `[2]`: mean prediction minus mean truth.
        variance_t: of the truth.
    """

    count: int
    mse: np.ndarray
    covariance: np.ndarray
    variance: np.ndarray
    apart: np.ndarray
    variance_t: float

    @staticmethod
    def of(first: np.ndarray, direction: np.ndarray, truth: np.ndarray) -> "Moments":
        """From arrays of one shape, pooled over all their elements."""
        f, d, t = first.ravel(), direction.ravel(), truth.ravel()
        e = f - t
        f0, d0, t0 = f - f.mean(), d - d.mean(), t - t.mean()
        return Moments(
            count=f.size,
            mse=np.array([(e * e).mean(), 2 * (e * d).mean(), (d * d).mean()]),
            covariance=np.array([(f0 * t0).mean(), (d0 * t0).mean()]),
            variance=np.array([(f0 * f0).mean(), 2 * (f0 * d0).mean(), (d0 * d0).mean()]),
            apart=np.array([f.mean() - t.mean(), d.mean()]),
            variance_t=float((t0 * t0).mean()),
        )

    @cached_property
    def spread(self) -> np.ndarray:
        """What the concordance correlation is divided by, `[3]`."""
        return polynomial.polyadd(self.variance + [self.variance_t, 0, 0], polynomial.polymul(self.apart, self.apart))

    def ccc_slope(self) -> tuple[np.ndarray, np.ndarray]:
        """Numerator and denominator of the derivative of 2 covariance / spread."""
        return _quotient_rule(2 * self.covariance, self.spread)

    def pcc_slope(self) -> np.ndarray:
        """Numerator of the derivative of covariance / sqrt(variance)."""
        grows = 2 * polynomial.polymul(polynomial.polyder(self.covariance), self.variance)
        return polynomial.polysub(grows, polynomial.polymul(self.covariance, polynomial.polyder(self.variance)))


def _quotient_rule(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    plus = polynomial.polymul(polynomial.polyder(above), below)
    minus = polynomial.polymul(above, polynomial.polyder(below))
    return polynomial.polysub(plus, minus), polynomial.polymul(below, below)


@dataclass(frozen=True)
class Curves:
    """Every metric of first + w * direction as a function of w on [low, high].

    Attributes:
        first: `[N, 2]` float64. For two members the direction is second - first.
        direction: `[N, 2]` float64, second - first for two members.
        truth: `[N, 2]` float64 labels.
    """

    first: np.ndarray
    direction: np.ndarray
    truth: np.ndarray
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        shapes = (self.first.shape, self.direction.shape, self.truth.shape)
        if len(set(shapes)) != 1 or shapes[0][1:] != (2,):
            raise ValueError(f"shapes must all be [samples, 2]: {shapes}")

    @cached_property
    def _moments(self) -> dict[str, Moments]:
        return {
            suffix: Moments.of(self.first[:, columns], self.direction[:, columns], self.truth[:, columns])
            for suffix, columns in _DIMENSIONS.items()
        }

    @cached_property
    def _bends(self) -> dict[str, "_Bends"]:
        return {
            suffix: _Bends.of((self.first - self.truth)[:, columns].ravel(), self.direction[:, columns].ravel())
            for suffix, columns in _DIMENSIONS.items()
        }

    def score_at(self, weights: np.ndarray, metric: str) -> np.ndarray:
        """A metric of `metrics.METRICS[Task.VA]` at any weights, same shape."""
        weights = np.asarray(weights, dtype=np.float64)
        if metric == "ccc_mean":
            return 0.5 * (self.score_at(weights, "ccc_valence") + self.score_at(weights, "ccc_arousal"))
        kind, suffix = _parts(metric)
        moments = self._moments[suffix]
        if kind == "mae":
            return self._bends[suffix].error_at(weights) / moments.count
        if kind in ("mse", "rmse"):
            mse = np.maximum(polynomial.polyval(weights, moments.mse), 0)
            return mse if kind == "mse" else np.sqrt(mse)
        below = polynomial.polyval(weights, moments.spread)
        if kind == "pcc":
            below = np.sqrt(np.maximum(polynomial.polyval(weights, moments.variance), 0) * moments.variance_t)
        above = polynomial.polyval(weights, moments.covariance) * (1 if kind == "pcc" else 2)
        found = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
        return found * moments.count / (moments.count - 1) if "_paper" in metric and moments.count > 1 else found

    def best(self, metric: str) -> BestWeight:
        """The best weight of all, from the ends of the range and wherever the metric's derivative is zero.

        Where all weights are equally good, as with equal members, the interval is the whole range.
        """
        # A mean over two dimensions depends on both.
        columns = _DIMENSIONS["" if metric == "ccc_mean" else _parts(metric)[1]]
        if not self.direction[:, columns].any():
            middle = 0.5 * (self.low + self.high)
            return BestWeight(middle, self.low, self.high, float(self.score_at(np.array(middle), metric)))
        if metric.startswith("mae"):
            flat = self._bends[_parts(metric)[1]].median() or (self.low, self.high)
            low, high = (float(np.clip(w, self.low, self.high)) for w in flat)
            middle = 0.5 * (low + high)
            return BestWeight(middle, low, high, float(self.score_at(np.array(middle), metric)))
        still = [float(w) for w in self._stationary(metric) if self.low < w < self.high]
        candidates = np.array([*still, self.low, self.high])
        values = self.score_at(candidates, metric)
        best = int(values.argmax() if metrics.metric_of(metric).greater_is_better else values.argmin())
        weight = float(candidates[best])
        return BestWeight(weight, weight, weight, float(values[best]))

    def _stationary(self, metric: str) -> np.ndarray:
        """Real zeros of the metric's derivative."""
        if metric == "ccc_mean":
            (n_v, d_v), (n_a, d_a) = (self._moments[suffix].ccc_slope() for suffix in ("_valence", "_arousal"))
            return _real_roots(polynomial.polyadd(polynomial.polymul(n_v, d_a), polynomial.polymul(n_a, d_v)))
        kind, suffix = _parts(metric)
        moments = self._moments[suffix]
        if kind in ("mse", "rmse"):
            return _real_roots(polynomial.polyder(moments.mse))
        return _real_roots(moments.pcc_slope() if kind == "pcc" else moments.ccc_slope()[0])


def _parts(metric: str) -> tuple[str, str]:
    """`ccc_paper_valence` -> `ccc`, `_valence`."""
    kind, underscore, dimension = metric.replace("_paper", "").partition("_")
    return kind, underscore + dimension


def _real_roots(coefficients: np.ndarray) -> np.ndarray:
    """Roots whose imaginary part is rounding; a double root may come out as a pair just off the axis."""
    size = np.abs(coefficients).max()
    if size == 0:
        return np.zeros(0)
    # A leading coefficient that is only rounding error would add a distant root and reduce the others' precision.
    trimmed = polynomial.polytrim(coefficients / size, 1e-13)
    roots = polynomial.polyroots(trimmed)
    real = roots.real[np.abs(roots.imag) <= 1e-6 * (1 + np.abs(roots.real))]
    slope = polynomial.polyder(trimmed)
    for _ in range(2):
        falls = polynomial.polyval(real, slope)
        real = real - np.divide(polynomial.polyval(real, trimmed), falls, out=np.zeros_like(real), where=falls != 0)
    return real


@dataclass(frozen=True)
class _Bends:
    """The sum of |e + w d| over samples: bends at -e / d, ascending, the slope growing by 2 |d| at each.

    Attributes:
        at: `[K]`.
        slopes: `[K + 1]` running sums of |d|.
        moments: `[K + 1]` running sums of |d| * at.
        rest: the part that does not depend on w.
    """

    at: np.ndarray
    slopes: np.ndarray
    moments: np.ndarray
    rest: float

    @staticmethod
    def of(e: np.ndarray, d: np.ndarray) -> "_Bends":
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            at = -e / d
        moves = np.isfinite(at)
        at, slope = at[moves], np.abs(d[moves])
        order = np.argsort(at, kind="stable")
        at, slope = at[order], slope[order]
        running = [np.concatenate([[0.0], np.cumsum(x)]) for x in (slope, slope * at)]
        return _Bends(at, running[0], running[1], float(np.abs(e[~moves]).sum()))

    def error_at(self, weights: np.ndarray) -> np.ndarray:
        left = np.searchsorted(self.at, weights, side="right")
        slopes = 2 * self.slopes[left] - self.slopes[-1]
        return self.rest + slopes * weights + self.moments[-1] - 2 * self.moments[left]

    def median(self) -> tuple[float, float] | None:
        """The ends of the interval of least error, a weighted median (Laplace); None where no sample bends."""
        if len(self.at) == 0:
            return None
        half = 0.5 * self.slopes[-1]
        # Sums that are half of the whole up to rounding are half of it: then the error is flat to the next bend.
        slack = 1e-12 * self.slopes[-1]
        low = int(np.searchsorted(self.slopes[1:], half - slack))
        high = int(np.searchsorted(self.slopes[1:], half + slack, side="right"))
        last = len(self.at) - 1
        return float(self.at[min(low, last)]), float(self.at[min(high, last)])
