"""Pools with planted regions of competence, and what gates gain on them."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data.representations import representation, width_of
from ig3d_ray.fusion.combine import into_space
from ig3d_ray.fusion.fit import RICHER
from ig3d_ray.fusion.stacking import stack_logits
from ig3d_ray.search.arrays import pool_of_arrays
from ig3d_ray.search.explorer import run_local
from ig3d_ray.search.held_out import fused_scores
from ig3d_ray.search.protocol import plan
from ig3d_ray.search.scoring import Result
from ig3d_ray.search.selection import Families
from ig3d_ray.types import Task

CLASSES, CHOSEN_ON, FRESH = 7, 2000, 10_000
YAW = int(representation("emoca").group_columns(["pose"])[1])
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


class Trial(NamedTuple):
    """Accuracies on fresh samples, and whether the choice is a gate."""

    static: float
    """Of the best choice without gates."""
    chosen: float
    oracle: float
    """Of one that knows the region of each sample; its weights there are fitted to the fresh labels."""
    is_gate: bool


def drawn(seed: int, samples: int, scales: tuple[float, float] | None) -> Drawn:
    """Logits `[2, N, C]` of two members, labels `[N]`, and the region `[N]` of each sample.

    Args:
        seed: of what is drawn.
        samples: N.
        scales: how large the top logit is where a member is competent (92 % right) and elsewhere (35 %); of equal ones,
            the latter is 1.1 more or less. None: both members are equally good everywhere.
    """
    rng = np.random.default_rng(seed)
    labels, region = rng.integers(0, CLASSES, samples), rng.integers(0, 2, samples)
    if scales is None:
        noise = rng.standard_normal((2, samples, CLASSES))
        return 1.5 * (1.8 * np.eye(CLASSES)[labels] + noise), labels, region
    members = []
    for member in (0, 1):
        right = rng.random(samples) < np.where(region == member, 0.92, 0.35)
        predicted = np.where(right, labels, (labels + rng.integers(1, CLASSES, samples)) % CLASSES)
        elsewhere = scales[1] + (rng.choice([-1.1, 1.1], samples) if scales[0] == scales[1] else 0.0)
        top = np.where(region == member, scales[0], elsewhere)
        members.append(np.eye(CLASSES)[predicted] * top[:, None] + 0.35 * rng.standard_normal((samples, CLASSES)))
    return np.stack(members), labels, region


def posed(seed: int, samples: int, depends: bool) -> tuple[Drawn, np.ndarray]:
    """What `drawn` has, and EMOCA parameters `[N, 334]`: one member is competent at turned heads, the other one at
    frontal faces (90 % right, 40 % elsewhere), and neither is surer there.

    Args:
        seed: of what is drawn.
        samples: N.
        depends: False: the parameters have no relation to who is competent.
    """
    rng = np.random.default_rng(seed)
    labels, vectors = rng.integers(0, CLASSES, samples), rng.standard_normal((samples, width_of("emoca")))
    region = (np.abs(vectors[:, YAW]) > 0.67).astype(int) if depends else rng.integers(0, 2, samples)
    members = []
    for member in (0, 1):
        right = rng.random(samples) < np.where(region == member, 0.9, 0.4)
        predicted = np.where(right, labels, (labels + rng.integers(1, CLASSES, samples)) % CLASSES)
        members.append(3 * np.eye(CLASSES)[predicted] + rng.standard_normal((samples, CLASSES)))
    return (np.stack(members), labels, region), vectors.astype(np.float32)


def gate_trial(seed: int, scales: tuple[float, float] | None) -> Trial:
    """A trial of gates that take confidences as input."""
    return _trial(drawn(2 * seed, CHOSEN_ON, scales), drawn(2 * seed + 1, FRESH, scales))


def posed_trial(seed: int, groups: list[str], depends: bool, samples: int) -> Trial:
    """A trial of gates that take these groups of EMOCA parameters as input."""
    chosen_on, of_chosen = posed(2 * seed, samples, depends)
    fresh, of_fresh = posed(2 * seed + 1, FRESH, depends)
    given = {"gate_parameters": {"representation": "emoca", "groups": groups}}
    return _trial(chosen_on, fresh, given, ({"emoca": of_chosen}, {"emoca": of_fresh}))


def _trial(
    chosen_on: Drawn,
    reported_on: Drawn,
    fusion: dict[str, Any] | None = None,
    parameters: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {}),
) -> Trial:
    (logits, labels, _), (fresh, truth, region) = chosen_on, reported_on
    pool = replace(pool_of_arrays(logits, labels), parameters=parameters[0])
    other = replace(pool_of_arrays(fresh, truth), parameters=parameters[1])
    members = [{"kind": "imported", "name": name, "view": "2d"} for name in pool.names]
    content = {"dataset": pool.dataset, "objective": "accuracy", "pool": members, "search": {"budget": 0}}
    content |= {"fusion": fusion or {}}
    space = SearchSpace.model_validate(content)
    arranged = plan(space.protocol, {"dev": pool, "test": pool}, 0)
    families = Families(arranged, run_local(space, arranged.parts), "accuracy")
    chosen = families.choose(0)
    static = {name: value for name, value in families.cross_fitted(0).items() if name not in RICHER}

    def accuracy(fused: np.ndarray) -> float:
        return float((fused.argmax(axis=1) == truth).mean())

    def of(result: Result) -> float:
        return accuracy(fused_scores(result, other))

    about = families.best[0]["gate"].fusion
    values = into_space(fresh, "logits", about.temperatures, Task.EXPRESSION, about.floors)
    oracle = np.zeros_like(values[0])
    for one in (0, 1):
        rows = region == one
        oracle[rows] = np.tensordot(stack_logits(values[:, rows], truth[rows]).weights, values[:, rows], 1)
    without = families.best[0][families._best_name(0, static)]
    return Trial(of(without), of(chosen), accuracy(oracle), chosen.candidate.method == "gate")
