"""The weights of three members with the highest accuracy that any weights have, and the proof: branch and bound.

A sample is right where its label's fused score is the largest: on the simplex of weights a convex polygon. Of a
triangle of weights it is known which samples are right all over it, which nowhere, and which on a part; the first and
the last bound what any weights in it can score. Triangles whose bound is below the best score found so far are left,
others are halved, and where few lines cross one, each of the regions that they form is tried. On the simplex's own
sides, where ties may be that no region beside them has, the exact weights of pairs are the best.
"""

import heapq
import itertools
from dataclasses import dataclass

import numpy as np

from ig3d_ray.evaluation.metrics import TIE, top_shares
from ig3d_ray.fusion.pair_weight import best_weight
from ig3d_ray.types import Task

LINES_AT_ONCE = 48
"""Lines that cross a triangle, from which on its regions are tried one by one."""
SAME_LINE, SMALL = 1e-12, 1e-6
CORNERS = np.eye(3)


@dataclass(frozen=True)
class Optimum:
    """The best weights.

    Attributes:
        weights: `[3]`, non-negative, that sum to 1.
        right: samples that are right with them; one whose label ties with k - 1 classes counts 1 / k.
        triangles: that were looked at.
        proven: whether no other weights are better; False if that took more triangles than allowed.
        bound: samples that can be right with any weights, at most.
    """

    weights: np.ndarray
    right: float
    triangles: int
    proven: bool
    bound: float


def best_of_three(outputs_3NC: np.ndarray, labels_N: np.ndarray, at_most: int = 200_000) -> Optimum:
    """The exact optimum of accuracy over the weights of three members.

    Args:
        outputs_3NC: `[3, N, C]`, in the space in which they are averaged.
        labels_N: `[N]` int, in [0, C).
        at_most: triangles to look at.
    """
    outputs = np.asarray(outputs_3NC, dtype=np.float64)
    samples, best = _Samples.of(outputs, labels_N), _Best()
    best.try_points(samples, CORNERS.mean(axis=0, keepdims=True), 0.0)
    _try_sides(best, outputs, labels_N)
    counter = itertools.count()
    whole = _Triangle.of(CORNERS, samples, 0.0)
    waiting = [(-whole.bound, next(counter), whole)]
    seen = 0
    while waiting and -waiting[0][0] > best.right + SMALL and seen < at_most:
        triangle = heapq.heappop(waiting)[2]
        seen += 1
        lines = triangle.lines()
        if len(lines) <= LINES_AT_ONCE:
            best.try_points(triangle.open, _one_of_each_region(triangle.corners, lines), triangle.right)
            continue
        for half in triangle.halves():
            best.try_points(half.open, half.corners.mean(axis=0, keepdims=True), half.right)
            if half.bound > best.right + SMALL:
                heapq.heappush(waiting, (-half.bound, next(counter), half))
    bound = max([best.right, *(-one[0] for one in waiting[:1])])
    return Optimum(best.weights, best.right, seen, bound <= best.right + SMALL, bound)


def _try_sides(best: "_Best", outputs: np.ndarray, labels: np.ndarray) -> None:
    """The exact weights of each pair, and each member alone."""
    for first, second in ((0, 1), (0, 2), (1, 2)):
        pair = best_weight(Task.EXPRESSION, outputs[first], outputs[second], labels, "accuracy")
        for weight in (0.0, 1.0, pair.weight):
            point = np.zeros(3)
            point[[first, second]] = 1 - weight, weight
            fused = np.einsum("m,mnc->nc", point, outputs)
            best.take(float(top_shares(fused)[np.arange(len(labels)), labels].sum()), point)


@dataclass(frozen=True)
class _Samples:
    """Samples: `[N, 3, C - 1]`, by how much each member's score of the label is above those of the other classes;
    `[N]`, what each counts where it is right; and the difference up to which fused scores tie."""

    margins: np.ndarray
    shares: np.ndarray
    tie: float

    @staticmethod
    def of(outputs: np.ndarray, labels: np.ndarray) -> "_Samples":
        rows, classes = np.arange(len(labels)), outputs.shape[2]
        above = (outputs[:, rows, labels][:, :, None] - outputs).transpose(1, 0, 2)
        others = np.arange(classes)[None] != labels[:, None]
        margins = above[others[:, None, :].repeat(3, axis=1)].reshape(len(labels), 3, classes - 1)
        ties = (margins == 0).all(axis=1)
        # Classes that tie with the label for all weights take their share, and are never above it.
        tie = 10 * TIE * float(np.abs(outputs).max(initial=0.0))
        return _Samples(np.where(ties[:, None, :], 1.0 + tie, margins), 1.0 / (1 + ties.sum(axis=1)), tie)

    def only(self, which: np.ndarray) -> "_Samples":
        """Some of them."""
        return _Samples(self.margins[which], self.shares[which], self.tie)


