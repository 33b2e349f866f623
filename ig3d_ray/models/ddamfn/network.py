"""DDAMFN: a mixed-kernel backbone and attention heads, with the names of the published state dict.

Some modules are registered and never used (`bn`, `prelu` of every mixed convolution; `Linear` of every
head; the last `bn`). They are kept so that published checkpoints load strictly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from ig3d_ray.models.ddamfn.spec import DdamfnSpec
from ig3d_ray.models.scaling import Standardized, imagenet

BACKBONE_CHANNELS = 512
IMAGE_SIZE = 112
_UNUSED = (".conv_dw.bn.", ".conv_dw.prelu.", ".CoordAtt.Linear.")


class Attended(NamedTuple):
    """The training outputs of a network with attention heads.

    Attributes:
        scores: `[B, outputs]`.
        heads: one attention map `[B, 512, 7, 7]` per head.
    """

    scores: torch.Tensor
    heads: list[torch.Tensor]


class ConvBlock(nn.Module):
    """Convolution without bias, batch norm, and a PReLU per channel unless it is `linear`."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: tuple[int, int] = (1, 1),
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(channels_out)
        if not linear:
            self.prelu = nn.PReLU(channels_out)
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C_in, H, W]` to `[B, C_out, H, W]`, or smaller with a stride."""
        x = self.bn(self.conv(x))
        return x if self.linear else self.prelu(x)


class MixedDepthwise(nn.Module):
    """Depth-wise convolutions of several kernel sizes, each on its share of the channels."""

    def __init__(self, kernels: Sequence[int], splits: Sequence[int], stride: int) -> None:
        super().__init__()
        self.splits = list(splits)
        self.mixed_depthwise_conv = nn.ModuleList(
            nn.Conv2d(n, n, k, stride, k // 2, groups=n, bias=False) for k, n in zip(kernels, splits, strict=True)
        )
        self.bn = nn.BatchNorm2d(sum(splits))
        self.prelu = nn.PReLU(sum(splits))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` to the same, or smaller with a stride."""
        parts = torch.split(x, self.splits, dim=1)
        return torch.cat([conv(part) for conv, part in zip(self.mixed_depthwise_conv, parts, strict=True)], dim=1)


class CoordinateGate(nn.Module):
    """Coordinate attention: every channel is weighted by its row and by its column."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = max(8, channels // 32)
        self.conv1 = nn.Conv2d(channels, middle, 1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, channels, 1)
        self.conv3 = nn.Conv2d(middle, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` to the same shape."""
        height, width = x.shape[2:]
        pooled = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)], dim=2)
        rows, columns = torch.split(functional.hardswish(self.bn1(self.conv1(pooled))), [height, width], dim=2)
        by_row = torch.sigmoid(self.conv2(rows))
        by_column = torch.sigmoid(self.conv3(columns.transpose(2, 3)))
        return x * by_row * by_column


class MixBlock(nn.Module):
    """Expand, convolve with mixed kernels, gate, and project; with a skip connection if shapes match."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernels: Sequence[int],
        splits: Sequence[int],
        stride: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        middle = sum(splits)
        self.conv = ConvBlock(channels_in, middle)
        self.conv_dw = MixedDepthwise(kernels, splits, stride)
        self.CA = CoordinateGate(middle)
        self.project = ConvBlock(middle, channels_out, linear=True)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C_in, H, W]` to `[B, C_out, H, W]`, or smaller with a stride."""
        y: torch.Tensor = self.project(self.CA(self.conv_dw(self.conv(x))))
        return x + y if self.residual else y


class Repeated(nn.Module):
    """Residual blocks one after another."""

    def __init__(self, count: int, channels: int, kernels: Sequence[int], splits: Sequence[int]) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *(MixBlock(channels, channels, kernels, splits, residual=True) for _ in range(count))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` to the same shape."""
        y: torch.Tensor = self.model(x)
        return y


def mixed_feature_net() -> nn.Sequential:
    """The backbone up to its 512 channels: `[B, 3, 112, 112]` to `[B, 512, 7, 7]`; 4,035,752 parameters."""
    return nn.Sequential(
        ConvBlock(3, 64, (3, 3), stride=2, padding=1),
        ConvBlock(64, 64, (3, 3), padding=1, groups=64),
        MixBlock(64, 64, (3, 5, 7), (64, 32, 32), stride=2),
        Repeated(9, 64, (3, 5), (96, 32)),
        MixBlock(64, 128, (3, 5, 7), (128, 64, 64), stride=2),
        Repeated(16, 128, (3, 5), (192, 64)),
        MixBlock(128, 256, (3, 5, 7, 9), (256, 256, 256, 256), stride=2),
        Repeated(6, 256, (3, 5, 7), (172, 170, 170)),
        ConvBlock(256, BACKBONE_CHANNELS),
    )


class _HeadAttention(nn.Module):
    def __init__(self, channels: int = BACKBONE_CHANNELS, size: int = 7) -> None:
        super().__init__()
        middle = max(8, channels // 32)
        self.Linear_h = ConvBlock(channels, channels, (1, size), groups=channels, linear=True)
        self.Linear_w = ConvBlock(channels, channels, (size, 1), groups=channels, linear=True)
        self.conv1 = nn.Conv2d(channels, middle, 1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, channels, 1)
        self.conv3 = nn.Conv2d(middle, channels, 1)
        self.Linear = ConvBlock(channels, channels, (size, size), groups=channels, linear=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        pooled = torch.cat([self.Linear_h(x), self.Linear_w(x).transpose(2, 3)], dim=2)
        rows, columns = torch.split(functional.hardswish(self.bn1(self.conv1(pooled))), [height, width], dim=2)
        by_row = torch.sigmoid(self.conv2(rows))
        by_column = torch.sigmoid(self.conv3(columns.transpose(2, 3)))
        return (by_column * by_row).expand_as(x)


class AttentionHead(nn.Module):
    """A map of weights `[B, 512, 7, 7]` in (0, 1) for the backbone's features."""

    def __init__(self) -> None:
        super().__init__()
        self.CoordAtt = _HeadAttention()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features `[B, 512, 7, 7]` to weights of the same shape."""
        weights: torch.Tensor = self.CoordAtt(x)
        return weights


class AttendedBackbone(nn.Module):
    """Backbone, heads and pooling: what DDAMFN and its fusion with 3D parameters have in common.

    Args:
        outputs: columns of the registered classifier `fc` (and of the unused `bn`).
        heads: attention heads; their element-wise maximum weights the features.
    """

    # cuDNN compiles its depthwise convolutions for channels last anew for every shape: half a minute of waiting each.
    gpu_layout = torch.contiguous_format

    def __init__(self, outputs: int, heads: int) -> None:
        super().__init__()
        self.features = mixed_feature_net()
        self.heads = heads
        for index in range(heads):
            setattr(self, f"cat_head{index}", AttentionHead())
        self.Linear = ConvBlock(BACKBONE_CHANNELS, BACKBONE_CHANNELS, (7, 7), groups=BACKBONE_CHANNELS, linear=True)
        self.fc = nn.Linear(BACKBONE_CHANNELS, outputs)
        self.bn = nn.BatchNorm1d(outputs)
        freeze_unused(self)

    def attend(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """`[B, 3, 112, 112]` normalized to pooled features `[B, 512]`, the feature map, and the heads' maps."""
        x = self.features(image)
        maps = [getattr(self, f"cat_head{index}")(x) for index in range(self.heads)]
        strongest = maps[0]
        for other in maps[1:]:
            strongest = torch.maximum(strongest, other)
        return self.Linear(x * strongest).flatten(1), x, maps


class Ddamfn(AttendedBackbone):
    """DDAMFN and DDAMFN++: 4,187,936 parameters with 8 outputs and two heads, 1,190 entries.

    Args:
        outputs: classes, then valence and arousal where they are trained.
        heads: attention heads, 2 in the published models.
    """

    def __init__(self, outputs: int, heads: int = 2) -> None:
        super().__init__(outputs, heads)

    def forward(self, image: torch.Tensor) -> torch.Tensor | Attended:
        """`[B, 3, 112, 112]` normalized by ImageNet's mean and deviation to raw scores; with heads in training."""
        pooled, _, maps = self.attend(image)
        scores: torch.Tensor = self.fc(pooled)
        return Attended(scores, maps) if self.training else scores


def freeze_unused(network: nn.Module) -> None:
    """Mark the parameters that no output depends on, so that data parallelism doesn't wait for their gradients."""
    for name, parameter in network.named_parameters():
        if any(part in f".{name}" for part in _UNUSED) or name.startswith("bn."):
            parameter.requires_grad_(False)


def build(spec: DdamfnSpec, outputs: int, classes: int) -> Standardized:
    """The untrained network of a spec.

    Args:
        spec: the member's.
        outputs: columns of its output.
        classes: C of the data set.
    """
    return Standardized(Ddamfn(outputs, spec.heads), imagenet())
