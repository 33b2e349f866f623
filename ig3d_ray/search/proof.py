"""A proof beside the answer: the accuracy that no weights of the chosen members exceed."""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion.combine import into_space
from ig3d_ray.fusion.pair_weight import best_weight
from ig3d_ray.fusion.three import best_of_three
from ig3d_ray.search.held_out import fused_scores
from ig3d_ray.search.scoring import Result

PROVEN_MEMBERS = (2, 3)


@dataclass(frozen=True)
class Proof:
    """The best weights of an ensemble's members on the selection set, by exact methods.

    Attributes:
        members: of the ensemble.
        chosen: its accuracy there.
        best: the accuracy of the best weights; None for other than two or three members, or more than weights.
        weights: these, in the order of the members.
        bound: what no weights exceed; more than `best` only where the proof was cut short.
    """

    members: tuple[str, ...]
    chosen: float
    best: float | None = None
    weights: tuple[float, ...] = ()
    bound: float | None = None


def prove(result: Result, pool: Pool) -> Proof:
    """Solve the weights of an ensemble's members for accuracy, in its own space, temperatures and floors.

    Args:
        result: the ensemble.
        pool: the selection set, of classes.
    """
    fusion, labels = result.fusion, pool.labels
    chosen = metrics.score_one(pool.task, fused_scores(result, pool), labels, "accuracy")
    if len(result.members) not in PROVEN_MEMBERS or not fusion.is_static:
        return Proof(result.members, chosen)
    outputs = into_space(pool.outputs_of(result.members), fusion.space, fusion.temperatures, pool.task, fusion.floors)
    if len(result.members) == 2:
        weight = best_weight(pool.task, outputs[0], outputs[1], labels, "accuracy").weight
        weights = np.array([1 - weight, weight])
        best = metrics.score_one(pool.task, np.einsum("m,mnc->nc", weights, outputs), labels, "accuracy")
        return Proof(result.members, chosen, best, tuple(weights.tolist()), best)
    found, count = best_of_three(outputs, labels), len(labels)
    return Proof(result.members, chosen, found.right / count, tuple(found.weights.tolist()), found.bound / count)
