"""Convex quadratic programs over non-negative weights, and over simplices: a subproblem of the other solvers."""

from dataclasses import dataclass

import numpy as np

_RIDGE = 1e-12
_ROUNDS_PER_WEIGHT = 50


def minimize_quadratic(
    hessian_KK: np.ndarray,
    gradient_K: np.ndarray,
    total: float | None = 1.0,
    groups_K: np.ndarray | None = None,
    start_K: np.ndarray | None = None,
) -> np.ndarray:
    """The u >= 0 with the least u'Hu / 2 + g'u.

    Args:
        hessian_KK: `[K, K]` symmetric, positive semidefinite.
        gradient_K: `[K]`.
        total: what the weights of each group sum to; None leaves their scale free.
        groups_K: `[K]` int: which group each weight belongs to, from 0 on; one group by default.
        start_K: `[K]` weights that are allowed, near the minimum: it is found sooner from there.

    Returns:
        `[K]`. Where many are equally good (members that are equal), one of them.

    Raises:
        ValueError: shapes differ, or a number is not finite.

    An active-set method (Lawson and Hanson 1974, with sums): weights enter one at a time, always the one whose
    gradient is steepest, and leave when they would become negative; it ends where the conditions of Karush,
    Kuhn and Tucker hold, which for a convex problem is the global optimum.
    """
    count = len(gradient_K)
    if hessian_KK.shape != (count, count):
        raise ValueError(f"hessian {hessian_KK.shape} for a gradient of {count}")
    if not (np.isfinite(hessian_KK).all() and np.isfinite(gradient_K).all()):
        raise ValueError("a quadratic with numbers that are not finite")
    scale = max(float(np.abs(np.diagonal(hessian_KK)).max()), 1e-300)
    program = _Program(
        # A negligible ridge term gives equal members a unique solution instead of a singular system.
        hessian_KK / scale + _RIDGE * np.eye(count),
        gradient_K / scale,
        total,
        np.zeros(count, dtype=int) if groups_K is None else groups_K,
    )
    if start_K is not None:
        found, before = program.minimum(start_K), program.value(start_K)
        # Where rounding has left no convex problem, a solution may lie above its start.
        if program.value(found) <= before + 1e-12 * (1 + abs(before)):
            return found
    return program.minimum(program.vertex())


@dataclass(frozen=True)
class _Program:
    """The least u'Hu / 2 + g'u over u >= 0, where each group of weights sums to `total` if it is given."""

    hessian: np.ndarray
    gradient: np.ndarray
    total: float | None
    groups: np.ndarray

    def value(self, u: np.ndarray) -> float:
        return float(0.5 * u @ self.hessian @ u + self.gradient @ u)

    def vertex(self) -> np.ndarray:
        """Allowed weights: nothing, or in each group its best weight alone."""
        u = np.zeros(len(self.gradient))
        if self.total is not None:
            alone = 0.5 * self.total * self.total * np.diagonal(self.hessian) + self.total * self.gradient
            for group in np.unique(self.groups):
                members = np.flatnonzero(self.groups == group)
                u[members[alone[members].argmin()]] = self.total
        return u

    def minimum(self, u: np.ndarray) -> np.ndarray:
        """The minimum, from allowed weights; those above zero are passive at first: not held there."""
        count, passive = len(u), u > 0
        tolerance = 1e-11 * (1 + float(np.abs(self.gradient).max()))
        enters, useless = -1, np.zeros(count, dtype=bool)
        for _ in range(_ROUNDS_PER_WEIGHT * count):
            before = u
            u, passive, multipliers = self._settle(u, passive)
            # Beside a member that it nearly equals, rounding lets a weight enter that leaves again at zero, over and
            # over: it is not asked again before the others have changed.
            if np.array_equal(u, before):
                useless[enters] |= enters >= 0 and not passive[enters]
            else:
                useless[:] = False
            reduced = self.hessian @ u + self.gradient - (0.0 if self.total is None else multipliers[self.groups])
            reduced[passive | useless] = np.inf
            enters = int(reduced.argmin())
            if not reduced[enters] < -tolerance:
                break
            passive[enters] = True
        return u

    def _settle(self, u: np.ndarray, passive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The minimum over the passive weights, after removing those that would become negative; which are passive
        then, and the multipliers of the sums."""
        while True:
            free, multipliers = np.flatnonzero(passive), np.zeros(int(self.groups.max()) + 1)
            if len(free) == 0:
                return np.zeros_like(u), passive, multipliers
            target = np.zeros_like(u)
            if self.total is None:
                target[free] = np.linalg.solve(self.hessian[free[:, None], free], -self.gradient[free])
            else:
                target[free], multipliers = self._with_sums(free, self.total)
            falling = free[target[free] <= 0]
            if len(falling) == 0:
                return target, passive, multipliers
            # As far as the first weight that reaches zero. One that has just entered at zero leaves again at once.
            steps = u[falling] / np.maximum(u[falling] - target[falling], 1e-300)
            u = u + steps.min() * (target - u)
            leaves = falling[steps <= steps.min()]
            passive = passive.copy()
            passive[leaves] = False
            u[~passive] = 0.0

    def _with_sums(self, free: np.ndarray, total: float) -> tuple[np.ndarray, np.ndarray]:
        """The minimum over the free weights with each group's sum held; and the multipliers of the sums."""
        count, sums = len(free), int(self.groups.max()) + 1
        system, right = np.zeros((count + sums, count + sums)), np.full(count + sums, total)
        system[:count, :count] = self.hessian[free[:, None], free]
        at = count + self.groups[free]
        system[at, np.arange(count)] = system[np.arange(count), at] = 1.0
        right[:count] = -self.gradient[free]
        solved = np.linalg.solve(system, right)
        return solved[:count], -solved[count:]
