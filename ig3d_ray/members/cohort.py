"""Many 3D classifiers trained as one network: a leading member axis, and everything else each member's own.

A small network keeps a GPU waiting for the next kernel to be launched; a cohort gives it the work of many members
in the same number of launches. Each member draws what it would draw alone (`epochs.py`), has its own batch norm,
dropout, optimiser state, best epoch and end, and comes out as it would have alone, up to rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ig3d_ray.members.build import Standardised
from ig3d_ray.members.epochs import EpochDraws, EpochPlan
from ig3d_ray.members.inference import BATCH
from ig3d_ray.members.losses import class_weights, member_loss, va_weights
from ig3d_ray.members.mlp3d import SLOPE, Mlp3d
from ig3d_ray.members.optimisers import Schedule, make_optimiser
from ig3d_ray.members.spec import Mlp3dSpec, TrainableSpec
from ig3d_ray.members.training import (
    Epoch,
    HistoryRow,
    Labelled,
    NonFiniteLoss,
    Progress,
    Trainer,
    dev_metrics,
    dev_score,
)

LAYERS = ("1", "2", "3", "4")
# Above this a CPU is busy with one member's weights, and a cohort's don't fit its caches (benchmarks/training.md).
WIDEST_ON_CPU = 512
OnCohortEpoch = Callable[[dict[int, Epoch], Callable[[], dict[str, Any]]], None]


def cohorts(
    members: Sequence[tuple[str, TrainableSpec]],
    steps: Callable[[TrainableSpec], int],
    at_most: int,
    widest: int | None = None,
) -> list[list[tuple[str, TrainableSpec]]]:
    """Members in groups that can train together: those that can't are alone.

    Args:
        members: (fingerprint, spec). steps: how many batches an epoch of a member has.
        at_most: members in a group. widest: hidden units of a member beyond which it trains alone.
    """
    groups: dict[object, list[tuple[str, TrainableSpec]]] = {}
    for member, spec in members:
        fits = isinstance(spec, Mlp3dSpec) and (widest is None or spec.width <= widest)
        key = _kind_of_cohort(spec, steps) if at_most > 1 and fits else None
        groups.setdefault(member if key is None else key, []).append((member, spec))
    return [group[i : i + at_most] for group in groups.values() for i in range(0, len(group), at_most)]


def _kind_of_cohort(spec: TrainableSpec, steps: Callable[[TrainableSpec], int]) -> object:
    """What members of a cohort have in common; None for a member that trains alone."""
    recipe = spec.recipe
    alone = spec.workers > 1 or spec.then is not None or recipe.mask > 0 or recipe.sam_rho is not None
    if not isinstance(spec, Mlp3dSpec) or spec.variant == "published_residual" or alone:
        return None
    if recipe.schedule == "plateau" or recipe.precision == "bf16":
        return None
    outputs = (spec.loss.has_classes, spec.loss.has_va)
    return (spec.width, spec.variant, outputs, spec.monitor, recipe.model_dump_json(), steps(spec))


class CohortMlp3d(nn.Module):
    """M networks `Mlp3d` of one width side by side, inputs filled up to the widest with zeros.

    Args:
        networks: of the same width, outputs and dropouts.
    """

    def __init__(self, networks: Sequence[Mlp3d]) -> None:
        super().__init__()
        self.inputs = [network.fc1.in_features for network in networks]
        states = [network.state_dict() for network in networks]
        for name in states[0]:
            parts = [state[name].detach() for state in states]
            if name == "fc1.weight":
                parts = [functional.pad(part, (0, max(self.inputs) - part.shape[1])) for part in parts]
            stacked = torch.stack(parts)
            if "running" in name or "tracked" in name:
                self.register_buffer(_flat(name), stacked)
            else:
                trained = networks[0].get_parameter(name).requires_grad
                self.register_parameter(_flat(name), nn.Parameter(stacked, requires_grad=trained))
        self.dropouts = (networks[0].dropout1.p, networks[0].dropout2.p)
        self.generators: list[torch.Generator] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[M, B, D]` standardised parameters to `[M, B, outputs]` raw scores."""
        for index, layer in enumerate(LAYERS):
            x = functional.leaky_relu(self._norm(self._linear(x, f"fc{layer}"), f"bn{layer}"), SLOPE)
            if self.training and index < len(self.dropouts) and self.dropouts[index]:
                x = self._drop(x, self.dropouts[index])
        return self._linear(x, "output")

    def member(self, index: int) -> dict[str, torch.Tensor]:
        """One member's weights as its own network names them, copied."""
        state = {}
        for name, value in self.state_dict().items():
            part = value[index].detach().clone()
            state[_dotted(name)] = part[:, : self.inputs[index]].clone() if name == "fc1_weight" else part
        return state

    def keep(self, members: Sequence[int], optimiser: torch.optim.Optimizer) -> None:
        """Go on with some members only; their optimiser state goes along."""
        index = torch.tensor(members, dtype=torch.long).to(self.fc1_weight.device)  # type: ignore[arg-type]
        self.inputs = [self.inputs[i] for i in members]
        for name, buffer in list(self.named_buffers()):
            setattr(self, name, buffer[index])
        parameters = list(self.named_parameters())
        for name, old in parameters:
            new = nn.Parameter(old.detach()[index], requires_grad=old.requires_grad)
            state = optimiser.state.pop(old, None)
            if state is not None:
                optimiser.state[new] = {
                    key: value[index] if torch.is_tensor(value) and value.dim() else value
                    for key, value in state.items()
                }
            setattr(self, name, new)
        optimiser.param_groups[0]["params"] = [p for p in self.parameters() if p.requires_grad]

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        members, batch, width = x.shape
        of = {part: getattr(self, f"{name}_{part}") for part in ("running_mean", "running_var", "weight", "bias")}
        if self.training:
            getattr(self, f"{name}_num_batches_tracked").add_(1)
        flat = x.transpose(0, 1).reshape(batch, members * width)
        flat = functional.batch_norm(
            flat,
            of["running_mean"].view(-1),
            of["running_var"].view(-1),
            of["weight"].reshape(-1),
            of["bias"].reshape(-1),
            training=self.training,
        )
        return flat.reshape(batch, members, width).transpose(0, 1)

    def _drop(self, x: torch.Tensor, p: float) -> torch.Tensor:
        drawn = torch.stack([torch.rand(x.shape[1:], device=x.device, generator=g) for g in self.generators])
        return x * (drawn >= p) / (1 - p)


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _dotted(name: str) -> str:
    layer, _, rest = name.partition("_")
    return f"{layer}.{rest}"


