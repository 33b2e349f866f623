"""This package on pools for valence and arousal: the automatic choice, and each method on all members."""

import time

import numpy as np

from benchmarks.ladder.pools import LadderPool
from benchmarks.ladder.scores import judged_va
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.search.explorer import run_local
from ig3d_ray.search.held_out import fused_scores
from ig3d_ray.search.protocol import plan
from ig3d_ray.search.selection import Families
from ig3d_ray.types import Task


def ours_va(pool: LadderPool) -> dict[str, dict[str, float]]:
    """Name -> seconds, and CCC and RMSE on the fresh samples."""
    dev, fresh = _pool(pool.fit, pool.fit_labels), _pool(pool.fresh, pool.fresh_labels)
    content = {
        "dataset": dev.dataset,
        "objective": "ccc_mean",
        "pool": [{"kind": "imported", "name": name, "view": "2d"} for name in dev.names],
        "search": {"budget": 0, "enumerate_up_to": 0},
        "fusion": {"weights_per": ["member", "column"]},
    }
    space = SearchSpace.model_validate(content)
    started = time.perf_counter()
    arranged = plan(space.protocol, {"dev": dev, "test": fresh}, space.seed)
    families = Families(arranged, run_local(space, arranged.parts), space.objective)
    chosen = families.choose(0)
    took = time.perf_counter() - started
    picked = {"automatic": chosen} | {name: families.best[0][name] for name in families.names}
    return {
        name: {"seconds": took} | judged_va(fused_scores(result, fresh), fresh.labels)
        for name, result in picked.items()
    }


def _pool(predicted_MN2: np.ndarray, targets_N2: np.ndarray) -> Pool:
    names = tuple(f"m{i:02d}" for i in range(len(predicted_MN2)))
    ids = np.array([f"{row:06d}" for row in range(len(targets_N2))])
    views = tuple(f"v{i}" for i in range(len(names)))
    about = ("affectnet_va", "test", Task.VA, names, names, views)
    return Pool(*about, ids, predicted_MN2.astype(np.float32), targets_N2)  # type: ignore[arg-type]
