"""The search over cached logits: request a batch of candidates, score it, return the results; here in one process.

Cheap candidates are enumerated; Optuna samples the others. Candidates come in rounds: a fixed number of batches is
requested, scored on any machine, and returned in the order of the requests. So the result depends
on the search space and the seed alone, not on the number or speed of the machines that scored the batches, or
on whether the search was killed and resumed.
"""

import contextlib
import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.search.candidates import Candidate, all_pairs, always_scored, choices, suggest
from ig3d_ray.search.pareto import cost_of
from ig3d_ray.search.scoring import Result, best_of, score_batch

PAIRS_PER_BATCH = 500
"""A pair is solved in about a millisecond, a hundred times faster than a subset is fitted."""
Remembered = Mapping[tuple[int, Candidate], Result]


@dataclass(frozen=True)
class Batch:
    """Candidates to be scored together on one part's pool.

    Attributes:
        number: unique in the search, ascending.
        part: index of the pool to score on.
    """

    number: int
    part: int
    candidates: tuple[Candidate, ...]


@dataclass
class _Study:
    """Optuna's study for one part, its scored candidates, and the order in which they were requested."""

    study: optuna.Study
    asks_pairs: bool
    asked: int = 0
    known: dict[Candidate, Result] = field(default_factory=dict)
    order: list[Result] = field(default_factory=list)


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Context in which Optuna logs only warnings; the user's verbosity is restored afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


class Explorer:
    """Requests rounds of batches, with one study per part, and processes the results in order.

    Args:
        space: what is enumerated, and budget, batch, sampler and seed for the rest.
        pools: the parts of the protocol.
        remembered: results of the same search from before it was killed; they are not requested again.
    """

    def __init__(self, space: SearchSpace, pools: Sequence[Pool], remembered: Remembered | None = None) -> None:
        self.space, self.pools, self.remembered = space, pools, remembered or {}
        # Report a member without a cost now rather than at the end.
        cost_of(space.search, pools[0].names)
        # The parts have the same members.
        self.among = choices(space, pools[0])
        self.direction = metrics.metric_of(space.objective).direction
        self.studies = [self._new_study(part) for part in range(len(pools))]
        self._asked: dict[int, tuple[tuple[Candidate, ...], list[tuple[optuna.Trial, Candidate]]]] = {}
        self._numbers = 0
        self._started: float | None = None

    def _new_study(self, part: int) -> _Study:
        among, search = self.among, self.space.search
        base = self.space.seed if search.seed is None else search.seed
        seed = int(np.random.SeedSequence([base, part]).generate_state(1)[0])
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)
        if search.sampler == "tpe":
            # Grouped, because a subset of three members has other parameters than one of two.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        elif search.sampler == "nsga2":
            sampler = optuna.samplers.NSGAIISampler(seed=seed)
        directions = [self.direction] + (["minimize"] if search.second_objective else [])
        enumerable = among.pairs is not None and among.pairs <= search.enumerate_up_to
        asks_pairs = among.has_pairs and not enumerable
        with _quiet_optuna():
            study = optuna.create_study(sampler=sampler, directions=directions)
        return _Study(study, asks_pairs)

    @property
    def scored(self) -> int:
        """Different candidates scored so far, over all parts."""
        return sum(len(study.order) for study in self.studies)

    @property
    def over(self) -> bool:
        """Whether all parts are finished."""
        return all(self._is_used_up(study) for study in self.studies)

    @property
    def seconds(self) -> float:
        """Since the first round was requested."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    @property
    def best(self) -> Result | None:
        """The best so far on the part whose choice is exported."""
        return best_of(self.studies[0].order, self.space.objective) if self.studies[0].order else None

    def next_round(self) -> list[Batch]:
        """The next batches to score, none when the search is finished. Finish a round before requesting the next."""
        if self._started is None:
            self._started = time.monotonic()
            return [batch for part in range(len(self.pools)) for batch in self._enumerated(part)]
        asked = [self._ask(part) for part in range(len(self.pools)) for _ in range(self.space.search.concurrent)]
        return [batch for batch in asked if batch is not None]

    def _enumerated(self, part: int) -> list[Batch]:
        """The candidates that are always scored."""
        pool, study = self.pools[0], self.studies[part]
        fixed = always_scored(self.space, pool)
        # Methods in one batch, because one may start from the result of another.
        batches = [self._batch(part, tuple(c for c in fixed if bool(c.method) == many), []) for many in (True, False)]
        if self.among.has_pairs and not study.asks_pairs:
            pairs = all_pairs(self.space, pool)
            while chunk := tuple(itertools.islice(pairs, PAIRS_PER_BATCH)):
                batches.append(self._batch(part, chunk, []))
        return batches

    def _batch(
        self, part: int, candidates: tuple[Candidate, ...], trials: list[tuple[optuna.Trial, Candidate]]
    ) -> Batch:
        self._asked[self._numbers] = (candidates, trials)
        unknown = tuple(c for c in candidates if (part, c) not in self.remembered)
        self._numbers += 1
        return Batch(self._numbers - 1, part, unknown)

    def _ask(self, part: int) -> Batch | None:
        """A batch from one study, or None when its budget or its choices are exhausted."""
        study = self.studies[part]
        if self._is_used_up(study):
            return None
        size = min(self.space.search.batch, self.space.search.budget - study.asked)
        trials = []
        for _ in range(size):
            trial = study.study.ask()
            trials.append((trial, suggest(trial, self.among, study.asks_pairs)))
        study.asked += size
        fresh = dict.fromkeys(candidate for _, candidate in trials if candidate not in study.known)
        return self._batch(part, tuple(fresh), trials)

    def _is_used_up(self, study: _Study) -> bool:
        if study.asked >= self.space.search.budget or not (study.asks_pairs or self.among.has_subsets):
            return True
        if self.among.has_subsets or self.among.pairs is None:
            return False
        tried = sum(1 for c in study.known if len(c.members) == 2 and not c.reference)
        return tried >= self.among.pairs

    def finish_round(self, batches: Sequence[Batch], results: Mapping[int, Sequence[Result]]) -> None:
        """Return a round's results by batch number, in whatever order they arrived."""
        for batch in sorted(batches, key=lambda b: b.number):
            study, (candidates, trials) = self.studies[batch.part], self._asked.pop(batch.number)
            scored = {result.candidate: result for result in results[batch.number]}
            for candidate in candidates:
                if candidate not in study.known:
                    result = scored.get(candidate) or self.remembered[(batch.part, candidate)]
                    study.known[candidate] = result
                    study.order.append(result)
            for trial, candidate in trials:
                if self.space.protocol.floor is not None:
                    trial.set_constraint("floor", -study.known[candidate].margin)
                study.study.tell(trial, self._values(study.known[candidate]))

    def _values(self, result: Result) -> list[float]:
        second = [cost_of(self.space.search, result.members)] if self.space.search.second_objective else []
        return [result.score, *second]


