"""Published weights as a member: identified by their layers, in this package's order of classes and outputs."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from ig3d_ray.data import datasets
from ig3d_ray.data.datasets import Dataset
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.build import build_network
from ig3d_ray.models.recipe import LossSpec
from ig3d_ray.models.registry import spec_class
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import Origin, PublishedLayers, TrainedSpec

VaOrder = Literal["valence-first", "arousal-first"]
ClassOrder = Literal["ours", "ddamfn"]
VA_ORDERS: tuple[VaOrder, ...] = get_args(VaOrder)
CLASS_ORDERS: tuple[ClassOrder, ...] = get_args(ClassOrder)
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Identified:
    """A published network, with classes in the data set's order and valence before arousal.

    Attributes:
        spec: what it is.
        network: with its weights.
        notes: decisions made during identification, one line each.
    """

    spec: TrainedSpec
    network: Standardized
    notes: list[str]


def identify(
    weights: Weights,
    kind: str,
    dataset: str,
    origin: Origin,
    class_order: ClassOrder | None = None,
    va_order: VaOrder | None = None,
) -> Identified:
    """Identify the member that published weights belong to.

    Args:
        weights: the state dict.
        kind: of the network.
        dataset: that it was trained on.
        origin: the member's name, and the hash of the file.
        class_order: of the checkpoint's outputs; by default DDAMFN's on RAF-DB for `ddamfn`, this package's
            otherwise.
        va_order: which of a 3D network's last two outputs is valence; by default as published.

    Raises:
        Ig3dError: the layers are not those of this kind, or not of this data set.
    """
    about = datasets.dataset(dataset)
    layers = spec_class(kind).from_published({name: tuple(value.shape) for name, value in weights.items()})
    weights = {layers.renamed.get(name, name): value for name, value in weights.items()}
    notes = _drop_unused(weights, layers, about) if layers.unused_outputs else []
    notes += [layers.note] if layers.note else []
    loss = _loss(len(weights[f"{layers.output}.weight"]), about, kind, layers.va_terms)
    monitor = about.tasks[0].default_metric
    spec = spec_class(kind).model_validate(layers.fields | {"loss": loss, "origin": origin, "monitor": monitor})
    if layers.va_first is not None and loss.has_va:
        notes += _sort_va(weights, layers, va_order)
    if "ddamfn" in about.orders and (class_order or ("ddamfn" if kind == "ddamfn" else "ours")) == "ddamfn":
        for name in {f"{layers.output}.weight", f"{layers.output}.bias"} & set(weights):
            weights[name] = weights[name][list(about.place_of("ddamfn"))]
        notes.append("its classes were reordered from DDAMFN's order into RAF-DB's; --class-order ours keeps them")
    network = build_network(spec, about)
    try:
        network.network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        first = [line.strip() for line in str(error).splitlines()][1:2]
        raise Ig3dError(f"{origin.name}: not the layers of a published {kind}: {' '.join(first)[:200]}") from error
    return Identified(spec, network.eval(), notes)


def _loss(outputs: int, about: Dataset, kind: str, with_va: Literal["random", "mse"]) -> LossSpec:
    """The loss that a network with so many outputs was trained with."""
    classes = len(about.class_names)
    kinds = {classes: LossSpec(), classes + 2: LossSpec(va_terms=with_va), 2: LossSpec(va_terms="ccc")}
    if outputs not in kinds or (outputs != classes and not about.has_va):
        known = f"{classes}, {classes + 2} or 2" if about.has_va else str(classes)
        raise Ig3dError(f"{kind} has {outputs} outputs; of {about.name} it would have {known}: check --dataset")
    return kinds[outputs]


def _drop_unused(weights: Weights, layers: PublishedLayers, about: Dataset) -> list[str]:
    """The published networks have ten outputs on RAF-DB too, of which seven are used."""
    classes, unused = len(about.class_names), len(weights[f"{layers.output}.weight"]) - len(about.class_names)
    if about.has_va or unused <= 0:
        return []
    for part in ("weight", "bias"):
        weights[f"{layers.output}.{part}"] = weights[f"{layers.output}.{part}"][:classes]
    return [f"{unused} outputs that were never trained are removed; of AffectNet they would be used"]


def _sort_va(weights: Weights, layers: PublishedLayers, va_order: VaOrder | None) -> list[str]:
    """Valence before arousal."""
    order = va_order or f"{layers.va_first}-first"
    if order == "arousal-first":
        for part in ("weight", "bias"):
            value = weights[f"{layers.output}.{part}"]
            weights[f"{layers.output}.{part}"] = torch.cat([value[:-2], value[-1:], value[-2:-1]])
    return [f"its last two outputs were taken as {order}; --va-order changes that"]
