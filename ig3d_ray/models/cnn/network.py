"""A small convolutional network on face images: a backbone small enough to train on a laptop."""

import itertools

import torch
from torch import nn

from ig3d_ray.models.cnn.spec import CnnSpec
from ig3d_ray.models.scaling import Scaling, Standardized

GROWTH = 8
DROPOUT = 0.3


class Cnn(nn.Module):
    """Five stages of 3x3 convolutions, each halving the image, then global average and a linear layer.

    Args:
        outputs: classes, then valence and arousal where the data set has them.
        width: channels of the first stage; they double up to eightfold.
    """

    def __init__(self, outputs: int, width: int = 32) -> None:
        super().__init__()
        self.features = cnn_features(width)
        self.dropout = nn.Dropout(DROPOUT)
        self.output = nn.Linear(GROWTH * width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, 3, H, W]` standardized pixels to `[B, outputs]` raw scores."""
        scores: torch.Tensor = self.output(self.dropout(self.features(x)))
        return scores


def cnn_features(width: int) -> nn.Sequential:
    """Images `[B, 3, H, W]` to features `[B, 8 * width]`.

    Args:
        width: channels of the first stage.
    """
    channels = [3, width, 2 * width, 4 * width, GROWTH * width, GROWTH * width]
    stages = [_stage(i, o) for i, o in itertools.pairwise(channels)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _stage(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def build(spec: CnnSpec, outputs: int, classes: int) -> Standardized:
    """The untrained network of a spec.

    Args:
        spec: the member's.
        outputs: columns of its output.
        classes: C of the data set.
    """
    return Standardized(Cnn(outputs, spec.width), Scaling((3, 1, 1), fitted=True))
