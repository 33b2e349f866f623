"""Progress of a training: its epochs, the best epoch, and the position within the current epoch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.recipe import TrainingRecipe


@dataclass(frozen=True)
class Epoch:
    """Metrics of one epoch: its number from 1, the mean training loss, the dev score, the best so far."""

    number: int
    loss: float
    score: float
    best_score: float
    best_epoch: int
    finished: bool


State = dict[str, Any]
OnEpoch = Callable[[Epoch, Callable[[], State]], None]
OnStep = Callable[[Callable[[], State]], None]
HistoryRow = dict[str, float]


class NonFiniteLoss(Ig3dError):
    """The loss became NaN or infinite."""


@dataclass
class Progress:
    """Progress of a training, and the weights of its best epoch."""

    history: list[HistoryRow] = field(default_factory=list)
    best_score: float = -math.inf
    best_epoch: int = 0
    best_state: dict[str, torch.Tensor] | None = None

    def add(self, row: HistoryRow, state: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Add an epoch; `state` returns the weights and is called if it is the best."""
        self.history.append(row)
        if row["score"] > self.best_score or self.best_state is None:
            self.best_score, self.best_epoch, self.best_state = row["score"], int(row["epoch"]), state()

    def finished(self, recipe: TrainingRecipe) -> bool:
        """Whether the epochs or the patience are exhausted."""
        done = len(self.history)
        if done >= recipe.epochs:
            return True
        return recipe.patience is not None and done > 0 and done - self.best_epoch >= recipe.patience

    def epoch(self, recipe: TrainingRecipe) -> Epoch:
        """The last epoch, for the hook."""
        last = self.history[-1]
        best = (self.best_score, self.best_epoch, self.finished(recipe))
        return Epoch(int(last["epoch"]), last["loss"], last["score"], *best)


class Within:
    """The position within an epoch: the number of completed steps, and their losses.

    Args:
        shape: of an epoch's losses, steps first.
        device: the device of the losses.
        state: of an earlier training, to resume from.
    """

    def __init__(self, shape: int | tuple[int, ...], device: torch.device, state: State | None = None) -> None:
        self.losses, self.step = torch.zeros(shape, device=device), 0
        inside = (state or {}).get("within")
        if inside is not None:
            self.step = int(inside["step"])
            self.losses[: self.step] = inside["losses"].to(device)

    def add(self, loss: torch.Tensor) -> None:
        """Add a step."""
        self.losses[self.step] = loss
        self.step += 1

    def over(self) -> torch.Tensor:
        """Return the losses of the finished epoch, and start the next one."""
        losses, self.losses, self.step = self.losses, torch.zeros_like(self.losses), 0
        return losses

    def state(self) -> State | None:
        """The state to resume from; None between epochs."""
        return {"step": self.step, "losses": self.losses[: self.step].clone()} if self.step else None