class _Best:
    """The best weights so far."""

    def __init__(self) -> None:
        self.right, self.weights = -1.0, CORNERS.mean(axis=0)

    def take(self, right: float, weights: np.ndarray) -> None:
        """Take weights if they are better."""
        if right > self.right + SMALL:
            self.right, self.weights = right, weights

    def try_points(self, samples: _Samples, points: np.ndarray, surely: float) -> None:
        """Score weights `[P, 3]` on samples that are open, beside those that are surely right."""
        if not len(points):
            return
        lowest = np.einsum("nmc,pm->pnc", samples.margins, points).min(axis=2, initial=np.inf)
        right = surely + (lowest > samples.tie) @ samples.shares
        self.take(float(right.max()), points[int(right.argmax())])


@dataclass(frozen=True)
class _Triangle:
    """A triangle of weights: its corners `[3, 3]`, the samples that are right on a part of it, and what those count
    that are right all over it."""

    corners: np.ndarray
    open: _Samples
    right: float

    @staticmethod
    def of(corners: np.ndarray, samples: _Samples, right: float) -> "_Triangle":
        """A part of a triangle, in which fewer samples are open."""
        at_corners = np.einsum("nmc,km->nkc", samples.margins, corners)
        everywhere = (at_corners > 0).all(axis=(1, 2))
        nowhere = (at_corners <= 0).all(axis=1).any(axis=1)
        surely = right + float(samples.shares[everywhere].sum())
        return _Triangle(corners, samples.only(~everywhere & ~nowhere), surely)

    @property
    def bound(self) -> float:
        """Samples that can be right with weights in it, at most."""
        return self.right + float(self.open.shares.sum())

    def halves(self) -> "tuple[_Triangle, _Triangle]":
        """Halved at its longest side."""
        a, b, c = self.corners
        sides = [(np.abs(a - b).sum(), a, b, c), (np.abs(b - c).sum(), b, c, a), (np.abs(c - a).sum(), c, a, b)]
        _, first, second, apex = max(sides, key=lambda side: side[0])
        middle = (first + second) / 2
        return (
            _Triangle.of(np.stack([first, middle, apex]), self.open, self.right),
            _Triangle.of(np.stack([middle, second, apex]), self.open, self.right),
        )

    def lines(self) -> np.ndarray:
        """`[L, 3]`: the lines on which a label ties with another class, of those that cross the triangle."""
        flat = self.open.margins.transpose(0, 2, 1).reshape(-1, 3)
        at_corners = flat @ self.corners.T
        return flat[(at_corners > 0).any(axis=1) & (at_corners < 0).any(axis=1)]


def _one_of_each_region(corners: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """`[P, 3]`: a point in each region that lines divide a triangle into.

    Each region has a side on one of the lines. So each line is cut where others cross it, and from the middle of each
    piece a step is made to either side, half as far as to the next line.
    """
    if not len(lines):
        return corners.mean(axis=0, keepdims=True)
    # In the plane: a point is corner 0 + s (corner 1 - corner 0) + t (corner 2 - corner 0).
    values = lines @ corners.T
    plane = np.column_stack([values[:, 1] - values[:, 0], values[:, 2] - values[:, 0], values[:, 0]])
    sides = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, -1.0, 1.0]])
    everything = np.concatenate([plane, sides])
    length = np.hypot(everything[:, 0], everything[:, 1])
    everything = everything[length > 0] / length[length > 0, None]
    points = []
    for line in everything[: len(everything) - 3]:
        normal, along = line[:2], np.array([-line[1], line[0]])
        origin = -line[2] * normal
        slope, offset = everything[:, :2] @ along, everything[:, :2] @ origin + everything[:, 2]
        crosses = np.abs(slope) > SAME_LINE
        where = np.unique(-offset[crosses] / slope[crosses])
        middles = origin + ((where[1:] + where[:-1]) / 2)[:, None] * along
        middles = middles[((middles @ sides[:, :2].T + sides[:, 2]) > 0).all(axis=1)]
        far = np.abs(middles @ everything[:, :2].T + everything[:, 2])
        step = np.where(far > SAME_LINE, far, np.inf).min(axis=1, initial=np.inf)[:, None] / 2
        points += [middles + step * normal, middles - step * normal]
    found = np.concatenate(points)
    return np.column_stack([1 - found.sum(axis=1), found]) @ corners
