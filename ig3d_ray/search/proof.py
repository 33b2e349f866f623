"""A proof beside the answer: the accuracy that no weights of the chosen members exceed.

Of two and three members the best weights are solved for; of more their accuracy is bounded from above.
"""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion.combine import into_space
from ig3d_ray.fusion.pair_weight import best_weight
from ig3d_ray.fusion.three import best_of_three
from ig3d_ray.fusion.upper_bound import UpperBound, upper_bound
from ig3d_ray.search.held_out import fused_scores
from ig3d_ray.search.scoring import Result

SOLVED_MEMBERS = 3


@dataclass(frozen=True)
class Proof:
    """The best weights of an ensemble's members on the selection set, or a bound of their accuracy.

    Attributes:
        members: of the ensemble.
        chosen: its accuracy there.
        best: the accuracy of the best weights; None where they were not solved for.
        weights: these, in the order of the members.
        bound: what no weights exceed; None for a single member, or other than one weight for each. Of two or three
            members it is more than `best` only where the proof was cut short.
        wrong: of more members, what the bound comes from.
    """

    members: tuple[str, ...]
    chosen: float
    best: float | None = None
    weights: tuple[float, ...] = ()
    bound: float | None = None
    wrong: UpperBound | None = None


def has_proof(result: Result) -> bool:
    """Whether an ensemble is one of several members with one weight for each, or their mean."""
    fusion = result.fusion
    averages = fusion.strategy in ("weighted", "mean") and fusion.weights_by_column is None
    return len(result.members) > 1 and averages and fusion.is_static


def prove(result: Result, pool: Pool) -> Proof:
    """Solve or bound the weights of an ensemble's members for accuracy, in its own space, temperatures and floors.

    Args:
        result: the ensemble.
        pool: the selection set, of classes.
    """
    fusion, labels = result.fusion, pool.labels
    chosen = metrics.score_one(pool.task, fused_scores(result, pool), labels, "accuracy")
    if not has_proof(result):
        return Proof(result.members, chosen)
    outputs = into_space(pool.outputs_of(result.members), fusion.space, fusion.temperatures, pool.task, fusion.floors)
    if len(result.members) == 2:
        weight = best_weight(pool.task, outputs[0], outputs[1], labels, "accuracy").weight
        weights = np.array([1 - weight, weight])
        best = metrics.score_one(pool.task, np.einsum("m,mnc->nc", weights, outputs), labels, "accuracy")
        return Proof(result.members, chosen, best, tuple(weights.tolist()), best)
    if len(result.members) > SOLVED_MEMBERS:
        weights = np.ones(len(outputs)) if fusion.weights is None else np.array(fusion.weights)
        found_wrong = upper_bound(outputs, labels, weights)
        return Proof(result.members, chosen, bound=found_wrong.accuracy, wrong=found_wrong)
    found, count = best_of_three(outputs, labels), len(labels)
    return Proof(result.members, chosen, found.right / count, tuple(found.weights.tolist()), found.bound / count)
