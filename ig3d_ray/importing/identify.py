"""Which network published weights are: recognised by their layers, brought into our order of classes and outputs."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from ig3d_ray.data import datasets
from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.representations import Representation, Subset, subset_columns
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.build import Standardised, build_network
from ig3d_ray.models.recipe import LossSpec
from ig3d_ray.models.spec import Backbone, CageSpec, DdamfnSpec, IntermediateSpec, Mlp3dSpec, Origin, TrainableSpec

Kind = Literal["ddamfn", "cage", "mlp3d", "intermediate"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VaOrder = Literal["valence-first", "arousal-first"]
ClassOrder = Literal["ours", "ddamfn"]
# Which of DDAMFN's outputs on RAF-DB (Neutral, Happy, Sad, Surprise, Fear, Disgust, Anger) each of our classes is.
DDAMFN_RAFDB = (3, 4, 5, 1, 2, 6, 0)
VA_ORDERS: tuple[VaOrder, ...] = get_args(VaOrder)
CLASS_ORDERS: tuple[ClassOrder, ...] = get_args(ClassOrder)
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Recognised:
    """A published network, in our order of classes and with valence before arousal.

    Attributes:
        spec: what it is. network: with its weights. notes: what was decided on the way.
    """

    spec: TrainableSpec
    network: Standardised
    notes: list[str]


def recognise(
    weights: Weights,
    kind: Kind,
    dataset: str,
    origin: Origin,
    class_order: ClassOrder | None = None,
    va_order: VaOrder | None = None,
) -> Recognised:
    """The member that published weights are.

    Args:
        class_order: how the checkpoint's classes lie; by default DDAMFN's own on RAF-DB for `ddamfn`, ours else.
        va_order: which of a 3D network's last two outputs is valence; by default as published.

    Raises:
        Ig3dError: the layers are not those of this kind, or not of this data set.
    """
    about = datasets.dataset(dataset)
    notes: list[str] = []
    weights = dict(weights)
    base: dict[str, Any] = {"origin": origin, "monitor": "ccc_mean" if about.tasks[0] == "va" else "accuracy"}
    last, spec = _RECOGNISERS[kind](weights, about, base, notes)
    if kind in ("mlp3d", "intermediate"):
        _sort_va(weights, last, spec, about, va_order, notes)
    if dataset == "rafdb" and (class_order or ("ddamfn" if kind == "ddamfn" else "ours")) == "ddamfn":
        for name in {f"{last}.weight", f"{last}.bias"} & set(weights):
            weights[name] = weights[name][list(DDAMFN_RAFDB)]
        notes.append("its classes were brought from DDAMFN's order into RAF-DB's; --class-order ours leaves them")
    network = build_network(spec, about)
    try:
        network.network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        first = [line.strip() for line in str(error).splitlines()][1:2]
        raise Ig3dError(f"{origin.name}: not the layers of a published {kind}: {' '.join(first)[:200]}") from error
    return Recognised(spec, network.eval(), notes)


def _loss(outputs: int, about: Dataset, what: str, with_va: Literal["random", "mse"]) -> LossSpec:
    """What a network with so many outputs was trained for."""
    classes = len(about.class_names)
    kinds = {classes: LossSpec(), classes + 2: LossSpec(va_terms=with_va), 2: LossSpec(va_terms="ccc")}
    if outputs not in kinds or (outputs != classes and not about.has_va):
        known = f"{classes}, {classes + 2} or 2" if about.has_va else str(classes)
        raise Ig3dError(f"{what} has {outputs} outputs; of {about.name} it would have {known}: check --dataset")
    return kinds[outputs]


def _shape(weights: Weights, name: str, kind: Kind) -> tuple[int, ...]:
    if name not in weights:
        first = ", ".join(list(weights)[:3])
        raise Ig3dError(f"not a published {kind}: there is no layer {name}; the first are {first}")
    return tuple(weights[name].shape)


def _ddamfn(weights: Weights, about: Dataset, base: dict[str, Any], notes: list[str]) -> tuple[str, TrainableSpec]:
    outputs = _shape(weights, "fc.weight", "ddamfn")[0]
    loss = _loss(outputs, about, "ddamfn", "mse")
    return "fc", DdamfnSpec(loss=loss, heads=_heads(weights, "ddamfn"), **base)


def _heads(weights: Weights, kind: Kind) -> int:
    _shape(weights, "cat_head0.CoordAtt.conv1.weight", kind)
    return len({name.split(".", 1)[0] for name in weights if name.startswith("cat_head")})


def _cage(weights: Weights, about: Dataset, base: dict[str, Any], notes: list[str]) -> tuple[str, TrainableSpec]:
    heads: dict[str, Backbone] = {
        "classifier.6": "maxvit_t",
        "classifier.5": "maxvit_t",
        "classifier.1": "efficientnet_v2_s",
        "head": "swin_v2_t",
    }
    last = next((name for name in heads if f"{name}.weight" in weights), "classifier.5")
    outputs = _shape(weights, f"{last}.weight", "cage")[0]
    loss = _loss(outputs, about, "cage", "mse")
    if last == "classifier.5" and outputs == 2:
        # Saved without its dropout layer, which has no weights.
        weights["classifier.6.weight"] = weights.pop("classifier.5.weight")
        last = "classifier.6"
    return last, CageSpec(loss=loss, backbone=heads[last], **base)


def _inputs(width: int, kind: Kind) -> tuple[Representation, Subset]:
    representations: tuple[Representation, ...] = ("emoca", "smirk")
    subsets: tuple[Subset, ...] = ("short", "full")
    sizes = {len(subset_columns(r, s)): (r, s) for r in representations for s in subsets}
    if width not in sizes:
        raise Ig3dError(f"this {kind} takes {width} parameters; known: {', '.join(map(str, sorted(sizes)))}")
    return sizes[width]


def _mlp3d(weights: Weights, about: Dataset, base: dict[str, Any], notes: list[str]) -> tuple[str, TrainableSpec]:
    if "Smirk_Linear.weight" in weights:
        last, first, variant = "fc", "Smirk_Linear.weight", "published_residual"
    else:
        last, first, variant = "output", "fc1.weight", "published"
    representation, subset = _inputs(_shape(weights, first, "mlp3d")[1], "mlp3d")
    _drop_dead(weights, last, about, notes)
    loss = _loss(_shape(weights, f"{last}.weight", "mlp3d")[0], about, "mlp3d", "random")
    width = 2048 if variant == "published_residual" else _shape(weights, first, "mlp3d")[0]
    notes.append(f"its {representation} parameters are taken in our order of groups (README), and as they are")
    return last, Mlp3dSpec(
        loss=loss, representation=representation, subset=subset, width=width, variant=variant, **base
    )


def _intermediate(
    weights: Weights, about: Dataset, base: dict[str, Any], notes: list[str]
) -> tuple[str, TrainableSpec]:
    representation, subset = _inputs(_shape(weights, "Wash_Linear1.weight", "intermediate")[1], "intermediate")
    _drop_dead(weights, "out", about, notes)
    loss = _loss(_shape(weights, "out.weight", "intermediate")[0], about, "intermediate", "random")
    own = {
        "representation": representation,
        "subset": subset,
        "heads": _heads(weights, "intermediate"),
        "raw_params": True,
    }
    return "out", IntermediateSpec(loss=loss, **own, **base)


def _drop_dead(weights: Weights, last: str, about: Dataset, notes: list[str]) -> None:
    """The published networks have ten outputs on RAF-DB too, of which seven are used."""
    name, classes = f"{last}.weight", len(about.class_names)
    if not about.has_va and name in weights and len(weights[name]) > classes:
        notes.append(
            f"{len(weights[name]) - classes} outputs that were never used are left out; of AffectNet they would be used"
        )
        for part in ("weight", "bias"):
            weights[f"{last}.{part}"] = weights[f"{last}.{part}"][:classes]


def _sort_va(
    weights: Weights, last: str, spec: TrainableSpec, about: Dataset, va_order: VaOrder | None, notes: list[str]
) -> None:
    """Valence before arousal. Published AffectNet classifiers with full parameters have arousal first."""
    if not spec.loss.has_va:
        return
    full = isinstance(spec, Mlp3dSpec) and spec.loss.has_classes and spec.subset == "full"
    order = va_order or ("arousal-first" if full else "valence-first")
    if order == "arousal-first":
        for part in ("weight", "bias"):
            value = weights[f"{last}.{part}"]
            weights[f"{last}.{part}"] = torch.cat([value[:-2], value[-1:], value[-2:-1]])
    notes.append(f"its last two outputs were taken as {order}; --va-order says otherwise")


_RECOGNISERS = {"ddamfn": _ddamfn, "cage": _cage, "mlp3d": _mlp3d, "intermediate": _intermediate}
