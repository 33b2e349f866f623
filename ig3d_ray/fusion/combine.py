"""Late fusion: the outputs of several members on the same samples, combined sample by sample."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

# Its parts are loaded when they are used: every process that Ray starts imports this, and few of them fuse.
import scipy
from pydantic import model_validator

from ig3d_ray.types import Frozen, Task

Strategy = Literal["max", "min", "mean", "weighted"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Space = Literal["logits", "log_probabilities", "probabilities"]
SPACES: tuple[Space, ...] = get_args(Space)


def fuse(strategy: Strategy, outputs_MNC: np.ndarray, weights_M: np.ndarray | None = None) -> np.ndarray:
    """Combine members' outputs.

    Args:
        strategy: `max` and `min` take each column's extreme over the members, `mean` averages,
            `weighted` sums with weights: the late fusions of Ig3D.
        outputs_MNC: `[M, N, C]` class scores in one space, or `[M, N, 2]` valence and arousal.
        weights_M: `[M]`, or `[M, C]` where each column has weights of its own; for `weighted` only.

    Returns:
        `[N, C]` float64. Each row depends on that row of the members alone.

    Raises:
        ValueError: the outputs are not three-dimensional, or weights are missing, superfluous or of
            another length. Nothing is ever broadcast: the paper's code took one sample's logits for
            a whole batch that way.
    """
    outputs_MNC = np.asarray(outputs_MNC, dtype=np.float64)
    if outputs_MNC.ndim != 3 or outputs_MNC.shape[0] == 0:
        raise ValueError(f"outputs must be [members, samples, columns], got shape {outputs_MNC.shape}")
    if (strategy == "weighted") != (weights_M is not None):
        raise ValueError(f"strategy {strategy!r} {'needs' if weights_M is None else 'takes no'} weights")
    if strategy == "max":
        return outputs_MNC.max(axis=0)
    if strategy == "min":
        return outputs_MNC.min(axis=0)
    if strategy == "mean":
        weights_M = np.full(outputs_MNC.shape[0], 1.0 / outputs_MNC.shape[0])
    elif strategy != "weighted":
        raise ValueError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    weights_M = np.asarray(weights_M, dtype=np.float64)
    if weights_M.shape not in (outputs_MNC.shape[:1], outputs_MNC.shape[::2]):
        raise ValueError(f"{outputs_MNC.shape[0]} members but weights of shape {weights_M.shape}")
    fused = weights_M[0] * outputs_MNC[0]
    for weight, output in zip(weights_M[1:], outputs_MNC[1:], strict=True):
        fused += weight * output
    return np.asarray(fused)


def to_space(logits_MNC: np.ndarray, space: Space) -> np.ndarray:
    """Raw class scores `[..., C]` carried into a space, float64, same shape.

    A weighted sum of log-probabilities has the same top class as that of logits: they differ by one
    number per sample. Maximum and minimum do not.
    """
    logits_MNC = np.asarray(logits_MNC, dtype=np.float64)
    if space == "probabilities":
        return np.asarray(scipy.special.softmax(logits_MNC, axis=-1))
    if space == "log_probabilities":
        return np.asarray(scipy.special.log_softmax(logits_MNC, axis=-1))
    return logits_MNC


def into_space(outputs_MNC: np.ndarray, space: Space, temperatures: Sequence[float] | None, task: Task) -> np.ndarray:
    """Members' outputs where they are fused, float64: logits over their temperatures, carried into the space."""
    values = np.asarray(outputs_MNC, dtype=np.float64)
    if task == "va":
        return values
    if temperatures is not None:
        values = values / np.asarray(temperatures)[:, None, None]
    return to_space(values, space)


class Fusion(Frozen):
    """How members' outputs are combined: `strategy` None for a single member, weights for `weighted` only."""

    strategy: Strategy | None
    space: Space
    weights: tuple[float, ...] | None
    """Of each member; None also where `weights_by_column` are given."""
    weights_by_column: tuple[tuple[float, ...], ...] | None = None
    """Of each member, one weight for each class, or for valence and arousal."""
    temperatures: tuple[float, ...] | None = None
    """What each member's logits are divided by before anything else."""
    equally_good_weight_3d: tuple[float, float] | None = None
    """The interval around the 3D weight in which the selection score is the same."""

    @model_validator(mode="after")
    def _weights_exactly_when_weighted(self) -> "Fusion":
        both = self.weights is not None and self.weights_by_column is not None
        given = self.weights if self.weights is not None else self.weights_by_column
        if both or (self.strategy == "weighted") != (given is not None):
            raise ValueError(f"strategy {self.strategy!r} with weights {given}{', twice' if both else ''}")
        return self

    def apply(self, outputs_MNC: np.ndarray, task: Task) -> np.ndarray:
        """Members' outputs `[M, N, C]` to fused outputs `[N, C]`; valence and arousal have no space."""
        values = into_space(outputs_MNC, self.space, self.temperatures, task)
        if self.strategy is None:
            if len(values) != 1:
                raise ValueError(f"no strategy for {len(values)} members")
            return np.asarray(values[0])
        weights = self.weights if self.weights is not None else self.weights_by_column
        return fuse(self.strategy, values, None if weights is None else np.asarray(weights))
