"""The best weight of two members, solved for instead of sampled.

With w the second (3D) member's weight and 1 - w the first's, each fused score is a straight line in w.
So a sample is classified correctly exactly on one interval of w, and accuracy is a count of intervals; the mean
squared error is a parabola; the concordance correlation is a linear function over a quadratic one.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BestWeight:
    """A best weight of the second member.

    Attributes:
        weight: the one to use: the middle of the widest interval of equally good weights.
        low, high: that interval; for a parabola or CCC both equal `weight`.
        value: the metric there.
    """

    weight: float
    low: float
    high: float
    value: float


@dataclass(frozen=True)
class AccuracySteps:
    """Accuracy of two fused members as a function of the weight: N intervals, sorted once.

    Attributes:
        starts, ends: `[K]` ascending: where samples become and cease to be classified correctly.
        samples: N, the K never-correct samples left out included.
    """

    starts: np.ndarray
    ends: np.ndarray
    samples: int

    def score_at(self, weights: np.ndarray) -> np.ndarray:
        """Accuracy at any weights in [0, 1], same shape: two binary searches each.

        On a weight where some sample's two best classes tie exactly, the sample counts as correct.
        """
        begun = np.searchsorted(self.starts, weights, side="right")
        over = np.searchsorted(self.ends, weights, side="left")
        return (begun - over) / self.samples

    def best(self, low: float = 0.0, high: float = 1.0) -> BestWeight:
        """The best weight in [low, high].

        Only intervals of positive length are considered: at a single point between two steps the top
        class is a tie that rounding would decide.
        """
        steps = np.concatenate([self.starts, self.ends])
        edges = np.unique(np.concatenate([[low, high], steps[(steps > low) & (steps < high)]]))
        if len(edges) == 1:
            return BestWeight(low, low, high, float(self.score_at(np.array(low))))
        middles = 0.5 * (edges[:-1] + edges[1:])
        hits = np.rint(self.score_at(middles) * self.samples)
        best = hits == hits.max()
        # Neighbouring pieces that are equally good make one interval.
        breaks = np.flatnonzero(np.diff(np.concatenate([[0], best.astype(int), [0]])))
        lows, highs = edges[breaks[::2]], edges[breaks[1::2]]
        widest = int((highs - lows).argmax())
        weight = 0.5 * (lows[widest] + highs[widest])
        return BestWeight(float(weight), float(lows[widest]), float(highs[widest]), float(hits.max() / self.samples))


def accuracy_steps(first_NC: np.ndarray, second_NC: np.ndarray, labels_N: np.ndarray) -> AccuracySteps:
    """Where in [0, 1] each sample is classified correctly by (1 - w) * first + w * second.

    Args:
        first_NC, second_NC: `[N, C]` class scores in one space.
        labels_N: `[N]` int classes.

    Source: for each wrong class c the margin of the label, (1 - w) * a_c + w * b_c with
    a_c = first[y] - first[c] and b_c likewise, must not be negative: a half-line of w. Their
    intersection is an interval. O(N C + N log N).
    """
    rows = np.arange(len(labels_N))
    first = np.asarray(first_NC, dtype=np.float64)
    second = np.asarray(second_NC, dtype=np.float64)
    if first.shape != second.shape or first.shape[:1] != labels_N.shape:
        raise ValueError(f"shapes differ: {first.shape}, {second.shape}, labels {labels_N.shape}")
    a = first[rows, labels_N][:, None] - first
    b = second[rows, labels_N][:, None] - second
    slope = b - a
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = np.where(slope != 0, -a / slope, 0.0)
    # np.argmax takes the first of equals, so a margin that is zero everywhere loses to an earlier class.
    earlier = np.arange(first.shape[1])[None, :] < labels_N[:, None]
    never = (slope == 0) & ((a < 0) | ((a == 0) & earlier))
    low = np.where(slope > 0, crossing, 0.0).max(axis=1)
    high = np.where(slope < 0, crossing, 1.0).min(axis=1)
    low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    correct = (low <= high) & ~never.any(axis=1)
    return AccuracySteps(np.sort(low[correct]), np.sort(high[correct]), len(labels_N))


def best_mse_weight(
    first: np.ndarray, second: np.ndarray, truth: np.ndarray, low: float = 0.0, high: float = 1.0
) -> BestWeight:
    """The weight in [low, high] with the least mean squared error; also the best for RMSE.

    Args:
        first, second, truth: arrays of one shape, pooled over all their elements.

    Source: the error is e + w * d with e = first - truth and d = second - first; its mean square is a
    parabola in w with its minimum at -sum(e d) / sum(d^2).
    """
    e = first.astype(np.float64) - truth
    d = second.astype(np.float64) - first
    curvature = float((d * d).sum())
    weight = 0.5 * (low + high) if curvature == 0 else float(np.clip(-(e * d).sum() / curvature, low, high))
    return BestWeight(weight, weight, weight, float(np.mean((e + weight * d) ** 2)))


def best_ccc_weight(
    first: np.ndarray, second: np.ndarray, truth: np.ndarray, low: float = 0.0, high: float = 1.0
) -> BestWeight:
    """The weight in [low, high] with the highest concordance correlation (Lin 1989), pooled.

    Args:
        first, second, truth: arrays of one shape, pooled over all their elements.

    Source: CCC(w) = (c0 + c1 w) / (q0 + q1 w + q2 w^2); its stationary points solve
    c1 q2 w^2 + 2 c0 q2 w + c0 q1 - c1 q0 = 0. The ends of the range are compared with them.
    """
    f, t = first.astype(np.float64).ravel(), truth.astype(np.float64).ravel()
    d = second.astype(np.float64).ravel() - f
    shift, drift = f.mean() - t.mean(), d.mean()
    f0, d0, t0 = f - f.mean(), d - drift, t - t.mean()
    c0, c1 = 2 * (f0 * t0).mean(), 2 * (d0 * t0).mean()
    q0 = (f0 * f0).mean() + (t0 * t0).mean() + shift**2
    q1 = 2 * ((f0 * d0).mean() + shift * drift)
    q2 = (d0 * d0).mean() + drift**2
    candidates = [low, high]
    for root in np.roots(np.array([c1 * q2, 2 * c0 * q2, c0 * q1 - c1 * q0], dtype=np.float64)):
        if abs(root.imag) < 1e-12 and low < root.real < high:
            candidates.append(float(root.real))

    def ccc(w: float) -> float:
        below = q0 + q1 * w + q2 * w * w
        return float((c0 + c1 * w) / below) if below > 0 else 0.0

    if q2 == 0:
        candidates = [0.5 * (low + high)]
    weight = max(candidates, key=ccc)
    return BestWeight(weight, weight, weight, ccc(weight))
