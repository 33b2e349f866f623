"""From a member's spec to its network: the one table of kinds."""

from collections.abc import Callable

import torch
from torch import nn

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.cage.network import begin_from_nothing, cage_network
from ig3d_ray.models.cnn.network import Cnn
from ig3d_ray.models.ddamfn.network import Ddamfn
from ig3d_ray.models.intermediate.network import DdamfnWithParams, MaxvitWithParams
from ig3d_ray.models.mlp3d.network import DROPOUTS, Mlp3d, ResidualMlp3d
from ig3d_ray.models.recipe import LossSpec
from ig3d_ray.models.spec import (
    CageSpec,
    CnnSpec,
    DdamfnSpec,
    IntermediateSpec,
    Mlp3dSpec,
    TrainableSpec,
    parameter_groups,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CAGE_VA_DROPOUT = 0.3
# What a second training begins anew: CAGE's whole head, or the last layer (with the batch norm that DDAMFN registers).
NEW_HEAD = "network.classifier."
NEW_LAYERS = 3
# The layers of DDAMFN's backbone as its own pretrained file names them, and as DDAMFN counts them.
MFN_LAYERS = ("conv1", "conv2_dw", "conv_23", "conv_3", "conv_34", "conv_4", "conv_45", "conv_5", "conv_6_sep")


class Scaling(nn.Module):
    """The standardisation of one kind of input, whose numbers travel in the checkpoint.

    Args:
        shape: of `mean` and `scale`, broadcast over a batch: `[D]` or `[3, 1, 1]`.
        fitted: whether training fits them to its data; identity, or what is set, otherwise.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, shape: tuple[int, ...], fitted: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.fitted = fitted

    def fit_to(self, x: torch.Tensor) -> None:
        """Take mean and standard deviation from training inputs; a constant column keeps scale 1."""
        axes = (0,) if x.dim() == 2 else (0, 2, 3)
        x = x.double()
        deviation = x.std(axes, unbiased=False)
        self.mean.copy_(x.mean(axes).reshape(self.mean.shape))
        self.scale.copy_(torch.where(deviation > 1e-8, deviation, 1.0).reshape(self.scale.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raw inputs (parameters, or pixels 0..255) to zero mean and unit deviation."""
        return (x.float() - self.mean) / self.scale


class Standardised(nn.Module):
    """A network behind the standardisation of its inputs.

    Args:
        network: what sees standardised inputs.
        scalings: one per input, in the network's order.
    """

    def __init__(self, network: nn.Module, *scalings: Scaling) -> None:
        super().__init__()
        self._scalings = nn.ModuleList(scalings)
        self.network = network

    @property
    def scalings(self) -> list[Scaling]:
        """One per input."""
        return [scaling for scaling in self._scalings if isinstance(scaling, Scaling)]

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.network.parameters()).device

    def standardise(self, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Each raw input standardised."""
        return tuple(scaling(x) for scaling, x in zip(self.scalings, inputs, strict=True))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Raw inputs `[B, ...]` to scores `[B, outputs]`."""
        scores: torch.Tensor = self.network(*self.standardise(inputs))
        return scores


def outputs_of(loss: LossSpec, dataset: Dataset) -> int:
    """Columns of the output of a network trained with a loss: the classes, then valence and arousal."""
    return len(dataset.class_names) * loss.has_classes + 2 * loss.has_va


def parameter_count(spec: TrainableSpec) -> int:
    """D, the number of 3D parameters that a network takes; 0 for image networks."""
    return sum(size for _, size in parameter_groups(spec))


def _params_scaling(spec: TrainableSpec, fitted: bool) -> Scaling:
    return Scaling((parameter_count(spec),), fitted)


def _imagenet() -> Scaling:
    scaling = Scaling((3, 1, 1), fitted=False)
    scaling.mean.copy_(255 * torch.tensor(IMAGENET_MEAN)[:, None, None])
    scaling.scale.copy_(255 * torch.tensor(IMAGENET_DEVIATION)[:, None, None])
    return scaling


def _mlp3d(spec: TrainableSpec, outputs: int, classes: int) -> Standardised:
    assert isinstance(spec, Mlp3dSpec)
    inputs, scaling = parameter_count(spec), _params_scaling(spec, spec.variant == "paper")
    if spec.variant == "published_residual":
        return Standardised(ResidualMlp3d(inputs, outputs), scaling)
    return Standardised(Mlp3d(inputs, outputs, spec.width, DROPOUTS[spec.variant]), scaling)


def _cnn(spec: TrainableSpec, outputs: int, classes: int) -> Standardised:
    assert isinstance(spec, CnnSpec)
    return Standardised(Cnn(outputs, spec.width), Scaling((3, 1, 1), fitted=True))


def _ddamfn(spec: TrainableSpec, outputs: int, classes: int) -> Standardised:
    assert isinstance(spec, DdamfnSpec)
    return Standardised(Ddamfn(outputs, spec.heads), _imagenet())


def _cage(spec: TrainableSpec, outputs: int, classes: int) -> Standardised:
    assert isinstance(spec, CageSpec)
    dropout = CAGE_VA_DROPOUT if outputs == 2 else 0.0
    network = cage_network(spec.backbone, outputs, dropout, spec.stochastic_depth)
    if spec.start_from is None:
        begin_from_nothing(network)
    return Standardised(network, _imagenet())


def _intermediate(spec: TrainableSpec, outputs: int, classes: int) -> Standardised:
    assert isinstance(spec, IntermediateSpec)
    inputs = parameter_count(spec)
    if spec.backbone == "ddamfn":
        network: nn.Module = DdamfnWithParams(inputs, outputs, classes, spec.heads)
    else:
        network = MaxvitWithParams(inputs, outputs, spec.stochastic_depth)
        if spec.start_from is None:
            begin_from_nothing(network)
    return Standardised(network, _imagenet(), _params_scaling(spec, not spec.raw_params))


_KINDS: dict[str, Callable[[TrainableSpec, int, int], Standardised]] = {
    "mlp3d": _mlp3d,
    "cnn": _cnn,
    "ddamfn": _ddamfn,
    "cage": _cage,
    "intermediate": _intermediate,
}


def build_network(spec: TrainableSpec, dataset: Dataset, stage: int = -1) -> Standardised:
    """The untrained network of a spec.

    Args:
        stage: which of its trainings the outputs are for; the last one by default.
    """
    return _KINDS[spec.kind](spec, outputs_of(spec.stages[stage].loss, dataset), len(dataset.class_names))


def carry_over(before: Standardised, after: Standardised) -> None:
    """Give a stage's network the weights of the stage before; what has another shape or name stays new.

    Raises:
        Ig3dError: more than the last layer would stay new.
    """
    there = before.state_dict()
    state = after.state_dict()
    fits = [name for name in state if name in there and there[name].shape == state[name].shape]
    taken = {name: there[name] for name in fits if not name.startswith(NEW_HEAD)}
    new = {name.rsplit(".", 1)[0] for name in state if name not in taken}
    if len(new) > NEW_LAYERS:
        raise Ig3dError(f"the second training would begin with new layers {', '.join(sorted(new)[:4])} ...")
    after.load_state_dict(state | taken)


def start_from(network: Standardised, weights: dict[str, torch.Tensor], what: str) -> None:
    """Put brought weights into a network's image part; classifiers and fusion layers stay new.

    Args:
        weights: a state dict with the names of the published backbone.
        what: their name, for messages.

    Raises:
        Ig3dError: a layer of the image part is missing, or of another shape.
    """
    image_part = network.network.image if isinstance(network.network, MaxvitWithParams) else network.network
    if f"{MFN_LAYERS[0]}.conv.weight" in weights:
        numbers = {layer: f"features.{index}" for index, layer in enumerate(MFN_LAYERS)}
        split = {name: name.partition(".") for name in weights}
        weights = {f"{numbers[a]}.{b}": weights[name] for name, (a, _, b) in split.items() if a in numbers}
    state = image_part.state_dict()
    new = ("classifier.", "head.", "fc.", "bn.", "cat_head", "Linear.", "Wash_Linear1.", "linear_fusion.", "out.")
    for name, value in state.items():
        if name.startswith(new):
            continue
        if name not in weights or weights[name].shape != value.shape:
            found = f"has {tuple(weights[name].shape)}" if name in weights else "has none"
            raise Ig3dError(f"{what}: these weights don't fit: {name} is {tuple(value.shape)}, the file {found}")
        state[name] = weights[name]
    image_part.load_state_dict(state)
