"""The paper's classifier on 3D face-model parameters, and the published code's variants of it."""

import torch
from torch import nn

from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.models.scaling import Scaling, Standardized

SLOPE = 0.2
DROPOUTS = {"paper": (0.5, 0.4), "published": (0.5, 0.0), "published_va": (0.0, 0.0)}


class SeededDropout(nn.Module):
    """Dropout whose draws come from a generator that training sets.

    So a member that trains in a cohort draws what it would draw alone.
    """

    generator: torch.Generator | None = None

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` of any shape; in training each element is 0 with probability p, the others grow by 1 / (1 - p)."""
        if not self.training or self.p == 0:
            return x
        kept = torch.rand(x.shape, device=x.device, generator=self.generator) >= self.p
        return x * kept / (1 - self.p)


class Mlp3d(nn.Module):
    """Four hidden layers, each Linear, BatchNorm, LeakyReLU(0.2); dropout after the first two.

    Args:
        inputs: D, the number of parameters.
        outputs: classes, then valence and arousal where they are trained.
        width: units of each hidden layer.
        dropouts: shares that are dropped after the first and the second layer.

    Source: Ig3D section 4.1 (2048 units, dropout 50 % and 40 %); the slope and the names of the
    parameters (`fc1` .. `output`) are those of the published code, whose own networks drop once or never.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int = 2048, dropouts: tuple[float, float] = DROPOUTS["paper"]
    ) -> None:
        super().__init__()
        self.fc1, self.bn1 = nn.Linear(inputs, width), nn.BatchNorm1d(width)
        self.fc2, self.bn2 = nn.Linear(width, width), nn.BatchNorm1d(width)
        self.fc3, self.bn3 = nn.Linear(width, width), nn.BatchNorm1d(width)
        self.fc4, self.bn4 = nn.Linear(width, width), nn.BatchNorm1d(width)
        self.output = nn.Linear(width, outputs)
        self.activation = nn.LeakyReLU(SLOPE)
        self.dropout1, self.dropout2 = SeededDropout(dropouts[0]), SeededDropout(dropouts[1])
        # Batch norm cancels these biases: their gradient is 0 except for rounding, which Adam would amplify.
        for layer in (self.fc1, self.fc2, self.fc3, self.fc4):
            layer.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, D]` parameters to `[B, outputs]` raw scores."""
        x = self.dropout1(self.activation(self.bn1(self.fc1(x))))
        x = self.dropout2(self.activation(self.bn2(self.fc2(x))))
        x = self.activation(self.bn3(self.fc3(x)))
        x = self.activation(self.bn4(self.fc4(x)))
        scores: torch.Tensor = self.output(x)
        return scores


class ResidualMlp3d(nn.Module):
    """The published code's other network, for SMIRK's short parameters on AffectNet: two residual blocks.

    Args:
        inputs: D, 353 in the published one.
        outputs: classes, then valence and arousal where they are trained.

    Source: Ig3D's published code; 1,761,802 parameters at 353 and 10.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.Smirk_Linear = nn.Linear(inputs, 512)
        self.residual_block1 = _residual(1024)
        self.residual_block2 = _residual(512)
        self.fc = nn.Linear(512, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, D]` parameters to `[B, outputs]` raw scores."""
        x = self.Smirk_Linear(x)
        x = x + self.residual_block1(x)
        x = x + self.residual_block2(x)
        scores: torch.Tensor = self.fc(x)
        return scores


def _residual(middle: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, middle), nn.ReLU(), SeededDropout(0.5), nn.Linear(middle, 512))


def build(spec: Mlp3dSpec, outputs: int, classes: int) -> Standardized:
    """The untrained network of a spec.

    Args:
        spec: the member's.
        outputs: columns of its output.
        classes: C of the data set.
    """
    scaling = Scaling((spec.parameter_count,), fitted=spec.variant == "paper")
    if spec.variant == "published_residual":
        return Standardized(ResidualMlp3d(spec.parameter_count, outputs), scaling)
    return Standardized(Mlp3d(spec.parameter_count, outputs, spec.width, DROPOUTS[spec.variant]), scaling)
