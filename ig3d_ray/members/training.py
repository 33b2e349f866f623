"""The training loop: single-device torch, one hook per epoch, and a state to go on from.

Everything random in an epoch follows from (seed, epoch), so a training that was interrupted and went on
from any earlier epoch ends with the same weights, bit for bit, as one that ran through.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ig3d_ray import metrics
from ig3d_ray.data.images import augment
from ig3d_ray.errors import Ig3dError
from ig3d_ray.members.build import Standardised
from ig3d_ray.members.inference import network_scores
from ig3d_ray.members.losses import TrainingLoss
from ig3d_ray.members.spec import LossSpec, TrainingRecipe


@dataclass(frozen=True)
class Labelled:
    """Inputs with their labels, on the training device.

    Attributes:
        x: `[N, D]` float32 parameters or `[N, 3, H, W]` uint8 pixels.
        labels: `[N]` int64 classes. va: `[N, 2]` float32, zeros where unused.
    """

    x: torch.Tensor
    labels: torch.Tensor
    va: torch.Tensor


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to: its number from 1, the mean training loss, the dev score, the best so far."""

    number: int
    loss: float
    score: float
    best_score: float
    best_epoch: int
    finished: bool


OnEpoch = Callable[[Epoch, Callable[[], dict[str, Any]]], None]


class NonFiniteLoss(Ig3dError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Worker:
    """One worker's part in a training.

    Attributes:
        rank, world: which of how many; a worker takes every world-th sample of each batch.
        wrap: puts the network behind data parallelism.
        agree: gives every worker rank 0's number (loss, dev score), so that all stop at the same epoch.
    """

    rank: int = 0
    world: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network
    agree: Callable[[float], float] = lambda score: score


@dataclass
class _Progress:
    """How far a training has come, and the weights of its best epoch."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    best_epoch: int = 0
    best_state: dict[str, torch.Tensor] | None = None

    def add(self, number: int, loss: float, score: float, lr: float, network: nn.Module) -> None:
        self.history.append({"epoch": number, "loss": loss, "score": score, "lr": lr})
        if score > self.best_score or self.best_state is None:
            self.best_score, self.best_epoch = score, number
            self.best_state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def finished(self, recipe: TrainingRecipe) -> bool:
        done = len(self.history)
        return done >= recipe.epochs or done - self.best_epoch >= recipe.patience


@dataclass(frozen=True)
class Trainer:
    """One member's training.

    Attributes:
        network: trained in place; at the end it holds the weights of the best dev epoch.
        train, dev: data on the network's device.
        loss, recipe, seed: from the member's spec.
        classes: C of the data set. monitor: the metric that is the dev score.
        worker: this worker's part; alone by default.
    """

    network: Standardised
    train: Labelled
    dev: Labelled
    loss: LossSpec
    recipe: TrainingRecipe
    seed: int
    classes: int
    monitor: str
    worker: Worker = Worker()

    def run(self, on_epoch: OnEpoch, state: dict[str, Any] | None = None) -> list[dict[str, float]]:
        """Train until the recipe's epochs or patience are used up.

        Args:
            on_epoch: called after each epoch with its numbers and a function that gives the state.
            state: of an earlier call, to go on from.

        Returns:
            One row per epoch: epoch, loss, score, lr.

        Raises:
            NonFiniteLoss: with the epoch and step at which it happened.
        """
        progress, steps = _Progress(), self._steps()
        if state is None:
            self.network.fit_to(self.train.x)
        model = self.worker.wrap(self.network.network)
        optimiser, schedule = self._optimiser(steps)
        if state is not None:
            self.network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
            schedule.load_state_dict(state["schedule"])
            progress = _Progress(**state["progress"])
        criterion = TrainingLoss(self.loss, self.train.labels.cpu(), self.classes, self.train.x.device)

        def current() -> dict[str, Any]:
            return {
                "network": self.network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "progress": vars(progress),
            }

        while not progress.finished(self.recipe):
            number = len(progress.history) + 1
            loss = self._epoch(number, steps, model, criterion, optimiser, schedule)
            score = self.worker.agree(self._dev_score())
            progress.add(number, loss, score, float(schedule.get_last_lr()[0]), self.network)
            best = (progress.best_score, progress.best_epoch, progress.finished(self.recipe))
            on_epoch(Epoch(number, loss, score, *best), current)
        assert progress.best_state is not None
        self.network.load_state_dict(progress.best_state)
        return progress.history

    def _steps(self) -> int:
        return max(1, len(self.train.x) // self.recipe.batch_size)

    def _optimiser(self, steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        recipe = self.recipe
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.base_lr, weight_decay=recipe.weight_decay)
        half_cycle = max(1, steps // 2)
        schedule = torch.optim.lr_scheduler.CyclicLR(
            optimiser, recipe.base_lr, recipe.max_lr, step_size_up=half_cycle, cycle_momentum=False
        )
        return optimiser, schedule

    def _epoch(
        self,
        number: int,
        steps: int,
        model: nn.Module,
        criterion: TrainingLoss,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> float:
        """One pass over the training data; the mean loss."""
        data, size, worker = self.train, self.recipe.batch_size, self.worker
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(len(data.x), generator=generator)
        # Dropout draws from the global generator, and each worker must draw its own.
        torch.manual_seed((self.seed * 1_000_003 + number) * 1_009 + worker.rank)
        model.train()
        losses = torch.zeros(steps, device=data.x.device)
        for step in range(steps):
            mine = order[step * size : (step + 1) * size][worker.rank :: worker.world].to(data.x.device)
            x = self.network.standardise(data.x[mine])
            if x.dim() == 4:
                x = augment(x, generator)
            loss = criterion(model(x), data.labels[mine], data.va[mine], generator)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses[step] = loss.detach()
        # Checked once an epoch, on a number that all workers share: they must stop together.
        mean = worker.agree(float(losses.mean()))
        if not math.isfinite(mean):
            step = int((~torch.isfinite(losses)).int().argmax()) + 1
            raise NonFiniteLoss(f"the loss became {mean} in epoch {number}, about step {step}; lower recipe.max_lr")
        return mean

    def _dev_score(self) -> float:
        scores = network_scores(self.network, self.dev.x)
        if metrics.task_of(self.monitor) == "expression":
            found = metrics.score("expression", scores[:, : self.classes], self.dev.labels.cpu().numpy())
        else:
            found = metrics.score("va", scores[:, self.classes :], self.dev.va.cpu().numpy())
        return found[self.monitor]
