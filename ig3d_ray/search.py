"""The search over cached logits: suggest a batch of candidates, score a batch, do it in this process.

Optuna chooses which members, strategy and space; the weight of two is solved for. Candidates come in
rounds: a fixed number of batches is asked for, scored by anyone anywhere, and told back in the order in
which they were asked for. So the result depends on the search space and the seed alone, not on how many
machines scored the batches or which was the fastest.
"""

import fnmatch
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import optuna

from ig3d_ray import metrics
from ig3d_ray.ensemble import Fusion
from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion import exact
from ig3d_ray.fusion.spaces import Space, to_space
from ig3d_ray.fusion.strategies import Strategy
from ig3d_ray.pool import Pool
from ig3d_ray.space import SearchSpace

WEIGHT_DECIMALS = 9


@dataclass(frozen=True)
class Candidate:
    """One thing to score: a member alone, or the late fusion of a 2D and a 3D member.

    Attributes:
        members: one name, or the 2D member's and the 3D member's.
        strategy: None for a member alone.
        space: where class scores are combined.
        weight_3d: of the second member, for `weighted`; `exact` solves for it on the selection set.
        reference: the name of the reference that this is, or empty.
    """

    members: tuple[str, ...]
    strategy: Strategy | None = None
    space: Space = "logits"
    weight_3d: float | Literal["exact"] | None = None
    reference: str = ""


@dataclass(frozen=True)
class Result:
    """A scored candidate.

    Attributes:
        candidate: what was scored. fusion: with its weights as numbers.
        score: the objective on the selection set.
    """

    candidate: Candidate
    fusion: Fusion
    score: float


@dataclass(frozen=True)
class Batch:
    """Candidates to be scored together on one part's pool.

    Attributes:
        number: unique in the search, ascending. part: index of the pool to score on.
    """

    number: int
    part: int
    candidates: tuple[Candidate, ...]


def solve(candidate: Candidate, pool: Pool, objective: str) -> Fusion:
    """A candidate's fusion, its weight solved for on the pool where it says `exact`."""
    if candidate.weight_3d is None:
        return Fusion(strategy=candidate.strategy, space=candidate.space, weights=None)
    interval = None
    if candidate.weight_3d == "exact":
        best = best_weight(pool, candidate.members, candidate.space, objective)
        weight, interval = best.weight, (round(best.low, WEIGHT_DECIMALS), round(best.high, WEIGHT_DECIMALS))
    else:
        weight = candidate.weight_3d
    weight = round(weight, WEIGHT_DECIMALS)
    weights = (round(1 - weight, WEIGHT_DECIMALS), weight)
    return Fusion(strategy="weighted", space=candidate.space, weights=weights, equally_good_weight_3d=interval)


def best_weight(pool: Pool, members: Sequence[str], space: Space, objective: str) -> exact.BestWeight:
    """The solved weight of the second of two members in [0, 1].

    Raises:
        Ig3dError: there is no exact solution for this objective.
    """
    first, second = pool.outputs_of(members)
    if objective == "accuracy":
        return exact.accuracy_steps(to_space(first, space), to_space(second, space), pool.labels).best()
    kind, columns = objective, slice(0, 2)
    for index, dimension in enumerate(("_valence", "_arousal")):
        if objective.endswith(dimension):
            kind, columns = objective.removesuffix(dimension), slice(index, index + 1)
    if kind not in ("mse", "rmse", "ccc", "ccc_paper"):
        raise Ig3dError(f"no exact weight for objective {objective!r}; give fusion.weight_3d a range")
    chosen = (first[:, columns], second[:, columns], pool.labels[:, columns])
    return exact.best_mse_weight(*chosen) if kind in ("mse", "rmse") else exact.best_ccc_weight(*chosen)


