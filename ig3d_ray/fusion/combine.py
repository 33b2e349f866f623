"""Late fusion applied: members' outputs on the same samples, combined sample by sample.

The one definition of every fusion, for NumPy arrays, torch tensors and the ONNX graphs that torch exports: functions
that take `xp` compute with that namespace, `numpy` or `torch`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from ig3d_ray.fusion.correction import Correction
from ig3d_ray.fusion.gating import Gate
from ig3d_ray.types import Frozen, Task

Strategy = Literal["max", "min", "mean", "weighted"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Space = Literal["logits", "log_probabilities", "probabilities"]
SPACES: tuple[Space, ...] = get_args(Space)
TINY = 1e-30
LISTED_DECIMALS, ROW_DECIMALS = 4, 3


def softmax(scores: Any, xp: Any = np) -> Any:
    """Scores `[..., C]` as probabilities, same shape."""
    likely = xp.exp(scores - xp.amax(scores, -1)[..., None])
    return likely / xp.sum(likely, -1)[..., None]


def log_softmax(scores: Any, xp: Any = np) -> Any:
    """Scores `[..., C]` as logarithms of probabilities, same shape."""
    shifted = scores - xp.amax(scores, -1)[..., None]
    return shifted - xp.log(xp.sum(xp.exp(shifted), -1))[..., None]


def to_space(logits: Any, space: Space, xp: Any = np) -> Any:
    """Raw class scores in the space in which they are combined.

    A weighted sum of log-probabilities has the same top class as that of logits: they differ by one number per
    sample. Maximum and minimum do not.

    Args:
        logits: `[..., C]` raw class scores.
        space: where they are combined.
        xp: `numpy` or `torch`.

    Returns:
        The same shape and type.
    """
    if space == "probabilities":
        return softmax(logits, xp)
    return log_softmax(logits, xp) if space == "log_probabilities" else logits


def with_floors(logits_MNC: Any, floors_M: Any, xp: Any = np) -> Any:
    """Logarithms of members' probabilities, each mixed with a share of the uniform distribution.

    Args:
        logits_MNC: `[M, N, C]`, over their temperatures.
        floors_M: `[M]` shares in 0 .. 1, above 0.
        xp: `numpy` or `torch`.

    Returns:
        The same shape; no value is below log(floor / C).
    """
    floors = floors_M[:, None, None]
    return xp.log((1 - floors) * softmax(logits_MNC, xp) + floors / logits_MNC.shape[-1])


def combine(strategy: Strategy, outputs_MNC: Any, weights: Any = None, xp: Any = np) -> Any:
    """Combine members' outputs (Ig3D, section 4.3); arguments are not checked, see `fuse`.

    Args:
        strategy: `max` and `min` take each column's extreme over the members, `mean` averages, `weighted` sums.
        outputs_MNC: `[M, N, C]`.
        weights: `[M]` or `[M, C]`, for `weighted`.
        xp: `numpy` or `torch`.

    Returns:
        `[N, C]`. Each row depends on that row of the members alone.
    """
    if strategy == "max":
        return xp.amax(outputs_MNC, 0)
    if strategy == "min":
        return xp.amin(outputs_MNC, 0)
    if strategy == "mean":
        weights = [1.0 / len(outputs_MNC)] * len(outputs_MNC)
    fused = weights[0] * outputs_MNC[0]
    for member in range(1, len(outputs_MNC)):
        fused = fused + weights[member] * outputs_MNC[member]
    return fused


def fuse(strategy: Strategy, outputs_MNC: np.ndarray, weights_M: np.ndarray | None = None) -> np.ndarray:
    """Combine members' outputs, after checking that they belong together.

    Args:
        strategy: as in `combine`.
        outputs_MNC: `[M, N, C]` class scores in one space, or `[M, N, 2]` valence and arousal.
        weights_M: `[M]`, or `[M, C]` where each column has weights of its own; for `weighted` only.

    Returns:
        `[N, C]` float64.

    Raises:
        ValueError: the outputs are not three-dimensional, the strategy is unknown, or weights are missing,
            superfluous or of another length. Nothing is ever broadcast: the paper's code took one sample's logits
            for a whole batch that way.
    """
    outputs_MNC = np.asarray(outputs_MNC, dtype=np.float64)
    if outputs_MNC.ndim != 3 or outputs_MNC.shape[0] == 0:
        raise ValueError(f"outputs must be [members, samples, columns], got shape {outputs_MNC.shape}")
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    if (strategy == "weighted") != (weights_M is not None):
        raise ValueError(f"strategy {strategy!r} {'needs' if weights_M is None else 'takes no'} weights")
    if weights_M is not None:
        weights_M = np.asarray(weights_M, dtype=np.float64)
        if weights_M.shape not in (outputs_MNC.shape[:1], outputs_MNC.shape[::2]):
            raise ValueError(f"{outputs_MNC.shape[0]} members but weights of shape {weights_M.shape}")
    return np.asarray(combine(strategy, outputs_MNC, weights_M))


def into_space(
    outputs_MNC: np.ndarray,
    space: Space,
    temperatures: Sequence[float] | None,
    task: Task,
    floors: Sequence[float] | None = None,
) -> np.ndarray:
    """Members' outputs in the space in which they are fused: logits over their temperatures, `with_floors` where there
    are any, then `to_space`.

    Args:
        outputs_MNC: `[M, N, C]` logits, or `[M, N, 2]` valence and arousal, which have one space only.
        space: where they are combined.
        temperatures: of each member; None for all 1.
        task: what is predicted.
        floors: of each member; None for none.

    Returns:
        The same shape, float64.
    """
    values = np.asarray(outputs_MNC, dtype=np.float64)
    if not task.has_classes:
        return values
    if temperatures is not None:
        values = values / np.asarray(temperatures)[:, None, None]
    if floors is not None:
        values = with_floors(values, np.asarray(floors))
    return np.asarray(to_space(values, space))


class Fusion(Frozen):
    """How members' outputs are combined: `strategy` None for a single member, weights for `weighted` only."""

    strategy: Strategy | None
    """`max`, `min`, `mean` or `weighted`; None for a single member."""
    space: Space
    """Where class scores are combined."""
    weights: tuple[float, ...] | None
    """Of each member; None also where `weights_by_column` are given."""
    weights_by_column: tuple[tuple[float, ...], ...] | None = None
    """Of each member, one weight for each class, or for valence and arousal."""
    temperatures: tuple[float, ...] | None = None
    """What each member's logits are divided by before anything else."""
    floors: tuple[float, ...] | None = None
    """The share of the uniform distribution that is then mixed into each member's probabilities, whose logarithms take
    the place of its logits."""
    gate: Gate | None = None
    """How the weights change with the members' confidences, sample by sample; None for static weights."""
    correction: Correction | None = None
    """What each class score of each member adds to the score of every class; None for weights alone."""
    fused_temperature: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """What the logits of the fused scores are divided by for calibrated probabilities; it changes no class."""
    equally_good_weight_3d: tuple[float, float] | None = None
    """The interval around the 3D weight in which the selection score is the same."""

    @model_validator(mode="after")
    def _weights_exactly_when_weighted(self) -> "Fusion":
        both = self.weights is not None and self.weights_by_column is not None
        if both or (self.strategy == "weighted") != (self.all_weights is not None):
            given = f"{self.all_weights}{', twice' if both else ''}"
            raise ValueError(f"strategy {self.strategy!r} with weights {given}")
        if self.gate is not None and (self.weights is None or max(self.gate.members) >= len(self.weights)):
            raise ValueError("gate: its members have no weights of their own")
        if self.correction is not None and len(self.correction.matrices) != len(self.weights or ()):
            raise ValueError("correction: of other members than have weights")
        return self

    @property
    def all_weights(self) -> tuple[float, ...] | tuple[tuple[float, ...], ...] | None:
        """The weights of each member, one or one per column; None for a strategy without weights."""
        return self.weights if self.weights is not None else self.weights_by_column

    @property
    def label(self) -> str:
        """The strategy and the space, such as `weighted of logits with floors`."""
        more = self._gated_by + (", corrected linearly" if self.correction else "")
        return f"{self.strategy or 'alone'} of {self.space}{' with floors' if self.floors else ''}{more}"

    @property
    def _gated_by(self) -> str:
        if self.gate is None:
            return ""
        return ", by confidence" + (f" and {self.representation} parameters" if self.representation else "")

    @property
    def is_static(self) -> bool:
        """Whether weights are all there is: no gate, no correction."""
        return self.gate is None and self.correction is None

    @property
    def static(self) -> "Fusion":
        """The same without what makes its weights depend on the sample or on the class."""
        return self.model_copy(update={"gate": None, "correction": None})

    def weight_texts(self, members: int) -> tuple[str, ...]:
        """Each member's weight as tables and sentences show it; empty for a strategy without weights.

        Args:
            members: M, the number of members.
        """
        if self.weights is not None:
            return tuple(f"{weight:.{LISTED_DECIMALS}f}" for weight in self.weights)
        rows = self.weights_by_column or ((),) * members
        return tuple(f"({' '.join(f'{weight:.{ROW_DECIMALS}f}' for weight in row)})" if row else "" for row in rows)

    @property
    def representation(self) -> str | None:
        """The representation whose parameters a gate takes as input; None if there is none."""
        return None if self.gate is None else self.gate.representation

    @property
    def features(self) -> frozenset[str]:
        """What it takes as input beside the members' outputs."""
        return frozenset(() if self.representation is None else (self.representation,))

    def apply(
        self, outputs_MNC: np.ndarray, task: Task, parameters: Mapping[str, np.ndarray] | None = None
    ) -> np.ndarray:
        """Fused outputs.

        Args:
            outputs_MNC: `[M, N, C]` logits, or `[M, N, 2]` valence and arousal.
            task: what is predicted.
            parameters: representation -> `[N, W]`, for a gate that takes them as input.

        Returns:
            `[N, C]` float64.

        Raises:
            ValueError: several members and no strategy, or a gate's parameters are not given.
        """
        values = into_space(outputs_MNC, self.space, self.temperatures, task, self.floors)
        if self.strategy is None:
            if len(values) != 1:
                raise ValueError(f"no strategy for {len(values)} members")
            return np.asarray(values[0])
        weights = None if self.all_weights is None else np.asarray(self.all_weights)
        if self.gate is not None:
            gated = self.gate.weights(np.asarray(outputs_MNC, dtype=np.float64), weights, np, parameters)
            fused = np.asarray(combine(self.strategy, values, gated))
        else:
            fused = fuse(self.strategy, values, weights)
        if self.correction is None:
            return fused
        corrected = fused + self.correction.added(values)
        return corrected if task.has_classes else np.clip(corrected, -1.0, 1.0)

    def probabilities(self, fused_NC: Any, xp: Any = np) -> Any:
        """Fused class scores as probabilities: the softmax of their logits over the temperature. Without one, their
        softmax, or where probabilities were fused, their shares.

        Args:
            fused_NC: `[N, C]` fused class scores.
            xp: `numpy` or `torch`.

        Returns:
            `[N, C]`, rows that sum to 1.
        """
        if self.fused_temperature is not None:
            return softmax(self.fused_logits(fused_NC, xp) / self.fused_temperature, xp)
        if not self._fuses_probabilities:
            return softmax(fused_NC, xp)
        shares = xp.where(fused_NC > 0, fused_NC, 0.0)
        total = xp.sum(shares, -1)[..., None]
        return shares / xp.where(total > TINY, total, TINY)

    def fused_logits(self, fused_NC: Any, xp: Any = np) -> Any:
        """Fused class scores as logits: they themselves, or where probabilities were fused, their logarithms.

        Args:
            fused_NC: `[N, C]` fused class scores.
            xp: `numpy` or `torch`.
        """
        if not self._fuses_probabilities:
            return fused_NC
        return xp.log(xp.where(fused_NC > TINY, fused_NC, TINY))

    @property
    def _fuses_probabilities(self) -> bool:
        return self.space == "probabilities" and self.strategy is not None
