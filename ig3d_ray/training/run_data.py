"""The data of a run's members: read once for those with the same inputs."""

import torch

from ig3d_ray.data.samples import Samples
from ig3d_ray.models.inputs import Feeding, member_inputs, member_samples
from ig3d_ray.models.spec import TrainedSpec
from ig3d_ray.storage.store import Store
from ig3d_ray.training.trainer import Labeled


class RunData:
    """A data set on a run's device.

    Args:
        store: where its images are stored.
        samples: the whole table.
        feeding: how inputs are provided to the networks.
    """

    def __init__(self, store: Store, samples: Samples, feeding: Feeding) -> None:
        self.store, self.samples, self.feeding = store, samples, feeding
        # Filtered without their parameters, which would be copied with every filter.
        self._light = samples.light
        self._read: dict[tuple[object, ...], Labeled] = {}
        self._chosen: dict[object, Samples] = {}

    def chosen(self, spec: TrainedSpec, split: str) -> Samples:
        """A split's samples that have a member's inputs, filtered once: at AffectNet's size that takes seconds."""
        key = (spec.features, split)
        if key not in self._chosen:
            self._chosen[key] = member_samples(spec, self._light, split)
        return self._chosen[key]

    def classes(self, spec: TrainedSpec) -> torch.Tensor:
        """`[N]` classes of a member's training samples."""
        return torch.from_numpy(self.chosen(spec, "train").expression)

    def labeled(self, spec: TrainedSpec, split: str) -> Labeled:
        """A split's inputs and labels on the device."""
        key = (*spec.inputs, split)
        if key not in self._read:
            if spec.image is not None:
                # Images are large: no others are kept in memory.
                self._read = {other: kept for other, kept in self._read.items() if other[:-1] == key[:-1]}
            chosen, device = self.chosen(spec, split), self.feeding.device
            inputs = member_inputs(spec, chosen, self.store, self.feeding, self.samples)
            labels, va = torch.from_numpy(chosen.expression), torch.from_numpy(chosen.va).nan_to_num()
            self._read[key] = Labeled(inputs, labels.to(device), va.to(device))
        return self._read[key]
