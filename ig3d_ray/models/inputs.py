"""Network inputs: parameters and small image sets are kept on the device, large ones are decoded in advance."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ig3d_ray.data.images import ImageSet
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.spec import Input, ParameterInput, TrainedSpec
from ig3d_ray.storage.store import Store

GIB = 2**30
Batch = tuple[torch.Tensor, ...]
FITTED_ON = 2000
PICTURES_AT_ONCE = 64
DECODED_AT_ONCE = 4096


@dataclass(frozen=True)
class Feeding:
    """How inputs reach the network.

    Attributes:
        device: the network's.
        decoders: processes that decode images in advance; with 0, decoding is synchronous.
        memory: decoded images of a split are kept on the device up to this many bytes.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    decoders: int = 0
    memory: float = 2 * GIB


class Inputs:
    """Raw inputs of samples, in their order: resident tensors `[N, ...]`, and images that are decoded on demand.

    Args:
        parts: the inputs.
        read: reads them, if they can be read again at little cost.
    """

    def __init__(self, parts: Sequence["Part"], read: Callable[[], Sequence["Part"]] | None = None) -> None:
        self._parts: tuple[Part, ...] | None = tuple(parts)
        self._read, self._count = read, len(parts[0])

    @property
    def parts(self) -> tuple["Part", ...]:
        """The inputs, read again if they were released."""
        if self._parts is None:
            assert self._read is not None
            self._parts = tuple(self._read())
        return self._parts

    def release(self) -> None:
        """Free the memory of inputs that can be read again, until they are used the next time."""
        if self._read is not None:
            self._parts = None

    def __len__(self) -> int:
        return self._count

    def batches(self, order: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """The inputs of each batch of rows, on the device."""
        streams = [part.batches(order) if isinstance(part, Decoded) else _picked(part, order) for part in self.parts]
        return zip(*streams, strict=True)

    @property
    def image_size(self) -> int | None:
        """The side of the images, None if there are none."""
        for part in self.parts:
            if isinstance(part, Decoded):
                return part.images.size
            if part.dim() == 4:
                return int(part.shape[-1])
        return None

    def some(self, index: int) -> torch.Tensor:
        """One of the inputs, for fitting means and deviations: all parameters, or some thousand images."""
        part = self.parts[index]
        if isinstance(part, torch.Tensor) and part.dim() == 2:
            return part
        rows = torch.arange(0, len(self), max(1, len(self) // FITTED_ON))
        if isinstance(part, torch.Tensor):
            return part[rows.to(part.device)]
        return torch.cat(list(part.batches(rows.split(PICTURES_AT_ONCE))))


def _picked(x: torch.Tensor, order: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    for rows in order:
        yield x[rows.to(x.device, non_blocking=True)]


class Decoded:
    """Images `[N, 3, H, W]` uint8 that loader processes decode ahead of the training."""

    def __init__(self, images: ImageSet, feeding: Feeding) -> None:
        self.images, self.feeding = images, feeding
        self._order: list[list[int]] = []
        # One loader for all epochs: its processes persist, and read the sample order at the start of each epoch.
        self._loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, order: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The images of each batch of rows, on the device."""
        self._order[:] = [rows.tolist() for rows in order]
        if self._loader is None:
            decoders, pinned = self.feeding.decoders, self.feeding.device.type == "cuda"
            ahead: dict[str, Any] = {"prefetch_factor": 4, "persistent_workers": True} if decoders else {}
            # A loader draws a seed for its processes; from the global generator it would disturb dropout's draws.
            own: dict[str, Any] = {"generator": torch.Generator(), "pin_memory": pinned}
            self._loader = DataLoader(
                _Decoding(self.images), batch_sampler=self._order, num_workers=decoders, **own, **ahead
            )
        for images in self._loader:
            yield images.to(self.feeding.device, non_blocking=True)


Part = torch.Tensor | Decoded


class _Decoding(Dataset[torch.Tensor]):
    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.images[index]))


def _resident(images: ImageSet, device: torch.device) -> torch.Tensor:
    """All images on the device; for a GPU, only a few at a time are in host memory."""
    x = torch.empty((len(images), 3, images.size, images.size), dtype=torch.uint8, device=device)
    for start in range(0, len(images), DECODED_AT_ONCE):
        some = range(start, min(start + DECODED_AT_ONCE, len(images)))
        x[start : some.stop] = torch.from_numpy(images.some(some)).to(device)
    return x


def member_samples(spec: TrainedSpec, samples: Samples, split: str) -> Samples:
    """The samples of a split that have this member's inputs.

    Raises:
        Ig3dError: there are none.
    """
    chosen = samples.in_split(split)
    for feature in spec.features:
        chosen = chosen.with_feature(feature)
        if len(chosen) == 0:
            raise Ig3dError(f"{samples.dataset}: no {split} sample has {feature}, which {spec.name} needs")
    return chosen


def member_inputs(
    spec: TrainedSpec, samples: Samples, store: Store, feeding: Feeding | None = None, source: Samples | None = None
) -> Inputs:
    """Raw inputs of samples that all have this member's features, in their order.

    Args:
        spec: the member's.
        samples: those of a split.
        store: with their images.
        feeding: how inputs reach the network.
        source: the samples whose parameters were loaded, if `samples` are without.
    """
    given = feeding or Feeding()

    def read() -> list[Part]:
        return [_part(one, samples, store, given, source or samples) for one in spec.inputs]

    are_parameters = all(isinstance(one, ParameterInput) for one in spec.inputs)
    return Inputs(read(), read if are_parameters else None)


def _part(one: Input, samples: Samples, store: Store, feeding: Feeding, source: Samples) -> "Part":
    """One input of all samples: parameters, and images that fit into memory, are kept on the device."""
    if isinstance(one, ParameterInput):
        values = source.params_of(one.representation, samples.table["sample_id"], one.columns)
        return torch.from_numpy(values).to(feeding.device)
    images = ImageSet(store, samples, one.size)
    fits = len(images) * 3 * one.size**2 <= feeding.memory
    return _resident(images, feeding.device) if fits else Decoded(images, feeding)
