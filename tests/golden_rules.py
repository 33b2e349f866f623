"""Weights and inputs of the golden cases, which follow from a name and a seed alone.

The outputs in `golden/networks.json` are those of the published networks with these weights on these inputs (CPU,
float32, evaluation mode); `golden/confusion_counts.json` holds the counts of the published confusion matrices.
"""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"
NETWORKS = GOLDEN / "networks.json"
CONFUSIONS = GOLDEN / "confusion_counts.json"


def cases() -> list[dict[str, Any]]:
    """Every golden case: name, seed, shapes of inputs and layers, output."""
    found: list[dict[str, Any]] = json.loads(NETWORKS.read_text())
    return found


def normal(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Standard normal numbers of this name and seed, float64."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape)


def inputs(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """An input of a network, float32."""
    return torch.from_numpy(normal(name, tuple(shape), seed).astype(np.float32))


def fill(state_dict: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """The weights of a case: matrices and kernels keep the scale of their inputs, norms stay near the identity."""
    return {name: _weight(name, value, seed) for name, value in state_dict.items()}


def _weight(name: str, value: torch.Tensor, seed: int) -> torch.Tensor:
    if not value.is_floating_point():
        return value.clone()
    x, is_vector = normal(name, tuple(value.shape), seed), value.dim() <= 1
    if name.endswith("running_var"):
        x = 1 + 0.1 * np.abs(x)
    elif is_vector:
        x = 0.1 * x + (0.8 if name.endswith("weight") else 0.0)
    else:
        x = x * np.sqrt(0.8 / math.prod(value.shape[1:]))
    return torch.from_numpy(np.asarray(x, np.float32)).reshape(value.shape)
