"""3D parameters in the files that people have."""

import json
from typing import Any

import numpy as np

from ig3d_ray.data.representations import groups_of, width_of


def parts_of(representation: Any, vector: np.ndarray) -> dict[str, np.ndarray]:
    parts, start = {}, 0
    for name, size in groups_of(representation):
        parts[name], start = vector[start : start + size], start + size
    return parts


def vectors(representation: Any, count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, width_of(representation))).astype(np.float32)


def as_json(representation: Any, vector: np.ndarray, **changed: Any) -> str:
    suffix = "_params" if representation == "smirk" else ""
    content = {f"{name}{suffix}": values.tolist() for name, values in parts_of(representation, vector).items()}
    # The published files have cam too, and their order is anybody's.
    content = {"cam": [1.0, 0.0, 0.0]} | dict(reversed(content.items()))
    return json.dumps({name: value for name, value in (content | changed).items() if value is not None})
