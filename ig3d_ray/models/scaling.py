"""Standardization of a network's inputs; the statistics are stored in the checkpoint."""

import torch
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
ROWS_AT_ONCE = 16_384


class Scaling(nn.Module):
    """The standardization of one kind of input; the statistics are stored in the checkpoint.

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
        count = x.numel() // self.mean.numel()
        # In double precision, but never of all inputs at once.
        blocks = x.split(ROWS_AT_ONCE)
        mean = sum(block.double().sum(axes, keepdim=True) for block in blocks) / count
        variance = sum(((block.double() - mean) ** 2).sum(axes) for block in blocks) / count
        deviation = torch.as_tensor(variance).sqrt()
        self.mean.copy_(torch.as_tensor(mean).reshape(self.mean.shape))
        self.scale.copy_(torch.where(deviation > 1e-8, deviation, 1.0).reshape(self.scale.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raw inputs (parameters, or pixels 0..255) to zero mean and unit deviation."""
        return (x.float() - self.mean) / self.scale


class Standardized(nn.Module):
    """A network behind the standardization of its inputs.

    Args:
        network: takes standardized inputs.
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
        """The device of the weights."""
        return next(self.network.parameters()).device

    def standardize(self, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Each raw input standardized."""
        return tuple(scaling(x) for scaling, x in zip(self.scalings, inputs, strict=True))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Raw inputs `[B, ...]` to scores `[B, outputs]`."""
        scores: torch.Tensor = self.network(*self.standardize(inputs))
        return scores


def imagenet() -> Scaling:
    """The fixed standardization of pixels 0..255 that networks trained on ImageNet expect."""
    scaling = Scaling((3, 1, 1), fitted=False)
    scaling.mean.copy_(255 * torch.tensor(IMAGENET_MEAN)[:, None, None])
    scaling.scale.copy_(255 * torch.tensor(IMAGENET_DEVIATION)[:, None, None])
    return scaling
