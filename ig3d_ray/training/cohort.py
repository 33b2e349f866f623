"""Many 3D classifiers trained as one network: a leading member axis; everything else is per member.

A small network leaves a GPU idle between kernel launches; a cohort runs the work of many members
in the same number of launches. Each member draws the same numbers as alone (`sampling.py`), has its own batch norm,
dropout, optimizer state, best epoch and stopping, and ends with the same weights as alone, up to rounding.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ig3d_ray.models.inference import BATCH
from ig3d_ray.models.mlp3d.network import Mlp3d
from ig3d_ray.models.precision import tf32
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import TrainedSpec
from ig3d_ray.training.cohort_network import CohortMlp3d
from ig3d_ray.training.losses import class_weights, member_loss, va_weights
from ig3d_ray.training.optim import Schedule, make_optimizer
from ig3d_ray.training.sampling import EpochDraws
from ig3d_ray.training.state import Epoch, HistoryRow, NonFiniteLoss, OnStep, Progress, State, Within
from ig3d_ray.training.trainer import Labeled, Trainer, dev_metrics, dev_score

# Above this width one member's weights saturate a CPU, and a cohort's don't fit its caches (benchmarks/training.md).
WIDEST_ON_CPU = 512
STANDARDIZED_AT_ONCE = 16_384
OnCohortEpoch = Callable[[dict[int, Epoch], Callable[[], State]], None]


def cohorts(
    members: Sequence[tuple[str, TrainedSpec]],
    steps: Callable[[TrainedSpec], int],
    at_most: int,
    widest: int | None = None,
) -> list[list[tuple[str, TrainedSpec]]]:
    """Members grouped by what can train together; a member that can't is a group by itself.

    Args:
        members: (fingerprint, spec).
        steps: how many batches an epoch of a member has.
        at_most: members in a group.
        widest: maximum number of hidden units; wider members train alone.
    """
    groups: dict[object, list[tuple[str, TrainedSpec]]] = {}
    for member, spec in members:
        fits = spec.cohort is not None and (widest is None or spec.cohort.width <= widest)
        key = _kind_of_cohort(spec, steps) if at_most > 1 and fits else None
        groups.setdefault(member if key is None else key, []).append((member, spec))
    return [group[i : i + at_most] for group in groups.values() for i in range(0, len(group), at_most)]


def _kind_of_cohort(spec: TrainedSpec, steps: Callable[[TrainedSpec], int]) -> object:
    """What members of a cohort have in common; None for a member that trains alone."""
    recipe = spec.recipe
    alone = spec.workers > 1 or spec.then is not None or recipe.mask > 0 or recipe.sam_rho is not None
    if spec.cohort is None or alone:
        return None
    if recipe.schedule == "plateau" or recipe.precision == "bf16":
        return None
    outputs = (spec.loss.has_classes, spec.loss.has_va)
    return (spec.cohort, outputs, spec.monitor, recipe.model_dump_json(), steps(spec))


class _Shared:
    """The distinct inputs and labels of a cohort's members, concatenated, and the offset of each member's."""

    def __init__(self, data: Sequence[Labeled], networks: Sequence[Standardized], widest: int) -> None:
        firsts = {id(labeled): (labeled, network) for labeled, network in zip(data, networks, strict=True)}
        counts = [len(labeled.labels) for labeled, _ in firsts.values()]
        starts = dict(zip(firsts, itertools.accumulate(counts, initial=0), strict=False))
        # Not zeroed as a whole: on a CPU its memory is taken row by row, while raw inputs are released.
        self.x = torch.empty(sum(counts), widest, device=data[0].labels.device)
        for key, (labeled, network) in firsts.items():
            raw = labeled.x.parts[0]
            assert isinstance(raw, torch.Tensor)
            # By blocks, so that no second copy of all is made.
            for start in range(0, len(raw), STANDARDIZED_AT_ONCE):
                (standardized,) = network.standardize((raw[start : start + STANDARDIZED_AT_ONCE],))
                at = starts[key] + start
                self.x[at : at + len(standardized), : standardized.shape[1]] = standardized
                self.x[at : at + len(standardized), standardized.shape[1] :] = 0
            del raw
            labeled.x.release()
        self.labels = torch.cat([labeled.labels for labeled, _ in firsts.values()])
        self.va = torch.cat([labeled.va for labeled, _ in firsts.values()])
        self.starts = torch.tensor([starts[id(labeled)] for labeled in data], device=self.x.device)
        self.sizes = [len(labeled.labels) for labeled in data]


@dataclass(frozen=True)
class _Ended:
    history: list[HistoryRow]
    error: NonFiniteLoss | None


class CohortTrainer:
    """Trains the members of a cohort as one network.

    Args:
        trainers: each member's own training, as it would run alone; data that members share must be the same
            object. At the end their networks hold the weights of their best epochs.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = tuple(trainers)
        if len({trainer.plan.steps for trainer in trainers}) != 1:
            raise ValueError("members of a cohort must have the same number of batches per epoch")

    def run(self, on_epoch: OnCohortEpoch, state: State | None = None, on_step: OnStep | None = None) -> list[_Ended]:
        """Train until every member has finished.

        Args:
            on_epoch: called after each epoch with the members that took part in it.
            state: of an earlier call, to resume from.
            on_step: called after each step that doesn't end an epoch, with the function that returns the state.

        Returns:
            For each member its history, and the error that ended it if its loss was not finite.
        """
        loop = _CohortLoop(self.trainers, state)

        def after_step() -> None:
            if on_step is not None and loop.within.step < loop.steps:
                on_step(loop.state)

        number = max((len(progress.history) for progress in loop.progress), default=0)
        while loop.active:
            number += 1
            took_part = loop.epoch(number, after_step)
            on_epoch({i: loop.progress[i].epoch(loop.recipe) for i in took_part}, loop.state)
        for trainer, progress in zip(self.trainers, loop.progress, strict=True):
            if progress.best_state is not None:
                trainer.network.network.load_state_dict(progress.best_state)
        errors = [NonFiniteLoss(loop.failed[i]) if i in loop.failed else None for i in range(len(self.trainers))]
        return [_Ended(p.history, error) for p, error in zip(loop.progress, errors, strict=True)]


