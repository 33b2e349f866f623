"""Fallbacks of an ensemble: the best fusion of the members whose inputs are available, chosen in advance."""

import itertools
from collections.abc import Iterator, Sequence

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.ensembles.spec import EnsembleMember, Fallback
from ig3d_ray.evaluation.bootstrap import DECIMALS
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion.calibrated import fused_temperature, with_temperature
from ig3d_ray.search.candidates import Candidate, choices, of_many
from ig3d_ray.search.scoring import Result, best_of, score_batch


def build_fallbacks(
    space: SearchSpace, pool: Pool, chosen: Result, members: Sequence[EnsembleMember]
) -> tuple[Fallback, ...]:
    """For each set of inputs that may be missing, the best fusion of the chosen members that don't need them.

    Args:
        pool: the selection set.
        chosen: the exported ensemble.
        members: its members.
    """
    features = {member.name: set(member.features) for member in members}
    known: dict[tuple[str, ...], Result] = {}
    found = []
    gated = chosen.fusion.features
    for lacking in _subsets(sorted(gated.union(*features.values()))):
        rest = tuple(name for name in chosen.members if not features[name] & set(lacking))
        if not rest or (len(rest) == len(chosen.members) and not gated & set(lacking)):
            continue
        if rest not in known:
            known[rest] = _best(space, pool.only(rest))
        best = known[rest]
        score = round(best.score, DECIMALS)
        fusion = best.fusion
        if pool.task.has_classes:
            fused = fusion.apply(pool.outputs_of(best.members), pool.task)
            fusion = with_temperature(fusion, fused_temperature(fusion, fused, pool.labels))
        found.append(Fallback(missing=lacking, members=best.members, fusion=fusion, selection=score))
    return tuple(found)


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return itertools.chain.from_iterable(itertools.combinations(names, size) for size in range(1, len(names)))


def _best(space: SearchSpace, pool: Pool) -> Result:
    """The best of all fusions of a pool's members and of its best single member."""
    candidates = [Candidate((name,)) for name in pool.names]
    if len(pool.names) == 2:
        candidates += [
            Candidate(pool.names, strategy, in_space, "exact" if strategy == "weighted" else None, temperatures=warm)
            for strategy, in_space, warm in choices(space, pool).mixes
        ]
    elif len(pool.names) > 2:
        candidates += [of_many(pool.names, *method) for method in choices(space, pool).subset_methods]
    return best_of(score_batch(pool, candidates, space), space.objective)
