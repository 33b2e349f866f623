"""Pools of random logits, and search spaces over them."""

from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pandas as pd

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split, Task

MANY = {"methods": ["stack", "greedy", "coordinate"], "temperatures": ["none", "fitted"]}


def make_pool(split: Split, samples: int = 300, seed: int = 0, members_3d: int = 3) -> Pool:
    """A 2D member that knows half of what there is to know, and 3D members that know the other half."""
    rng = np.random.default_rng([seed, len(split)])
    labels = rng.integers(0, 7, samples)
    truth = np.eye(7)[labels]
    names = ("image", *(f"params{i}" for i in range(members_3d)))
    strength = [1.6] + [1.2 + 0.2 * i for i in range(members_3d)]
    outputs = [s * truth + rng.standard_normal((samples, 7)) for s in strength]
    return Pool(
        dataset="rafdb",
        split=split,
        task=Task.EXPRESSION,
        names=names,
        fingerprints=names,
        views=("2d",) + ("3d",) * members_3d,
        ids=np.array([f"{i:04d}" for i in range(samples)]),
        outputs_MNC=np.stack(outputs).astype(np.float32),
        labels=labels,
    )


def import_members(
    store: Store, outputs: np.ndarray, labels: np.ndarray, ids: list[str], split: Split = "test"
) -> list[dict[str, str]]:
    """Import logits `[M, N, 7]` as members a, b, ... of RAF-DB, from files; their items in a search space's pool."""
    file, items = Path(store.uri).parent / "members.csv", []
    for name, scores in zip(ascii_lowercase, outputs, strict=False):
        frame = pd.DataFrame(scores, columns=[f"logit_{c}" for c in range(7)])
        frame.assign(sample_id=ids, label=labels).to_csv(file, index=False)
        import_predictions(store, file, "rafdb", ImportedSpec(name=name, view="2d"), split)
        items.append({"kind": "imported", "name": name, "view": "2d"})
    return items


def space(**changes: object) -> SearchSpace:
    content: dict = {
        "dataset": "rafdb",
        "objective": "accuracy",
        "pool": [{"kind": "imported", "name": "image", "view": "2d"}],
        "search": {"budget": 40, "batch": 7, "concurrent": 2},
    }
    pairs_only = {"methods": [], "temperatures": "none"}
    fusion = pairs_only | dict(changes.pop("fusion", {}))  # type: ignore[call-overload]
    return SearchSpace.model_validate(content | changes | {"fusion": fusion})