class _CohortLoop:
    """The working state of one `CohortTrainer.run` call: the joint network, its data, and each member's progress.

    Args:
        trainers: each member's own training.
        state: of an earlier call, to resume from; None for the start.
    """

    def __init__(self, trainers: Sequence[Trainer], state: State | None) -> None:
        self.trainers, self.recipe, self.classes = trainers, trainers[0].recipe, trainers[0].classes
        self.plans = [trainer.plan for trainer in trainers]
        self.steps = self.plans[0].steps
        _fit_scalings(trainers, state)
        networks = [trainer.network for trainer in trainers]
        bare: list[Mlp3d] = [network.network for network in networks]  # type: ignore[misc]
        self.network = CohortMlp3d(bare).to(networks[0].device)
        widest = max(self.network.inputs)
        self.train = _Shared([t.train for t in trainers], networks, widest)
        self.dev = _Shared([t.dev for t in trainers], networks, widest)
        counted = [class_weights(t.loss, t.train.labels.cpu(), t.classes) for t in trainers]
        self.class_weights = torch.stack(counted).to(self.train.x.device)
        self.active = list(range(len(trainers)))
        self.progress = [Progress() for _ in trainers]
        self.failed: dict[int, str] = {}
        self.optimizer = make_optimizer(self.recipe, self.network.parameters())
        self.schedule = Schedule(self.recipe, self.optimizer, self.steps)
        if state is not None:
            self._load(state)
        self.within = Within((self.steps, len(self.active)), self.train.x.device, state)

    def _load(self, state: dict[str, Any]) -> None:
        self.progress = [Progress(**p) for p in state["progress"]]
        self.failed, self.active = dict(state["failed"]), list(state["active"])
        if self.active:
            self.network.keep(self.active, self.optimizer)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])

    def state(self) -> State:
        """The state to resume from."""
        return {
            "active": self.active,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scalings": [[s.state_dict() for s in t.network.scalings] for t in self.trainers],
            "progress": [vars(p) for p in self.progress],
            "failed": self.failed,
            "within": self.within.state(),
        }

    def epoch(self, number: int, after_step: Callable[[], None]) -> list[int]:
        """Train every active member for one epoch; return those that took part and didn't fail."""
        device = self.train.x.device
        draws = [self.plans[i].draw(number) for i in self.active]
        self.network.generators = [torch.Generator(device) for _ in self.active]
        with tf32(self.recipe.precision != "fp32"):
            losses = self._pass(number, draws, after_step)
        self.network.generators = []
        scores = self._dev_scores()
        rate = self.schedule.rate
        self.schedule.after_epoch(0.0)
        finite = torch.isfinite(losses)
        took_part, going = [], []
        for slot, i in enumerate(self.active):
            if not bool(finite[:, slot].all()):
                step = int((~finite[:, slot]).int().argmax()) + 1
                message = f"the loss became {float(losses[step - 1, slot])} in epoch {number}, about step {step}"
                self.failed[i] = f"{message}; lower recipe.max_lr"
                continue
            trainer, progress = self.trainers[i], self.progress[i]
            found = dev_metrics(scores[slot], trainer.dev, trainer.loss, self.classes)
            row = {"epoch": number, "loss": float(losses[:, slot].mean()), "lr": rate}
            row |= {"score": dev_score(found, trainer.monitor)} | {f"dev_{k}": v for k, v in found.items()}
            progress.add(row, lambda slot=slot: self.network.member(slot))  # type: ignore[misc]
            took_part.append(i)
            if not progress.finished(self.recipe):
                going.append(slot)
        if len(going) < len(self.active):
            self.active = [self.active[slot] for slot in going]
            self.within = Within((self.steps, len(going)), device)
            if going:
                self.network.keep(going, self.optimizer)
        return took_part

    def _pass(self, number: int, draws: list[EpochDraws], after_step: Callable[[], None]) -> torch.Tensor:
        """Train on every remaining batch; return the losses `[steps, M]`."""
        device, index = self.train.x.device, torch.tensor(self.active)
        starts = self.train.starts[index.to(device)]
        rows = torch.stack([d.batches for d in draws], dim=1).to(device) + starts[None, :, None]
        weights = [va_weights(self.trainers[i].loss, d.va_draws) for i, d in zip(self.active, draws, strict=True)]
        weights_of_va = torch.stack(weights, dim=1).to(device)
        weights_of_classes = self.class_weights[index.to(device)]
        classes = self.classes if self.trainers[0].loss.has_classes else 0
        self.network.train()
        for step in range(self.within.step, self.steps):
            for i, generator in zip(self.active, self.network.generators, strict=True):
                generator.manual_seed(self.plans[i].dropout_seed(number, step))
            at = rows[step]
            self.optimizer.zero_grad(set_to_none=True)
            scores = self.network(self.train.x[at])
            loss = member_loss(
                scores, self.train.labels[at], self.train.va[at], classes, weights_of_classes, weights_of_va[step]
            )
            # Members share no weight, so the gradient of the sum is each member's own.
            loss.sum().backward()
            self._clip()
            self.optimizer.step()
            self.schedule.after_step()
            self.within.add(loss.detach())
            after_step()
        return self.within.over().cpu()

    def _clip(self) -> None:
        """Limit each member's gradient by its own norm."""
        if self.recipe.clip_norm is None:
            return
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]).norm(dim=0)
        factors = (self.recipe.clip_norm / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))

    @torch.inference_mode()
    @tf32(False)
    def _dev_scores(self) -> list[np.ndarray]:
        """Each active member's scores on its dev samples."""
        self.network.eval()
        device, sizes = self.dev.x.device, torch.tensor([self.dev.sizes[i] for i in self.active])
        starts = self.dev.starts[torch.tensor(self.active).to(device)]
        parts = []
        for rows in torch.arange(int(sizes.max())).split(BATCH):
            # A member with fewer samples repeats its last one; the repeats are cut off below.
            own = torch.minimum(rows[None], sizes[:, None] - 1).to(device)
            parts.append(self.network(self.dev.x[own + starts[:, None]]).cpu())
        scores = torch.cat(parts, dim=1).numpy()
        return [scores[slot, : self.dev.sizes[i]] for slot, i in enumerate(self.active)]


def _fit_scalings(trainers: Sequence[Trainer], state: State | None) -> None:
    """Fit each member's standardization to its data, once for those that share them, or take it from a state."""
    firsts: dict[object, Trainer] = {}
    for i, trainer in enumerate(trainers):
        key = (id(trainer.train), *(scaling.fitted for scaling in trainer.network.scalings))
        if state is not None:
            known = state["scalings"][i]
        elif key in firsts and all(key[1:]):
            known = [one.state_dict() for one in firsts[key].network.scalings]
        else:
            firsts[key] = trainer
            trainer.fit_scalings()
            continue
        for scaling, fitted in zip(trainer.network.scalings, known, strict=True):
            scaling.load_state_dict(fitted)