def score_batch(pool: Pool, candidates: Sequence[Candidate], objective: str) -> list[Result]:
    """Score candidates on a pool, in order."""
    results = []
    for candidate in candidates:
        fusion = solve(candidate, pool, objective)
        fused = fusion.apply(pool.outputs_of(candidate.members), pool.task)
        value = metrics.score(pool.task, fused, pool.labels)[objective]
        results.append(Result(candidate, fusion, value))
    return results


@dataclass(frozen=True)
class Choices:
    """What Optuna chooses from, given a space and the members that are there."""

    members_2d: tuple[str, ...]
    members_3d: tuple[str, ...]
    strategies: tuple[Strategy, ...]
    spaces: tuple[Space, ...]
    weight_3d: Literal["exact"] | tuple[float, float]

    @property
    def count(self) -> int | None:
        """How many different candidates there are; None if a weight is sampled from a range."""
        if "weighted" in self.strategies and self.weight_3d != "exact":
            return None
        return len(self.members_2d) * len(self.members_3d) * len(self.strategies) * len(self.spaces)


def choices(space: SearchSpace, pool: Pool) -> Choices:
    """What can be tried: pairs of a member that looks at the image and one that looks at 3D parameters only."""
    names_2d = tuple(n for n, view in zip(pool.names, pool.views, strict=True) if view != "3d")
    names_3d = tuple(n for n, view in zip(pool.names, pool.views, strict=True) if view == "3d")
    spaces: tuple[Space, ...] = space.fusion.spaces if pool.task == "expression" else ("logits",)
    return Choices(names_2d, names_3d, space.fusion.strategies, spaces, space.fusion.weight_3d)


def suggest(trial: optuna.Trial, among: Choices) -> Candidate:
    """Ask Optuna for one candidate."""
    members = (
        trial.suggest_categorical("member_2d", among.members_2d),
        trial.suggest_categorical("member_3d", among.members_3d),
    )
    # By index: Optuna gives back a plain str, whose type would have to be asserted.
    strategy = among.strategies[trial.suggest_categorical("strategy", range(len(among.strategies)))]
    space = among.spaces[trial.suggest_categorical("space", range(len(among.spaces)))]
    weight: float | Literal["exact"] | None = None
    if strategy == "weighted":
        weight = "exact"
        if among.weight_3d != "exact":
            low, high = among.weight_3d
            weight = round(trial.suggest_float("weight_3d", low, high), WEIGHT_DECIMALS)
    return Candidate(members, strategy, space, weight)


def always_scored(space: SearchSpace, pool: Pool) -> tuple[Candidate, ...]:
    """Each member alone, and the references of the space for every pair that fits them."""
    fixed = [Candidate((name,)) for name in pool.names]
    among = choices(space, pool)
    for reference in space.references:
        for first in fnmatch.filter(among.members_2d, reference.member_2d):
            for second in fnmatch.filter(among.members_3d, reference.member_3d):
                weight = None if reference.weight_3d is None else round(reference.weight_3d, WEIGHT_DECIMALS)
                fixed.append(Candidate((first, second), reference.strategy, reference.space, weight, reference.name))
    return tuple(fixed)


@dataclass
class _Study:
    """Optuna's study for one part, and what it has already scored."""

    study: optuna.Study
    asked: int = 0
    known: dict[Candidate, Result] = field(default_factory=dict)
    order: list[Result] = field(default_factory=list)


