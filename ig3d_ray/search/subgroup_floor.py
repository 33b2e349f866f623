"""A floor for the worst subgroup: an ensemble is chosen among those that reach it."""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.config.protocol import SubgroupFloor
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.search.subgroups import FEWEST
from ig3d_ray.types import Frozen


class FloorScores(Frozen):
    """Whether an ensemble reaches its floor."""

    attribute: str
    """Of the samples."""
    metric: str
    """That has the floor."""
    at_least: float
    """The floor."""
    selection: float
    """Of the worst subgroup on the selection set, every sample predicted by a choice made without it."""
    report: float | None
    """Of the worst subgroup on the report set; None where none has enough samples there."""
    worst: str | None
    """That subgroup of the report set."""


@dataclass(frozen=True)
class Worst:
    """The subgroup with the lowest score.

    Attributes:
        value: of the attribute.
        score: its metric.
    """

    value: str
    score: float


def worst_subgroup(pool: Pool, statistics: np.ndarray, floor: SubgroupFloor) -> Worst | None:
    """The subgroup with the lowest score; None where none has at least 20 samples.

    Args:
        pool: with the attribute.
        statistics: `[N, S]` of an ensemble there, see `evaluation.metrics`.
        floor: of which attribute and metric.
    """
    values = pool.attributes.get(floor.attribute)
    if values is None:
        return None
    names, counts = np.unique(values, return_counts=True)
    found = [
        Worst(str(name), float(metrics.from_sums(pool.task, statistics[values == name].sum(axis=0))[floor.metric]))
        for name, count in zip(names, counts, strict=True)
        if name and count >= FEWEST
    ]
    return min(found, key=lambda one: one.score, default=None)


def margin(pool: Pool, statistics: np.ndarray, floor: SubgroupFloor | None) -> float:
    """By how much the worst subgroup is above the floor, negative below it; 0 without a floor.

    Args:
        pool: with the attribute.
        statistics: `[N, S]` of an ensemble there.
        floor: that was asked for.
    """
    worst = None if floor is None else worst_subgroup(pool, statistics, floor)
    # Rounded, because the last bits depend on the machine.
    return 0.0 if worst is None or floor is None else round(worst.score - floor.at_least, 9)
