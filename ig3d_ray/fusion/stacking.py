"""Convex stacking: non-negative weights of least log-loss, regularized towards a simple ensemble where that helps."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ig3d_ray.evaluation.folds import stratified
from ig3d_ray.fusion.losses import FoldedLoss, Local, LogitLoss, MixtureLoss
from ig3d_ray.fusion.qp import minimize_quadratic

STRENGTHS = (0.01, 0.1, 1.0)
FREE = 1e-8
"""A minimal penalty, relevant only if the loss has no minimum: members that classify every sample correctly."""
LIMIT = 128
"""In larger pools, only the members that the optimum uses are fitted together."""
_ENTER = 16
_STEPS = 50
_HALVINGS = 30
_NOTHING = 1e-6
"""A mean loss that leaves nothing to improve."""
_CLOSE, _ROUGHLY = 1e-10, 1e-5
_NEAR = 1e-3
"""A step with an expected gain below this share of the loss is too short for the curvature to change."""


@dataclass(frozen=True)
class Stack:
    """A fitted stack.

    Attributes:
        weights: `[M]`, not negative.
        towards: the simple ensemble that they are drawn to, and how strongly; `FREE` for hardly at
            all.
        strength: of the regularization.
        sum_to_one: or of free scale.
        held_out_loss: mean log-loss of cross-fitting with these settings; what they were chosen by.
    """

    weights: np.ndarray
    towards: Literal["uniform", "best"]
    strength: float
    sum_to_one: bool
    held_out_loss: float


def stack_logits(
    outputs_MNC: np.ndarray, labels_N: np.ndarray, sum_to_one: bool = False, folds: int = 5, seed: int = 0
) -> Stack:
    """Stack logits (or log-probabilities): softmax of a weighted sum, of free scale or summing to one.

    Args:
        outputs_MNC: `[M, N, C]`, any floats.
        labels_N: `[N]` int.
        folds: of the cross-fitting that chooses target and strength.
        seed: of the folds.
    """
    fold = stratified(labels_N, min(folds, len(labels_N)), [seed, folds])
    if not sum_to_one:
        # Members are first scaled to one size, so that a simple ensemble is simple whatever their temperatures.
        sizes = _sizes(outputs_MNC)
        found = _stack(LogitLoss.of(outputs_MNC, labels_N, fold, sizes), None)
        if found.weights.any():
            return replace(found, weights=found.weights / sizes)
    # Where no member helps, weights of free scale are all zero; a sum of one still gives a fusion.
    return _stack(LogitLoss.of(outputs_MNC, labels_N, fold, np.ones(len(outputs_MNC))), 1.0)


def _sizes(outputs_MNC: np.ndarray) -> np.ndarray:
    """The spread of each member's logits within a sample, `[M]`; 1 for members whose logits are all equal."""
    sizes = np.ones(len(outputs_MNC))
    for i, member in enumerate(outputs_MNC):
        values = member.astype(np.float64)
        square = np.vdot(values, values)
        # Spread within samples: of all squares those that are not the sample's mean.
        within = square - np.square(values @ np.ones(values.shape[1])).sum() / values.shape[1]
        if within > 1e-12 * square:
            sizes[i] = (within / values.size) ** 0.5
    return sizes


def stack_probabilities(probabilities_MNC: np.ndarray, labels_N: np.ndarray, folds: int = 5, seed: int = 0) -> Stack:
    """Stack probabilities: a mixture, its weights summing to one."""
    fold = stratified(labels_N, min(folds, len(labels_N)), [seed, folds])
    loss = MixtureLoss.of(probabilities_MNC, labels_N, fold)
    return _stack(loss, 1.0)


def least_log_loss(outputs_MNC: np.ndarray, labels_N: np.ndarray, mixture: bool) -> np.ndarray:
    """The weights `[M]` of the least log-loss on these samples, not regularized; all zero where no member helps.

    Args:
        outputs_MNC: `[M, N, C]` logits, or probabilities of which a mixture is made.
        labels_N: `[N]` int.
        mixture: weights sum to one; otherwise they are of free scale.
    """
    members, fold = len(outputs_MNC), np.zeros(len(labels_N), dtype=np.int64)
    sizes = np.ones(members) if mixture else _sizes(outputs_MNC)
    whole = MixtureLoss.of(outputs_MNC, labels_N, fold) if mixture else LogitLoss.of(outputs_MNC, labels_N, fold, sizes)
    loss, uniform = whole.only(np.arange(members)), np.full(members, 1.0 / members)
    at = _At.of(loss, uniform)
    pull = FREE * float(np.trace(at.whole.hessian)) / members
    problem = _Problem(loss, 1.0 if mixture else None, uniform, pull)
    at = problem.solve(at, _CLOSE)
    return np.asarray(problem.step(at.whole, at.weights) / sizes)


def _stack(loss: LogitLoss | MixtureLoss, total: float | None) -> Stack:
    chosen = _worthwhile(loss, total)
    found, weights = _best_of_path(loss.only(chosen), total), np.zeros(loss.members)
    weights[chosen] = found.weights
    return replace(found, weights=weights)