def run_local(
    space: SearchSpace,
    pools: Sequence[Pool],
    on_round: Callable[[Explorer], None] = lambda explorer: None,
    remembered: Remembered | None = None,
) -> list[list[Result]]:
    """The whole search in this process.

    Args:
        space: what to search.
        pools: the parts of its protocol.
        on_round: called after each round, for progress and for saving the results.
        remembered: results of this same search from before it was killed.

    Returns:
        For each part its results, in the order in which they were requested.
    """
    found = run_for(float("inf"), space, pools, on_round, remembered).results
    assert found is not None
    return found


@dataclass(frozen=True)
class Begun:
    """A search that was run for some time.

    Attributes:
        results: of each part, in the order in which they were requested; None if it isn't finished.
        scored: everything that is known, for the search to go on from elsewhere.
    """

    results: list[list[Result]] | None
    scored: Remembered


def run_for(
    seconds: float,
    space: SearchSpace,
    pools: Sequence[Pool],
    on_round: Callable[[Explorer], None] = lambda explorer: None,
    remembered: Remembered | None = None,
) -> Begun:
    """The search in this process, left after the batch during which the time is over.

    Args:
        seconds: to run.
        space: as for `run_local`.
        pools: as for `run_local`.
        on_round: called after each round that was finished.
        remembered: as for `run_local`.
    """
    explorer, scored = Explorer(space, pools, remembered), dict(remembered or {})
    until = time.monotonic() + seconds
    while batches := explorer.next_round():
        results = {}
        for batch in batches:
            if batch.candidates and time.monotonic() > until:
                return Begun(None, scored)
            results[batch.number] = score_batch(explorer.pools[batch.part], batch.candidates, space)
            scored |= {(batch.part, result.candidate): result for result in results[batch.number]}
        explorer.finish_round(batches, results)
        on_round(explorer)
    return Begun([study.order for study in explorer.studies], scored)
