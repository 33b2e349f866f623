"""Intermediate fusion: an image network's features and 3D parameters in one classifier.

In the published valence-arousal script the classifier never reached the optimizer, and in the published
tests an untrained attention head was inserted. Here every module that is used is trained, and heads load strictly.
"""

import torch
from torch import nn

from ig3d_ray.models.cage.network import start_branches_at_zero
from ig3d_ray.models.cage.spec import STOCHASTIC_DEPTH
from ig3d_ray.models.cnn.network import DROPOUT, GROWTH, cnn_features
from ig3d_ray.models.ddamfn.network import BACKBONE_CHANNELS, Attended, AttendedBackbone
from ig3d_ray.models.intermediate.spec import IntermediateSpec
from ig3d_ray.models.scaling import Scaling, Standardized, imagenet

SLOPE = 0.2


class DdamfnWithParams(AttendedBackbone):
    """DDAMFN's pooled features and the parameters, each 512 wide, through two hidden layers.

    Args:
        inputs: D, the number of 3D parameters.
        outputs: classes, then valence and arousal where trained.
        classes: C, the width of DDAMFN's own classifier `fc`, which stays registered and isn't used.
        heads: attention heads; three of the four published networks have one, RAF-DB with SMIRK has two.

    Source: Ig3D section 4.2 and its published code, whose names the parameters have.
    """

    def __init__(self, inputs: int, outputs: int, classes: int, heads: int = 1) -> None:
        super().__init__(classes, heads)
        self.Wash_Linear1 = nn.Linear(inputs, BACKBONE_CHANNELS)
        self.linear_fusion = nn.Sequential(
            nn.Linear(2 * BACKBONE_CHANNELS, 2048), nn.LeakyReLU(SLOPE), nn.Linear(2048, 1024), nn.LeakyReLU(SLOPE)
        )
        self.out = nn.Linear(1024, outputs)
        self.fc.requires_grad_(False)

    def forward(self, image: torch.Tensor, params: torch.Tensor) -> torch.Tensor | Attended:
        """`[B, 3, 112, 112]` and `[B, D]`, both normalized, to raw scores `[B, outputs]`; with heads in training."""
        pooled, _, maps = self.attend(image)
        scores: torch.Tensor = self.out(self.linear_fusion(torch.cat([self.Wash_Linear1(params), pooled], dim=1)))
        return Attended(scores, maps) if self.training else scores


class MaxvitWithParams(nn.Module):
    """MaxViT's features and the parameters, each 512 wide, through one hidden layer.

    Args:
        inputs: D, the number of 3D parameters.
        outputs: classes, then valence and arousal; or these two alone.
        stochastic_depth: MaxViT's.

    Source: Ig3D's published valence-arousal script.
    """

    def __init__(self, inputs: int, outputs: int, stochastic_depth: float = STOCHASTIC_DEPTH) -> None:
        super().__init__()
        from ig3d_ray.models.cage.network import maxvit_features

        self.image = maxvit_features(stochastic_depth)
        self.params = nn.Linear(inputs, 512)
        self.hidden = nn.Sequential(nn.Linear(1024, 512), nn.Tanh())
        self.output = nn.Linear(512, outputs, bias=False)

    def forward(self, image: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """`[B, 3, 224, 224]` and `[B, D]`, both normalized, to raw scores `[B, outputs]`."""
        scores: torch.Tensor = self.output(self.hidden(torch.cat([self.image(image), self.params(params)], dim=1)))
        return scores


class CnnWithParams(nn.Module):
    """The small CNN's features and the parameters, each as wide as its last stage, through one hidden layer.

    Args:
        inputs: D, the number of 3D parameters.
        outputs: classes, then valence and arousal where trained.
        width: channels of the CNN's first stage.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.image = cnn_features(width)
        channels = GROWTH * width
        self.params = nn.Linear(inputs, channels)
        self.hidden = nn.Sequential(nn.Linear(2 * channels, channels), nn.LeakyReLU(SLOPE), nn.Dropout(DROPOUT))
        self.output = nn.Linear(channels, outputs)

    def forward(self, image: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """`[B, 3, H, W]` and `[B, D]`, both normalized, to raw scores `[B, outputs]`."""
        scores: torch.Tensor = self.output(self.hidden(torch.cat([self.image(image), self.params(params)], dim=1)))
        return scores


def build(spec: IntermediateSpec, outputs: int, classes: int) -> Standardized:
    """The untrained network of a spec.

    Args:
        spec: the member's.
        outputs: columns of its output.
        classes: C of the data set.
    """
    inputs = spec.parameter_count
    parameters = Scaling((inputs,), fitted=spec.params == "standardized")
    if spec.backbone == "cnn":
        return Standardized(CnnWithParams(inputs, outputs, spec.cnn.width), Scaling((3, 1, 1), fitted=True), parameters)
    if spec.backbone == "ddamfn":
        network: nn.Module = DdamfnWithParams(inputs, outputs, classes, spec.heads)
    else:
        network = MaxvitWithParams(inputs, outputs, spec.stochastic_depth)
        if spec.start_from is None:
            start_branches_at_zero(network)
    return Standardized(network, imagenet(), parameters)
