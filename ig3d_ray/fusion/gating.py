"""Weights over the sample: a member counts more or less by how confident it and the others are, and where they are
given, by parameters of the face such as its pose.

The weight of member m on a sample is its static weight times exp(slopes_m . B), with B the confidences of the gated
members and some parameters in a piecewise linear basis that is zero at their means: each one standardized, and what it
exceeds each knot by. A confidence is the log odds of a member's top class, in its outputs as they are, before
temperatures and floors, which would make them equal where a member is often wrong.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ConfigDict, model_validator

from ig3d_ray.types import Frozen

STEEPEST = 6.0
"""A weight changes at most by a factor of exp(6)."""
FARTHEST = 4.0
"""Standardized inputs beyond this count as this."""
_LEAST_ODDS = 1e-12


class Gate(Frozen):
    """How the weights of K members depend on their confidences and on S parameters, which are the I = K + S inputs."""

    model_config = ConfigDict(**Frozen.model_config | {"allow_inf_nan": False})

    members: tuple[int, ...]
    """`[K]`: the gated members, by their places in the ensemble."""
    center: tuple[float, ...]
    """`[I]`: the mean of each input where the gate was fitted, confidences first."""
    scale: tuple[float, ...]
    """`[I]`: its standard deviation there."""
    knots: tuple[tuple[float, ...], ...]
    """`[I, Q]`: standardized inputs from which on the slope is another."""
    slopes: tuple[tuple[float, ...], ...]
    """`[K, I * (1 + Q)]`: what each input, and its excess over each knot, adds to the logarithm of each weight."""
    representation: str | None = None
    """Whose parameters are inputs; None for confidences alone."""
    parameters: tuple[int, ...] = ()
    """`[S]`: which of them, by their places in the full vector."""

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Gate":
        count, inputs = len(self.members), len(self.members) + len(self.parameters)
        per_input = (self.center, self.scale, self.knots)
        basis = {len(row) + 1 for row in self.knots}
        wide = {len(row) for row in self.slopes}
        if count == 0 or len(set(self.members)) < count or len(self.slopes) != count:
            raise ValueError(f"gate: sizes for other than its {count} members")
        if any(len(one) != inputs for one in per_input):
            raise ValueError(f"gate: sizes for other than its {inputs} inputs")
        if len(basis) != 1 or wide != {inputs * basis.pop()} or not min(self.members) >= 0 or not min(self.scale) > 0:
            raise ValueError("gate: knots or slopes of another size, or a member or a scale that is none")
        named = self.representation is not None
        if named != bool(self.parameters) or len(set(self.parameters)) < len(self.parameters):
            raise ValueError("gate: parameters without a representation, or one without parameters, or one twice")
        if named and not min(self.parameters) >= 0:
            raise ValueError("gate: a parameter that is none")
        return self

    def weights(
        self, logits_MNC: Any, weights_M: Any, xp: Any = np, parameters: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """The weight of each member on each sample, M of `[N, 1]`, or the static one of a member without a gate.

        Args:
            logits_MNC: `[M, N, C]` members' outputs as they are.
            weights_M: `[M]` static weights.
            xp: `numpy` or `torch`.
            parameters: representation -> `[N, W]` full vectors.

        Raises:
            ValueError: the gate's representation is not among them.
        """
        confidence = confidences(logits_MNC, xp)
        inputs = [confidence[member] for member in self.members]
        if self.representation is not None:
            if parameters is None or self.representation not in parameters:
                raise ValueError(f"gate: takes {self.representation} parameters as input, which are not given")
            inputs += [parameters[self.representation][:, place] for place in self.parameters]
        columns: list[Any] = []
        for one, center, scale, knots in zip(inputs, self.center, self.scale, self.knots, strict=True):
            columns += basis_of((one - center) / scale, knots, xp)
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


def basis_of(standard: Any, knots: Any, xp: Any = np) -> list[Any]:
    """A standardized input, and its excess over each knot; all zero at the mean.

    Args:
        standard: `[N]`.
        knots: `[Q]`.
        xp: `numpy` or `torch`.
    """
    near = xp.clip(standard, -FARTHEST, FARTHEST)
    return [near, *(xp.where(near > knot, near - knot, 0.0) - max(-float(knot), 0.0) for knot in knots)]
