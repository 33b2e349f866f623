"""The training loop: single-device torch, a hook per epoch and per step, and a state to resume from.

All random draws depend only on (seed, epoch, step), so a training that was interrupted and resumed from any
earlier step ends with the same weights, bit for bit, as an uninterrupted one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ig3d_ray.data.augment import AUGMENTATIONS, Draws, augment, erase
from ig3d_ray.evaluation import metrics
from ig3d_ray.models.ddamfn.network import Attended
from ig3d_ray.models.inference import network_scores
from ig3d_ray.models.inputs import Batch, Inputs
from ig3d_ray.models.mlp3d.network import SeededDropout
from ig3d_ray.models.precision import is_faster_in_bf16, tf32
from ig3d_ray.models.recipe import LossSpec, Stage, TrainingRecipe
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import Attention
from ig3d_ray.training.losses import ATTENTION_WEIGHT, attention_loss, class_weights, member_loss, va_weights
from ig3d_ray.training.optim import Scales, Schedule, make_optimizer, sam_step
from ig3d_ray.training.sampling import EpochPlan, mask_params
from ig3d_ray.training.state import HistoryRow, NonFiniteLoss, OnEpoch, OnStep, Progress, State, Within
from ig3d_ray.types import Task


@dataclass(frozen=True)
class Labeled:
    """Inputs with their labels, on the training device.

    Attributes:
        x: raw inputs of N samples.
        labels: `[N]` int64 classes.
        va: `[N, 2]` float32, zeros where unused.
    """

    x: Inputs
    labels: torch.Tensor
    va: torch.Tensor


@dataclass(frozen=True)
class Worker:
    """One worker's part in a training.

    Attributes:
        rank: which of how many; a worker takes every world-th sample of each batch.
        world: the number of workers.
        wrap: puts the network behind data parallelism.
        agree: gives every worker rank 0's number (loss, dev score), so that all stop at the same epoch.
    """

    rank: int = 0
    world: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network
    agree: Callable[[float], float] = lambda score: score

    @property
    def share(self) -> slice:
        """This worker's part of a batch."""
        return slice(self.rank, None, self.world)


