"""A floor for the worst subgroup: an ensemble is chosen among those that reach it."""

import logging
from dataclasses import dataclass

import numpy as np

from ig3d_ray.config.protocol import ProtocolSpec, SubgroupFloor
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.search.subgroups import FEWEST
from ig3d_ray.types import Frozen

logger = logging.getLogger(__name__)


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


def floor_scores(protocol: ProtocolSpec, report: Pool, above: float, statistics: np.ndarray) -> FloorScores | None:
    """Whether an ensemble reaches the floor, by cross-fitting and on the report set; a warning if not.

    Args:
        protocol: which may have a floor.
        report: the report set.
        above: by how much its worst subgroup is above the floor, by cross-fitting.
        statistics: `[N, S]` of the ensemble on the report set.
    """
    floor = protocol.floor
    if floor is None:
        return None
    if above < 0:
        logger.warning(
            f"protocol.floor: no ensemble reaches {floor.metric} {floor.at_least:g} in each {floor.attribute} on"
            f" {protocol.choose_on}; the one that comes closest was chosen, with {floor.at_least + above:.4f}"
        )
    worst = worst_subgroup(report, statistics, floor)
    return FloorScores(
        attribute=floor.attribute,
        metric=floor.metric,
        at_least=floor.at_least,
        selection=round(floor.at_least + above, 9),
        report=None if worst is None else round(worst.score, 9),
        worst=None if worst is None else worst.value,
    )
