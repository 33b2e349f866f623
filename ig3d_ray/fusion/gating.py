"""Weights over the sample: a member counts more or less by how confident it and the others are.

The weight of member m on a sample is its static weight times exp(slopes_m . B), with B the confidences of the gated
members in a piecewise linear basis that is zero at their means: the log odds of each one's top class, standardized, and
what they exceed each knot by. Confidences are those of the members' outputs as they are, before temperatures and
floors, which would make them equal where a member is often wrong.
"""

from typing import Any

import numpy as np
from pydantic import ConfigDict, model_validator

from ig3d_ray.types import Frozen

STEEPEST = 6.0
"""A weight changes at most by a factor of exp(6)."""
FARTHEST = 4.0
"""Standardized confidences beyond this count as this."""
_LEAST_ODDS = 1e-12


class Gate(Frozen):
    """How the weights of some members depend on their confidences; K members, Q knots."""

    model_config = ConfigDict(**Frozen.model_config | {"allow_inf_nan": False})

    members: tuple[int, ...]
    """`[K]`: the gated members, by their places in the ensemble."""
    center: tuple[float, ...]
    """`[K]`: each one's mean confidence where the gate was fitted."""
    scale: tuple[float, ...]
    """`[K]`: its standard deviation there."""
    knots: tuple[tuple[float, ...], ...]
    """`[K, Q]`: standardized confidences from which on the slope is another."""
    slopes: tuple[tuple[float, ...], ...]
    """`[K, K * (1 + Q)]`: what each confidence, and its excess over each knot, adds to the logarithm of each weight."""

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Gate":
        count = len(self.members)
        per_member = (self.center, self.scale, self.knots, self.slopes)
        basis = {len(row) + 1 for row in self.knots}
        wide = {len(row) for row in self.slopes}
        if count == 0 or len(set(self.members)) < count or any(len(one) != count for one in per_member):
            raise ValueError(f"gate: sizes for other than its {count} members")
        if len(basis) != 1 or wide != {count * basis.pop()} or not min(self.members) >= 0 or not min(self.scale) > 0:
            raise ValueError("gate: knots or slopes of another size, or a member or a scale that is none")
        return self

    def weights(self, logits_MNC: Any, weights_M: Any, xp: Any = np) -> list[Any]:
        """The weight of each member on each sample, M of `[N, 1]`, or the static one of a member without a gate.

        Args:
            logits_MNC: `[M, N, C]` members' outputs as they are.
            weights_M: `[M]` static weights.
            xp: `numpy` or `torch`.
        """
        confidence = confidences(logits_MNC, xp)
        columns: list[Any] = []
        for place, member in enumerate(self.members):
            one = (confidence[member] - self.center[place]) / self.scale[place]
            columns += basis_of(one, self.knots[place], xp)
        found = list(weights_M)
        for place, member in enumerate(self.members):
            change = sum(slope * column for slope, column in zip(self.slopes[place], columns, strict=True))
            found[member] = (weights_M[member] * xp.exp(xp.clip(change, -STEEPEST, STEEPEST)))[:, None]
        return found


def confidences(logits_MNC: Any, xp: Any = np) -> Any:
    """The log odds of each member's top class, `[M, N]`.

    Args:
        logits_MNC: `[M, N, C]`.
        xp: `numpy` or `torch`.
    """
    below = logits_MNC - xp.amax(logits_MNC, -1)[..., None]
    # The top class itself is left out, not subtracted from a sum with the others: single precision is then enough.
    ties = xp.sum(xp.where(below < 0, 0.0, 1.0), -1) - 1.0
    others = xp.sum(xp.where(below < 0, xp.exp(below), 0.0), -1) + ties
    return -xp.log(xp.where(others > _LEAST_ODDS, others, _LEAST_ODDS))


def basis_of(confidence: Any, knots: Any, xp: Any = np) -> list[Any]:
    """A standardized confidence, and its excess over each knot; all zero at the mean.

    Args:
        confidence: `[N]`.
        knots: `[Q]`.
        xp: `numpy` or `torch`.
    """
    near = xp.clip(confidence, -FARTHEST, FARTHEST)
    return [near, *(xp.where(near > knot, near - knot, 0.0) - max(-float(knot), 0.0) for knot in knots)]