class Explorer:
    """Asks Optuna for rounds of batches, one study per part, and tells the results back in order.

    Args:
        space: says the budget, batch, sampler and seed.
        pools: the parts of the protocol.
    """

    def __init__(self, space: SearchSpace, pools: Sequence[Pool]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.pools = space, tuple(pools)
        self.direction = metrics.direction_of(space.objective)
        self.studies = [_Study(self._new_study(part)) for part in range(len(pools))]
        self._trials: dict[int, list[tuple[optuna.Trial, Candidate]]] = {}
        self._numbers = 0
        self._started: float | None = None

    def _new_study(self, part: int) -> optuna.Study:
        seed = int(np.random.SeedSequence([self.space.seed, part]).generate_state(1)[0])
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)
        if self.space.search.sampler == "tpe":
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        return optuna.create_study(sampler=sampler, direction=self.direction)

    @property
    def scored(self) -> int:
        """Different candidates scored so far, over all parts."""
        return sum(len(study.order) for study in self.studies)

    @property
    def over(self) -> bool:
        """Whether no part has anything left to ask for."""
        return all(self._is_used_up(part) for part in range(len(self.studies)))

    @property
    def seconds(self) -> float:
        """Since the first round was asked for."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    @property
    def best(self) -> Result | None:
        """The best so far on the part whose choice is exported."""
        return best_of(self.studies[0].order, self.space.objective) if self.studies[0].order else None

    def next_round(self) -> list[Batch]:
        """The next batches to score, none when the search is over. Finish a round before asking again."""
        if self._started is None:
            self._started = time.monotonic()
            return [self._batch(part, always_scored(self.space, pool), []) for part, pool in enumerate(self.pools)]
        batches = []
        for part in range(len(self.pools)):
            for _ in range(self.space.search.concurrent):
                batch = self._ask(part)
                if batch is not None:
                    batches.append(batch)
        return batches

    def _batch(
        self, part: int, candidates: tuple[Candidate, ...], trials: list[tuple[optuna.Trial, Candidate]]
    ) -> Batch:
        batch = Batch(self._numbers, part, candidates)
        self._trials[batch.number] = trials
        self._numbers += 1
        return batch

    def _ask(self, part: int) -> Batch | None:
        """A batch from one study, or None when its budget or its choices are used up."""
        if self._is_used_up(part):
            return None
        study, among = self.studies[part], choices(self.space, self.pools[part])
        size = min(self.space.search.batch, self.space.search.budget - study.asked)
        trials = []
        for _ in range(size):
            trial = study.study.ask()
            trials.append((trial, suggest(trial, among)))
        study.asked += size
        fresh = dict.fromkeys(candidate for _, candidate in trials if candidate not in study.known)
        return self._batch(part, tuple(fresh), trials)

    def _is_used_up(self, part: int) -> bool:
        study, among = self.studies[part], choices(self.space, self.pools[part])
        if not among.members_2d or not among.members_3d:
            return True
        tried = sum(1 for candidate in study.known if candidate.strategy and not candidate.reference)
        return study.asked >= self.space.search.budget or (among.count is not None and tried >= among.count)

    def finish_round(self, batches: Sequence[Batch], results: dict[int, list[Result]]) -> None:
        """Tell a round's results: by batch number, whatever the order in which they came in."""
        for batch in sorted(batches, key=lambda b: b.number):
            study = self.studies[batch.part]
            for result in results[batch.number]:
                if result.candidate not in study.known:
                    study.known[result.candidate] = result
                    study.order.append(result)
            for trial, candidate in self._trials.pop(batch.number):
                study.study.tell(trial, study.known[candidate].score)


def best_of(results: Sequence[Result], objective: str) -> Result:
    """The best result; of equally good ones that with fewer members, then the one found first."""
    sign = 1 if metrics.direction_of(objective) == "maximize" else -1
    return min(results, key=lambda r: (-sign * r.score, len(r.candidate.members)))


def run_local(
    space: SearchSpace, pools: Sequence[Pool], on_round: Callable[[Explorer], None] = lambda explorer: None
) -> list[list[Result]]:
    """The whole search in this process.

    Args:
        space: what to search. pools: the parts of its protocol.
        on_round: called after each round, for progress.

    Returns:
        For each part its results, in the order in which they were found.
    """
    explorer = Explorer(space, pools)
    while batches := explorer.next_round():
        results = {b.number: score_batch(explorer.pools[b.part], b.candidates, space.objective) for b in batches}
        explorer.finish_round(batches, results)
        on_round(explorer)
    return [study.order for study in explorer.studies]
