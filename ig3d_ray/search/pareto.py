"""The cost of an ensemble, and the Pareto front of score and cost."""

import fnmatch
from collections.abc import Sequence

from ig3d_ray.config.search_space import SearchSpec
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.search.scoring import Result


def cost_of(search: SearchSpec, members: Sequence[str]) -> float:
    """The number of members; or the sum of their costs, where cost is the second objective.

    Raises:
        Ig3dError: no cost is given for a member.
    """
    if search.second_objective != "cost":
        return float(len(members))
    return sum(_cost(search, name) for name in members)


def _cost(search: SearchSpec, name: str) -> float:
    for pattern, cost in search.costs.items():
        if fnmatch.fnmatch(name, pattern):
            return cost
    raise Ig3dError(f"search.costs: none for member {name!r}; add its name, or '*' for all others")


def pareto_front(results: Sequence[Result], objective: str, search: SearchSpec) -> list[tuple[float, Result]]:
    """(cost, result) of the Pareto front, ascending in cost: each is better than all others that cost no more."""
    sign = metrics.metric_of(objective).sign
    by_cost = sorted(((cost_of(search, r.members), r) for r in results), key=lambda one: (one[0], -sign * one[1].score))
    front: list[tuple[float, Result]] = []
    for cost, result in by_cost:
        if not front or sign * result.score > sign * front[-1][1].score:
            front.append((cost, result))
    return front
