"""From a member's spec to its network and its inputs: the one table of kinds."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ig3d_ray.data.catalog import Dataset
from ig3d_ray.data.images import load_images
from ig3d_ray.data.params3d import subset_columns
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.members.cnn import Cnn
from ig3d_ray.members.mlp3d import Mlp3d
from ig3d_ray.members.spec import CnnSpec, Mlp3dSpec, TrainableSpec
from ig3d_ray.storage import Store


class Standardised(nn.Module):
    """A network behind the standardisation of its inputs, whose numbers travel in the checkpoint.

    Args:
        network: what sees standardised inputs.
        shape: of `mean` and `scale`, broadcast over a batch: `[D]` or `[3, 1, 1]`.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.network = network

    def fit_to(self, x: torch.Tensor) -> None:
        """Take mean and standard deviation from training inputs; a constant column keeps scale 1."""
        axes = (0,) if x.dim() == 2 else (0, 2, 3)
        x = x.double() if x.dim() == 2 else x[:: max(1, len(x) // 2000)].double()
        deviation = x.std(axes, unbiased=False)
        self.mean.copy_(x.mean(axes).reshape(self.mean.shape))
        self.scale.copy_(torch.where(deviation > 1e-8, deviation, 1.0).reshape(self.scale.shape))

    def standardise(self, x: torch.Tensor) -> torch.Tensor:
        """Raw inputs (parameters, or pixels 0..255) to zero mean and unit deviation."""
        return (x.float() - self.mean) / self.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raw inputs `[B, ...]` to scores `[B, outputs]`."""
        scores: torch.Tensor = self.network(self.standardise(x))
        return scores


def outputs_of(dataset: Dataset) -> int:
    """Columns of a network's output: the classes, then valence and arousal where the data set has them."""
    return len(dataset.class_names) + (2 if dataset.has_va else 0)


@dataclass(frozen=True)
class _Kind:
    network: Callable[[TrainableSpec, Dataset], Standardised]
    inputs: Callable[[TrainableSpec, Samples, Store], torch.Tensor]


def _mlp3d(spec: TrainableSpec, dataset: Dataset) -> Standardised:
    assert isinstance(spec, Mlp3dSpec)
    width = len(subset_columns(spec.representation, spec.subset))
    return Standardised(Mlp3d(width, outputs_of(dataset), spec.width), (width,))


def _cnn(spec: TrainableSpec, dataset: Dataset) -> Standardised:
    assert isinstance(spec, CnnSpec)
    return Standardised(Cnn(outputs_of(dataset), spec.width), (3, 1, 1))


def _params(spec: TrainableSpec, samples: Samples, store: Store) -> torch.Tensor:
    assert isinstance(spec, Mlp3dSpec)
    columns = subset_columns(spec.representation, spec.subset)
    return torch.from_numpy(samples.params(spec.representation)[:, columns].copy())


def _images(spec: TrainableSpec, samples: Samples, store: Store) -> torch.Tensor:
    assert isinstance(spec, CnnSpec)
    return torch.from_numpy(load_images(store, samples, spec.image_size))


_KINDS: dict[str, _Kind] = {
    "mlp3d": _Kind(_mlp3d, _params),
    "cnn": _Kind(_cnn, _images),
}


def build_network(spec: TrainableSpec, dataset: Dataset) -> Standardised:
    """The untrained network of a spec."""
    return _KINDS[spec.kind].network(spec, dataset)


def member_samples(spec: TrainableSpec, samples: Samples, split: str) -> Samples:
    """The samples of a split that have what this member looks at.

    Raises:
        Ig3dError: there are none.
    """
    chosen = samples.in_split(split).with_feature(spec.feature)
    if len(chosen) == 0:
        raise Ig3dError(f"{samples.dataset}: no {split} sample has {spec.feature}, which {spec.name} needs")
    return chosen


def member_inputs(spec: TrainableSpec, samples: Samples, store: Store) -> torch.Tensor:
    """Raw inputs `[N, ...]` of samples that all have this member's feature, in their order."""
    return _KINDS[spec.kind].inputs(spec, samples, store)