def _worthwhile(loss: LogitLoss | MixtureLoss, total: float | None) -> np.ndarray:
    """The members to fit together, ascending: all, or in a large pool those that the optimum needs.

    Members enter a few at a time, those with the steepest gradient, until none would reduce the loss, which makes the
    optimum over those that have entered the optimum over all; or until there are `LIMIT`.
    """
    members = loss.members
    if members <= LIMIT:
        return np.arange(members)
    alone = loss.gradient(np.full(members, 1.0 / members))
    active = np.sort(np.argsort(alone, kind="stable")[:_ENTER])
    weights = np.full(len(active), 1.0 / len(active))
    while len(active) < LIMIT:
        within = loss.only(active)
        at = _Problem(within, total, np.zeros(len(active)), FREE).solve(_At.of(within, weights), _ROUGHLY)
        weights, local = at.weights, at.whole
        whole = np.zeros(members)
        whole[active] = weights
        promise = loss.gradient(whole)
        if total is not None:
            promise -= float(weights @ local.gradient)
        promise[active] = np.inf
        enters = np.argsort(promise, kind="stable")[:_ENTER]
        enters = enters[promise[enters] < -1e-5 * loss.sizes.sum()]
        if len(enters) == 0:
            break
        grown = np.sort(np.concatenate([active[weights > 0], enters]))
        if np.array_equal(grown, active):
            break
        weights, active = whole[grown], grown
    return active


@dataclass(frozen=True)
class _At:
    """Weights `[K]` and the loss there, fold by fold."""

    weights: np.ndarray
    folds: list[Local]

    @staticmethod
    def of(loss: FoldedLoss, weights: np.ndarray, near: "_At | None" = None) -> "_At":
        """The loss at weights, with the curvature of a place near them if one is given."""
        hessians = [local.hessian for local in near.folds] if near else [None] * len(loss.sizes)
        return _At(weights, [loss.local(weights, fold, hessian) for fold, hessian in enumerate(hessians)])

    @property
    def whole(self) -> Local:
        first, *others = self.folds
        for other in others:
            first = first + other
        return first


@dataclass(frozen=True)
class _Problem:
    """loss + pull / 2 * |w - target|^2 over w >= 0, summing to `total` if it is given."""

    loss: FoldedLoss
    total: float | None
    target: np.ndarray
    pull: float

    def step(self, local: Local, weights: np.ndarray) -> np.ndarray:
        """The next Newton iterate: the minimum of the quadratic model under the constraints."""
        hessian = local.hessian + self.pull * np.eye(len(weights))
        gradient = local.gradient + self.pull * (weights - self.target)
        return minimize_quadratic(hessian, gradient - hessian @ weights, self.total, start_K=weights)

    def value(self, local: Local, weights: np.ndarray) -> float:
        return local.value + 0.5 * self.pull * float(((weights - self.target) ** 2).sum())

    def solve(self, at: _At, close: float) -> _At:
        """The minimum, from a start near it or far from it, up to a share `close` of the loss."""
        for _ in range(_STEPS):
            local, weights = at.whole, at.weights
            before = self.value(local, weights)
            if before <= _NOTHING * float(self.loss.sizes.sum()):
                # Every sample is correct with high confidence: without a penalty the weights would grow without bound.
                return at
            goal = self.step(local, weights)
            slope = float((local.gradient + self.pull * (weights - self.target)) @ (goal - weights))
            if -slope <= close * (abs(before) + 1):
                return at
            share, near = 1.0, at if -slope <= _NEAR * abs(before) else None
            for _ in range(_HALVINGS):
                at = _At.of(self.loss, weights + share * (goal - weights), near)
                if self.value(at.whole, at.weights) <= before + 1e-4 * share * slope:
                    break
                share *= 0.5
        return at

    def held_out(self, at: _At) -> float:
        """The loss of each fold at weights fitted without it, in sum: one Newton step away from the fit of all.

        Leaving out a fold moves the minimum so little that one step reaches it up to the square of that; so judging
        a setting costs one pass over the samples, not a fit for each fold.
        """
        whole = at.whole
        steps = [self.step(whole - local, at.weights) for local in at.folds]
        return sum(self.loss.value(weights, fold) for fold, weights in enumerate(steps))


def _best_of_path(loss: FoldedLoss, total: float | None) -> Stack:
    """Every target and strength fitted on all samples, each judged by cross-fitting."""
    members, samples = loss.members, float(loss.sizes.sum())
    targets: dict[Literal["uniform", "best"], np.ndarray] = {
        "uniform": np.full(members, 1.0 / members),
        "best": np.eye(members)[int(loss.alone().argmin())],
    }
    at = _At.of(loss, targets["uniform"])
    size = float(np.trace(at.whole.hessian)) / members
    free = _Problem(loss, total, targets["uniform"], FREE * size)
    at = free.solve(at, _ROUGHLY)
    tried: list[tuple[float, float, Literal["uniform", "best"], _At]] = [(free.held_out(at), FREE, "uniform", at)]
    if total is None:
        # As large as the free weights are together: the penalty is on the weights' ratios, not on their scale.
        targets = {name: target * float(at.weights.sum()) for name, target in targets.items()}
    for name, target in targets.items():
        before, _, _, at = tried[0]
        for strength in STRENGTHS:
            problem = _Problem(loss, total, target, strength * size)
            at = problem.solve(at, _ROUGHLY)
            held_out = problem.held_out(at)
            tried.append((held_out, strength, name, at))
            # A stronger penalty is already worse: the best strength has been passed.
            if held_out > before:
                break
            before = held_out
    held_out, strength, name, at = min(tried, key=lambda one: one[:2])
    problem = _Problem(loss, total, targets[name], strength * size)
    at = problem.solve(_At.of(loss, at.weights), _CLOSE)
    # A final Newton step, without another evaluation of the loss.
    weights = problem.step(at.whole, at.weights)
    return Stack(weights, name, strength, total is not None, held_out / samples)
