"""The recipe's optimizer and learning-rate schedule, as torch has them."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from ig3d_ray.models.recipe import TrainingRecipe

Scales = Mapping[torch.nn.Parameter, float]


def make_optimizer(
    recipe: TrainingRecipe, parameters: Iterable[torch.nn.Parameter], scales: Scales | None = None
) -> Optimizer:
    """The optimizer of a recipe, over the parameters that are trained.

    Args:
        recipe: the training's.
        parameters: of the network.
        scales: factors of the learning rate; 1 for parameters that are not in it.
    """
    trained: list[Any] = [parameter for parameter in parameters if parameter.requires_grad]
    decay = recipe.weight_decay
    # The learning rate is the schedule's initial value; increasing schedules start at their minimum.
    lr = recipe.base_lr if recipe.schedule == "cyclic" else recipe.max_lr
    if scales:
        by_scale: dict[float, list[torch.nn.Parameter]] = {}
        for parameter in trained:
            by_scale.setdefault(scales.get(parameter, 1.0), []).append(parameter)
        # The largest first: its rate is the one that is logged.
        trained = [{"params": by_scale[s], "lr": lr * s, "scale": s} for s in sorted(by_scale, reverse=True)]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(trained, lr, recipe.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(trained, lr, weight_decay=decay, fused=True)


class Schedule:
    """The recipe's learning-rate schedule, updated after every step and after every epoch.

    Args:
        steps: batches in an epoch.
    """

    def __init__(self, recipe: TrainingRecipe, optimizer: Optimizer, steps: int) -> None:
        self.optimizer = optimizer
        self.by_epoch: lr_scheduler.LRScheduler | None = None
        self.by_step: lr_scheduler.LRScheduler | None = None
        self.plateau: lr_scheduler.ReduceLROnPlateau | None = None
        lr = lr_scheduler
        if recipe.schedule == "cyclic":
            half = recipe.half_cycle or max(1, steps // 2)
            scales = [group.get("scale", 1.0) for group in optimizer.param_groups]
            base, top = ([rate * s for s in scales] for rate in (recipe.base_lr, recipe.max_lr))
            self.by_step = lr.CyclicLR(optimizer, base, top, step_size_up=half, cycle_momentum=False)
        elif recipe.schedule == "cosine":
            half = recipe.half_cycle or max(1, steps * recipe.epochs)
            if any("scale" in group for group in optimizer.param_groups):
                ratio = recipe.base_lr / recipe.max_lr
                self.by_step = lr.LambdaLR(
                    optimizer, lambda t: ratio + (1 - ratio) * (1 + math.cos(math.pi * t / half)) / 2
                )
            else:
                self.by_step = lr.CosineAnnealingLR(optimizer, half, recipe.base_lr)
        elif recipe.schedule == "exponential":
            self.by_epoch = lr.ExponentialLR(optimizer, recipe.lr_factor)
        elif recipe.schedule == "step":
            self.by_epoch = lr.StepLR(optimizer, recipe.lr_epochs, recipe.lr_factor)
        elif recipe.schedule == "plateau":
            self.plateau = lr.ReduceLROnPlateau(optimizer, "min", recipe.lr_factor, patience=0)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        """Update the learning rate, if the schedule changes it with every step."""
        if self.by_step is not None:
            self.by_step.step()

    def after_epoch(self, dev_loss: float) -> None:
        """Update the learning rate, if the schedule changes it with every epoch."""
        if self.by_epoch is not None:
            self.by_epoch.step()
        if self.plateau is not None:
            self.plateau.step(dev_loss)

    @property
    def needs_dev_loss(self) -> bool:
        """Whether `after_epoch` uses its argument."""
        return self.plateau is not None

    def state_dict(self) -> dict[str, object]:
        """The state to resume from."""
        parts = {"by_step": self.by_step, "by_epoch": self.by_epoch, "plateau": self.plateau}
        return {name: part.state_dict() for name, part in parts.items() if part is not None}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Resume from the result of `state_dict`."""
        for name, part in state.items():
            getattr(self, name).load_state_dict(part)


@contextlib.contextmanager
def _frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Context in which batch norms use batch statistics and don't update the running statistics."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def sam_step(
    network: nn.Module, optimizer: Optimizer, rho: float, backward: Callable[[], torch.Tensor], clip: Callable[[], None]
) -> torch.Tensor:
    """One step of sharpness-aware minimization: the gradient is taken at the highest loss within `rho`.

    Running statistics of batch norms follow the first pass alone, as in the authors' implementation: the second pass
    uses perturbed weights that are not kept.

    Args:
        network: what is trained.
        optimizer: of its weights.
        rho: the radius around the weights.
        backward: recomputes the loss and its gradients, in the same way each time.
        clip: limits the gradients before the optimizer steps.

    Returns:
        The loss at the weights before the step.

    Source: Foret et al. 2021.
    """
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    loss = backward()
    gradients = [p.grad for p in trained if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    before = [p.detach().clone() for p in trained]
    with torch.no_grad():
        for parameter in trained:
            if parameter.grad is not None:
                parameter.add_(parameter.grad * (rho / (norm + 1e-12)))
    optimizer.zero_grad(set_to_none=True)
    with _frozen_statistics(network):
        backward()
    with torch.no_grad():
        for parameter, value in zip(trained, before, strict=True):
            parameter.copy_(value)
    clip()
    optimizer.step()
    return loss