def copied(network: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a network's weights, which further training doesn't change."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@dataclass
class _Loop:
    """The working state of one `Trainer.run` call.

    Attributes:
        network: that is trained.
        model: the network behind data parallelism and compilation.
        optimizer: of the network's weights.
        schedule: of its learning rate.
        progress: the epochs so far.
        within: the position within an epoch.
        dropout: generator of dropout's draws.
    """

    network: Standardized
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    progress: Progress
    within: Within
    dropout: torch.Generator

    def state(self) -> State:
        """The state to resume from."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "progress": vars(self.progress),
            "within": self.within.state(),
        }


@dataclass
class Trainer:
    """One stage of one member's training.

    Attributes:
        network: trained in place; at the end it holds the weights of the best dev epoch.
        train: data on the network's device.
        dev: dev data on the network's device.
        stage: loss and recipe.
        seed: the member's.
        classes: C of the data set.
        monitor: the metric that is the dev score.
        attention: the attention loss of DDAMFN's heads.
        groups: of the 3D parameters, for masking.
        worker: this worker's part; alone by default.
        compiled: whether torch.compile is applied.
    """

    network: Standardized
    train: Labeled
    dev: Labeled
    stage: Stage
    seed: int
    classes: int
    monitor: str
    attention: Attention = "none"
    groups: tuple[tuple[str, int], ...] = ()
    worker: Worker = Worker()
    compiled: bool = False

    def __post_init__(self) -> None:
        device, inner = self.network.device, self.network.network
        self.plan = EpochPlan(self.recipe, self.seed, self.train.labels.cpu(), self.classes)
        self._has_images = any(scaling.mean.dim() == 3 for scaling in self.network.scalings)
        on_gpu = device.type == "cuda"
        self._layout = getattr(inner, "gpu_layout", torch.channels_last) if on_gpu else torch.channels_last
        auto = self.recipe.precision == "auto" and self._has_images and is_faster_in_bf16(inner, device)
        self._autocast = auto or self.recipe.precision == "bf16"
        self._class_weights = class_weights(self.loss, self.train.labels.cpu(), self.classes).to(device)

    @property
    def loss(self) -> LossSpec:
        """The stage's loss."""
        return self.stage.loss

    @property
    def recipe(self) -> TrainingRecipe:
        """The stage's recipe."""
        return self.stage.recipe

    def run(self, on_epoch: OnEpoch, state: State | None = None, on_step: OnStep | None = None) -> list[HistoryRow]:
        """Train until the recipe's epochs or patience are exhausted.

        Args:
            on_epoch: called after each epoch with its metrics and a function that returns the state.
            state: of an earlier call, to resume from.
            on_step: called after each step that doesn't end an epoch, with the function that returns the state.

        Returns:
            One row per epoch: epoch, loss, score, lr, and every dev metric.

        Raises:
            NonFiniteLoss: with the epoch and step at which it happened; the network then holds the best epoch.
        """
        loop = self._start(state)
        progress = loop.progress

        def after_step() -> None:
            if on_step is not None and loop.within.step < self.plan.steps:
                on_step(loop.state)

        try:
            while not progress.finished(self.recipe):
                number = len(progress.history) + 1
                with tf32(self.recipe.precision != "fp32"):
                    loss = self._epoch(number, loop, after_step)
                scores = self._dev_scores(loop.schedule)
                row = {"epoch": number, "loss": loss, "lr": loop.schedule.rate} | scores
                loop.schedule.after_epoch(scores.get("dev_loss", 0.0))
                progress.add(row, lambda: copied(self.network))
                on_epoch(progress.epoch(self.recipe), loop.state)
        finally:
            if progress.best_state is not None:
                self.network.load_state_dict(progress.best_state)
        return progress.history

    def _start(self, state: State | None) -> "_Loop":
        """The working state of one `run` call, new or restored from a state."""
        if state is None:
            self.fit_scalings()
        else:
            self.network.load_state_dict(state["network"])
        if self._has_images:
            self.network.to(memory_format=self._layout)  # type: ignore[call-overload]
        model = self.worker.wrap(self.network.network)
        scales: Scales = getattr(self.network.network, "learning_rate_scales", dict)()
        optimizer = make_optimizer(self.recipe, self.network.parameters(), scales)
        schedule = Schedule(self.recipe, optimizer, self.plan.steps)
        progress = Progress()
        if state is not None:
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            progress = Progress(**state["progress"])
        return _Loop(
            network=self.network,
            model=torch.compile(model) if self.compiled else model,  # type: ignore[arg-type]
            optimizer=optimizer,
            schedule=schedule,
            progress=progress,
            within=Within(self.plan.steps, self.network.device, state),
            dropout=torch.Generator(self.network.device),
        )

    def fit_scalings(self) -> None:
        """Fit the standardization of the inputs to the training data."""
        for index, scaling in enumerate(self.network.scalings):
            if scaling.fitted:
                scaling.fit_to(self.train.x.some(index))

    def _epoch(self, number: int, loop: "_Loop", after_step: Callable[[], None]) -> float:
        """Train for one epoch, or for the rest of one; return the mean loss."""
        device, worker, within = self.network.device, self.worker, loop.within
        draws = self.plan.draw(number)
        weights = va_weights(self.loss, draws.va_draws).to(device)
        for module in self.network.modules():
            if isinstance(module, SeededDropout):
                module.generator = loop.dropout
        loop.model.train()
        mine = [rows[worker.share] for rows in draws.batches]
        for step, raw in enumerate(self.train.x.batches(mine[within.step :]), within.step):
            # Dropout differs between workers and between steps.
            seed = self.plan.dropout_seed(number, step, worker.rank)
            torch.manual_seed(seed)
            loop.dropout.manual_seed(seed)
            inputs = self._inputs(raw, draws.batches.shape[1], self.plan.image_seed(number, step))
            rows = mine[step].to(device, non_blocking=True)
            target = (self.train.labels[rows], self.train.va[rows], weights[step])
            within.add(self._step(inputs, target, loop))
            loop.schedule.after_step()
            after_step()
        losses = within.over()
        # Checked once an epoch, on a number that all workers share: they must stop together.
        mean = worker.agree(float(losses.mean()))
        if not math.isfinite(mean):
            step = int((~torch.isfinite(losses)).int().argmax()) + 1
            raise NonFiniteLoss(f"the loss became {mean} in epoch {number}, about step {step}; lower recipe.max_lr")
        return mean

    def _inputs(self, raw: Batch, batch_size: int, seed: int) -> Batch:
        """What the network is trained on: augmented, standardized, erased, masked."""
        how, share = AUGMENTATIONS[self.recipe.augment], self.worker.share
        of = Draws(batch_size, share, torch.Generator().manual_seed(seed), self.network.device)
        raw = tuple(augment(x, how, of) if x.dim() == 4 else x for x in raw)
        inputs = []
        for x in self.network.standardize(raw):
            if x.dim() == 4:
                x = erase(x, how, of).contiguous(memory_format=self._layout)
            elif self.recipe.mask:
                uniform = of.uniform(x.shape[1] + 2 * len(self.groups))
                x = mask_params(x, self.groups, self.recipe.mask, uniform)
            inputs.append(x)
        return tuple(inputs)

    def _step(self, inputs: Batch, target: tuple[torch.Tensor, ...], loop: "_Loop") -> torch.Tensor:
        optimizer = loop.optimizer

        def backward() -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            loss = self._loss(inputs, target, loop.model)
            loss.backward()
            return loss.detach()

        def clip() -> None:
            if self.recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)

        if self.recipe.sam_rho is not None:
            return sam_step(self.network, optimizer, self.recipe.sam_rho, backward, clip)
        loss = backward()
        clip()
        optimizer.step()
        return loss

    def _loss(self, inputs: Batch, target: tuple[torch.Tensor, ...], model: nn.Module) -> torch.Tensor:
        labels, va, weights = target
        with torch.autocast(self.network.device.type, torch.bfloat16, enabled=self._autocast):
            out = model(*inputs)
        scores = out.scores if isinstance(out, Attended) else out
        classes = self.classes if self.loss.has_classes else 0
        loss = member_loss(scores.float(), labels, va, classes, self._class_weights, weights)
        if isinstance(out, Attended) and len(out.heads) > 1:
            loss = loss + ATTENTION_WEIGHT * attention_loss(out.heads, self.attention)
        return loss

    def _dev_scores(self, schedule: Schedule) -> dict[str, float]:
        """The dev score, the same on all workers, and every dev metric of the trained outputs."""
        scores = network_scores(self.network, self.dev.x)
        found = dev_metrics(scores, self.dev, self.loss, self.classes)
        row = {"score": self.worker.agree(dev_score(found, self.monitor))} | {f"dev_{k}": v for k, v in found.items()}
        if schedule.needs_dev_loss:
            row["dev_loss"] = self.worker.agree(self._dev_loss(scores))
        return row

    def _dev_loss(self, scores: Any) -> float:
        """The loss on dev, its classes not weighted and its random weights equal."""
        plain = self.loss.model_copy(update={"class_weights": "none"})
        ones = torch.ones(self.classes)
        weights = va_weights(plain, torch.ones(1, 3))[0]
        classes = self.classes if self.loss.has_classes else 0
        truth = (self.dev.labels.cpu(), self.dev.va.cpu())
        return float(member_loss(torch.from_numpy(scores), *truth, classes, ones, weights))


def dev_metrics(scores: Any, dev: Labeled, loss: LossSpec, classes: int) -> dict[str, float]:
    """Accuracy and macro F1 of the classes, CCC and RMSE of valence and arousal, as far as they are trained.

    Args:
        scores: `[N, outputs]` of the dev samples.
    """
    found: dict[str, float] = {}
    if loss.has_classes:
        of = metrics.score(Task.EXPRESSION, scores[:, :classes], dev.labels.cpu().numpy())
        found |= {name: of[name] for name in ("accuracy", "macro_f1")}
    if loss.has_va:
        of = metrics.score(Task.VA, scores[:, -2:], dev.va.cpu().numpy())
        found |= {name: of[name] for name in ("ccc_mean", "rmse")}
    return found


def dev_score(found: dict[str, float], monitor: str) -> float:
    """The score that early stopping monitors: the monitored metric, or accuracy if a first stage has no other."""
    return found[monitor] if monitor in found else found["accuracy"]
