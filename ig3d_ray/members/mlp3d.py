"""The paper's classifier on 3D face-model parameters."""

import torch
from torch import nn


class Mlp3d(nn.Module):
    """Four hidden layers, each Linear, BatchNorm, LeakyReLU(0.2); dropout after the first two.

    Args:
        inputs: D, the number of parameters.
        outputs: classes, then valence and arousal where the data set has them.
        width: units of each hidden layer.

    Source: Ig3D section 4.1 (2048 units, dropout 50 % and 40 %); the slope and the names of the
    parameters (`fc1` .. `output`) are those of the published code, whose own networks drop only once.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 2048) -> None:
        super().__init__()
        self.fc1, self.bn1 = nn.Linear(inputs, width), nn.BatchNorm1d(width)
        self.fc2, self.bn2 = nn.Linear(width, width), nn.BatchNorm1d(width)
        self.fc3, self.bn3 = nn.Linear(width, width), nn.BatchNorm1d(width)
        self.fc4, self.bn4 = nn.Linear(width, width), nn.BatchNorm1d(width)
        self.output = nn.Linear(width, outputs)
        self.activation = nn.LeakyReLU(0.2)
        self.dropout1, self.dropout2 = nn.Dropout(0.5), nn.Dropout(0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, D]` standardised parameters to `[B, outputs]` raw scores."""
        x = self.dropout1(self.activation(self.bn1(self.fc1(x))))
        x = self.dropout2(self.activation(self.bn2(self.fc2(x))))
        x = self.activation(self.bn3(self.fc3(x)))
        x = self.activation(self.bn4(self.fc4(x)))
        scores: torch.Tensor = self.output(x)
        return scores
