"""A linear correction of fused scores: what each class score of each member adds to the score of every class.

Static weights take a member's classes as they are. A member that confuses two classes, or that is right about one class
only, needs a weight for each pair of its class and a fused one: the matrices of multinomial logistic regression on the
members' outputs (stacking as in Wolpert 1992; LeBlanc and Tibshirani 1996), here as a difference from the static
fusion, towards which they are shrunk.
"""

from typing import Any

import numpy as np
from pydantic import ConfigDict, model_validator

from ig3d_ray.types import Frozen


class Correction(Frozen):
    """What is added to the fused scores of M members, of C classes."""

    model_config = ConfigDict(**Frozen.model_config | {"allow_inf_nan": False})

    matrices: tuple[tuple[tuple[float, ...], ...], ...]
    """`[M, C, C]`: for each of a member's class scores, what it adds to the score of each class."""
    bias: tuple[float, ...]
    """`[C]`: added to every sample."""

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Correction":
        classes = len(self.bias)
        if not self.matrices or any(
            len(one) != classes or any(len(row) != classes for row in one) for one in self.matrices
        ):
            raise ValueError(f"correction: matrices of another size than {classes} x {classes}")
        return self

    def added(self, values_MNC: Any, xp: Any = np) -> Any:
        """What is added to the fused scores, `[N, C]`.

        Args:
            values_MNC: `[M, N, C]` members' outputs in the space in which they are fused.
            xp: `numpy` or `torch`.
        """
        found = xp.asarray(self.bias, dtype=values_MNC.dtype)
        for member, matrix in enumerate(self.matrices):
            found = found + xp.matmul(values_MNC[member], xp.asarray(matrix, dtype=values_MNC.dtype))
        return found
