"""This package on a pool of the ladder: the automatic choice, and each method on all members."""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.ladder.pools import LadderPool
from benchmarks.ladder.scores import judged
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data import datasets
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion.calibrated import with_temperature
from ig3d_ray.importing.scores import to_logits
from ig3d_ray.search.arrays import pool_of_arrays
from ig3d_ray.search.calibrating import _fitted
from ig3d_ray.search.explorer import run_local
from ig3d_ray.search.held_out import fused_scores
from ig3d_ray.search.protocol import Plan, plan
from ig3d_ray.search.scoring import Result
from ig3d_ray.search.selection import Families


def logits_of(probabilities_MNC: np.ndarray) -> dict[str, np.ndarray]:
    """Members' logits as `ig3d import predictions` has them of a file of probabilities."""
    return {
        f"m{i:02d}": to_logits(f"m{i:02d}", member, "probabilities", "", "probabilities").values
        for i, member in enumerate(probabilities_MNC)
    }


def ours(pool: LadderPool, floors: bool = True) -> dict[str, dict[str, float]]:
    """Name -> seconds, and accuracy and mean log-loss on the fresh samples.

    Args:
        pool: of the ladder.
        floors: whether they are fitted, as a search space says.
    """
    dev = pool_of_arrays(logits_of(pool.fit), pool.fit_labels)
    fresh = pool_of_arrays(logits_of(pool.fresh), pool.fresh_labels)
    space = _space(dev, floors)
    started = time.perf_counter()
    arranged = plan(space.protocol, {"dev": dev, "test": fresh}, space.seed)
    families = Families(arranged, run_local(space, arranged.parts), space.objective)
    chosen = families.choose(0)
    took = time.perf_counter() - started
    name = next(n for n, result in families.best[0].items() if result is chosen)
    found = {"automatic": {"seconds": took} | _scored(arranged, families.pick(name), fresh)}
    for family in families.names:
        found[family] = {"seconds": took} | _scored(arranged, families.pick(family), fresh)
    return found


def _space(pool: Pool, floors: bool) -> SearchSpace:
    content = {
        "dataset": datasets.dataset(pool.dataset).name,
        "objective": "accuracy",
        "pool": [{"kind": "imported", "name": name, "view": "2d"} for name in pool.names],
        # Every method on all members; pairs and subsets are another benchmark's.
        "search": {"budget": 0, "enumerate_up_to": 0},
        "fusion": {"floors": "fitted" if floors else "none"},
    }
    return SearchSpace.model_validate(content)


def _scored(arranged: Plan, pick: Callable[[int], Result], fresh: Pool) -> dict[str, float]:
    temperature, _ = _fitted(arranged, pick, 0, None)
    fusion = with_temperature(pick(0).fusion, temperature)
    fused = fused_scores(pick(0), fresh)
    return judged(np.asarray(fusion.probabilities(fused)), fresh.labels)