class _Shared:
    """The distinct inputs and labels of a cohort's members, one after another, and where each member's begin."""

    def __init__(self, data: Sequence[Labelled], networks: Sequence[Standardised], widest: int) -> None:
        firsts = {id(labelled): (labelled, network) for labelled, network in zip(data, networks, strict=True)}
        starts, parts, start = {}, [], 0
        for key, (labelled, network) in firsts.items():
            raw = labelled.x.parts[0]
            assert isinstance(raw, torch.Tensor)
            (standardised,) = network.standardise((raw,))
            parts.append(functional.pad(standardised, (0, widest - standardised.shape[1])))
            starts[key] = start
            start += len(labelled.labels)
        self.x = torch.cat(parts)
        self.labels = torch.cat([labelled.labels for labelled, _ in firsts.values()])
        self.va = torch.cat([labelled.va for labelled, _ in firsts.values()])
        self.starts = torch.tensor([starts[id(labelled)] for labelled in data], device=self.x.device)
        self.sizes = [len(labelled.labels) for labelled in data]


@dataclass(frozen=True)
class _Ended:
    history: list[HistoryRow]
    error: NonFiniteLoss | None


class CohortTrainer:
    """The trainings of a cohort as one.

    Args:
        trainers: each member's own training, as it would run alone; data that members share must be the same object.
            At the end their networks hold the weights of their best epochs.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = list(trainers)
        self.recipe, self.classes = trainers[0].recipe, trainers[0].classes
        self.plans = [EpochPlan(t.recipe, t.seed, t.train.labels.cpu(), t.classes) for t in trainers]
        assert len({plan.steps for plan in self.plans}) == 1
        self.steps = self.plans[0].steps

    def run(self, on_epoch: OnCohortEpoch, state: dict[str, Any] | None = None) -> list[_Ended]:
        """Train until every member has ended.

        Args:
            on_epoch: called after each epoch with the members that took part in it.
            state: of an earlier call, to go on from.

        Returns:
            For each member its history, and the error that ended it if its loss was not finite.
        """
        self._set_up(state)

        def current() -> dict[str, Any]:
            return {
                "active": self.active,
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scalings": [[s.state_dict() for s in t.network.scalings] for t in self.trainers],
                "progress": [vars(p) for p in self.progress],
                "failed": self.failed,
            }

        number = max((len(p.history) for p in self.progress), default=0)
        while self.active:
            number += 1
            took_part = self._epoch(number)
            on_epoch({i: self.progress[i].epoch(self.recipe) for i in took_part}, current)
        for trainer, progress in zip(self.trainers, self.progress, strict=True):
            if progress.best_state is not None:
                trainer.network.network.load_state_dict(progress.best_state)
        errors = [NonFiniteLoss(self.failed[i]) if i in self.failed else None for i in range(len(self.trainers))]
        return [_Ended(p.history, error) for p, error in zip(self.progress, errors, strict=True)]

    def _set_up(self, state: dict[str, Any] | None) -> None:
        for i, trainer in enumerate(self.trainers):
            if state is None:
                trainer.fit_scalings()
            else:
                for scaling, fitted in zip(trainer.network.scalings, state["scalings"][i], strict=True):
                    scaling.load_state_dict(fitted)
        networks = [trainer.network for trainer in self.trainers]
        bare: list[Mlp3d] = [network.network for network in networks]  # type: ignore[misc]
        self.network = CohortMlp3d(bare).to(networks[0].device)
        widest = max(self.network.inputs)
        self.train = _Shared([t.train for t in self.trainers], networks, widest)
        self.dev = _Shared([t.dev for t in self.trainers], networks, widest)
        counted = [class_weights(t.loss, t.train.labels.cpu(), t.classes) for t in self.trainers]
        self.class_weights = torch.stack(counted).to(self.train.x.device)
        self.active = list(range(len(self.trainers)))
        self.progress = [Progress() for _ in self.trainers]
        self.failed: dict[int, str] = {}
        self.optimiser = make_optimiser(self.recipe, self.network.parameters())
        self.schedule = Schedule(self.recipe, self.optimiser, self.steps)
        if state is not None:
            self.progress = [Progress(**p) for p in state["progress"]]
            self.failed, self.active = dict(state["failed"]), list(state["active"])
            if self.active:
                self.network.keep(self.active, self.optimiser)
                self.network.load_state_dict(state["network"])
                self.optimiser.load_state_dict(state["optimiser"])
                self.schedule.load_state_dict(state["schedule"])

    def _epoch(self, number: int) -> list[int]:
        """One pass of every active member; those that took part and go on or ended well."""
        device = self.train.x.device
        draws = [self.plans[i].draw(number) for i in self.active]
        self.network.generators = [
            torch.Generator(device).manual_seed(self.plans[i].dropout_seed(number)) for i in self.active
        ]
        losses = self._pass(draws)
        self.network.generators = []
        scores = self._dev_scores()
        rate = self.schedule.rate
        self.schedule.after_epoch(0.0)
        finite = torch.isfinite(losses)
        took_part, going = [], []
        for slot, i in enumerate(self.active):
            if not bool(finite[:, slot].all()):
                step = int((~finite[:, slot]).int().argmax()) + 1
                told = f"the loss became {float(losses[step - 1, slot])} in epoch {number}, about step {step}"
                self.failed[i] = f"{told}; lower recipe.max_lr"
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
            if going:
                self.network.keep(going, self.optimiser)
        return took_part

    def _pass(self, draws: list[EpochDraws]) -> torch.Tensor:
        """Train on every batch: the losses `[steps, M]`."""
        device, index = self.train.x.device, torch.tensor(self.active)
        starts = self.train.starts[index.to(device)]
        rows = torch.stack([d.batches for d in draws], dim=1).to(device) + starts[None, :, None]
        weights = [va_weights(self.trainers[i].loss, d.va_draws) for i, d in zip(self.active, draws, strict=True)]
        weights_of_va = torch.stack(weights, dim=1).to(device)
        weights_of_classes = self.class_weights[index.to(device)]
        classes = self.classes if self.trainers[0].loss.has_classes else 0
        losses = torch.zeros(self.steps, len(self.active), device=device)
        self.network.train()
        for step in range(self.steps):
            at = rows[step]
            self.optimiser.zero_grad(set_to_none=True)
            scores = self.network(self.train.x[at])
            loss = member_loss(
                scores, self.train.labels[at], self.train.va[at], classes, weights_of_classes, weights_of_va[step]
            )
            # Members share no weight, so the gradient of the sum is each member's own.
            loss.sum().backward()
            self._clip()
            self.optimiser.step()
            self.schedule.after_step()
            losses[step] = loss.detach()
        return losses.cpu()

    def _clip(self) -> None:
        """Limit each member's gradient by its own norm."""
        if self.recipe.clip_norm is None:
            return
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
        factors = (self.recipe.clip_norm / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))

    @torch.inference_mode()
    def _dev_scores(self) -> list[np.ndarray]:
        """Each active member's scores on its dev samples."""
        self.network.eval()
        device, sizes = self.dev.x.device, torch.tensor([self.dev.sizes[i] for i in self.active])
        starts = self.dev.starts[torch.tensor(self.active).to(device)]
        parts = []
        for rows in torch.arange(int(sizes.max())).split(BATCH):
            # A member with fewer samples sees its last one again; that is cut off below.
            own = torch.minimum(rows[None], sizes[:, None] - 1).to(device)
            parts.append(self.network(self.dev.x[own + starts[:, None]]).cpu())
        scores = torch.cat(parts, dim=1).numpy()
        return [scores[slot, : self.dev.sizes[i]] for slot, i in enumerate(self.active)]
