"""From scored candidates to the table of results: what was chosen, what it is compared with, how sure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ig3d_ray import metrics
from ig3d_ray.data.catalog import Split
from ig3d_ray.ensemble import Scored, SetScores
from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion.spaces import Space
from ig3d_ray.protocol import Bootstrap, Interval, Plan, ProtocolSpec, assemble
from ig3d_ray.search import Candidate, Result, always_scored, best_of, best_weight, score_batch, solve
from ig3d_ray.space import SearchSpace

SOLVED_METRICS = {"expression": ("accuracy",), "va": ("ccc_paper", "ccc", "mse")}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        group: `single`, `strategy`, `reference` or `chosen`. label: what people read.
        result: the candidate that the exported part's selection set chose for this line.
        scores: selection and report.
        gain_2d: the paired gain over the best 2D member on the report set, None without a 2D member.
        statistics: per sample of the report set, `[N, S]`, for paired comparisons.
    """

    group: str
    label: str
    result: Result
    scores: Scored
    gain_2d: Interval | None
    statistics: np.ndarray


@dataclass(frozen=True)
class SolvedWeight:
    """The exact best 3D weight of the chosen pair for one metric.

    Attributes:
        metric, weight: solved on the selection set. low, high: equally good weights.
        selection: the metric there, optimistic where the selection set is the report set.
        report: the metric on the report set, with weights solved without it.
    """

    metric: str
    weight: float
    low: float
    high: float
    selection: float
    report: float


@dataclass(frozen=True)
class Leaderboard:
    """Every row, the chosen one, what it is compared with, and the solved weights of the best pair.

    `left_out` are the samples that some member lacks, so that nothing was compared on them; `bootstrap`
    holds the resamples of the report set, for further comparisons.
    """

    rows: tuple[Row, ...]
    chosen: Row
    best_single: Row
    best_2d: Row | None
    mean: Row
    solved: tuple[SolvedWeight, ...]
    solved_for: tuple[str, ...]
    candidates: int
    left_out: dict[Split, tuple[str, ...]]

    bootstrap: Bootstrap

    def gain_over(self, other: Row, objective: str) -> Interval:
        """The chosen ensemble's paired gain over another row on the report set; positive is better."""
        return self.bootstrap.gain(self.chosen.statistics, other.statistics, objective)


Pick = Callable[[Sequence[Result]], Result]


class _Scorer:
    """Scores a rule of choice: on the set that chose, and held out on the report set."""

    def __init__(self, space: SearchSpace, plan: Plan, results: Sequence[Sequence[Result]]) -> None:
        self.space, self.plan, self.results = space, plan, results
        self.on_report = Bootstrap(plan.report.task, len(plan.report), space.seed)
        same = plan.parts[0] is plan.report
        self.on_selection = self.on_report if same else Bootstrap(plan.report.task, len(plan.parts[0]), space.seed)
        self.held_out_pools = [plan.report.take(rows) for _, rows in plan.held_out]

    def report_predictions(self, picks: Sequence[Result]) -> np.ndarray:
        """Fused outputs `[N, C]` on the report set, each sample by the pick of a part that never saw it."""
        predicted = []
        for (part, rows), pool in zip(self.plan.held_out, self.held_out_pools, strict=True):
            pick = picks[part]
            predicted.append((rows, pick.fusion.apply(pool.outputs_of(pick.candidate.members), pool.task)))
        return assemble(predicted, len(self.plan.report))

    def row(self, group: str, label: str, pick: Pick, best_2d: Row | None) -> Row:
        picks = [pick(results) for results in self.results]
        chosen, pool, report = picks[0], self.plan.parts[0], self.plan.report
        fused = chosen.fusion.apply(pool.outputs_of(chosen.candidate.members), pool.task)
        on_selection = metrics.statistics(pool.task, fused, pool.labels)
        on_report = metrics.statistics(pool.task, self.report_predictions(picks), report.labels)
        scores = Scored(
            selection=_set_scores(self.on_selection, on_selection, self.space.protocol, selecting=True),
            report=_set_scores(self.on_report, on_report, self.space.protocol, selecting=False),
        )
        gain = self.on_report.gain(on_report, best_2d.statistics, self.space.objective) if best_2d else None
        return Row(group, label, chosen, scores, gain, on_report)


def _set_scores(bootstrap: Bootstrap, statistics: np.ndarray, protocol: ProtocolSpec, selecting: bool) -> SetScores:
    return SetScores(
        split=protocol.choose_on if selecting else "test",
        n=len(statistics),
        optimistic=selecting or protocol.kind == "paper",
        metrics=bootstrap.intervals(statistics),
    )


def build_leaderboard(space: SearchSpace, plan: Plan, results: Sequence[Sequence[Result]]) -> Leaderboard:
    """Judge what a search found.

    Args:
        space: what was searched. plan: the protocol's pools. results: of each part, as the search gives.

    Raises:
        Ig3dError: nothing was scored.
    """
    if not results or not results[0]:
        raise Ig3dError(f"{space.dataset}: nothing was scored; the pool is empty")
    scorer, objective = _Scorer(space, plan, results), space.objective
    pool = plan.parts[0]
    views = dict(zip(pool.names, pool.views, strict=True))

    def best_where(keep: Callable[[Candidate], bool]) -> Pick:
        return lambda found: best_of([r for r in found if keep(r.candidate)], objective)

    best_2d = None
    if any(view != "3d" for view in pool.views):
        looks_2d = best_where(lambda c: c.strategy is None and views[c.members[0]] != "3d")
        best_2d = scorer.row("single", "best 2D member", looks_2d, None)
    rows = []
    for candidate in always_scored(space, pool):
        single = candidate.strategy is None
        label = candidate.members[0] if single else f"{candidate.reference}: {' + '.join(candidate.members)}"
        same = best_where(lambda c, wanted=candidate: c == wanted)  # type: ignore[misc]
        rows.append(scorer.row("single" if single else "reference", label, same, best_2d))
    for strategy in space.fusion.strategies:
        if all(any(r.candidate.strategy == strategy and not r.candidate.reference for r in found) for found in results):
            of_strategy = best_where(lambda c, s=strategy: c.strategy == s and not c.reference)  # type: ignore[misc]
            rows.append(scorer.row("strategy", f"best {strategy}", of_strategy, best_2d))
    chosen = scorer.row("chosen", "chosen ensemble", best_where(lambda c: True), best_2d)
    rows.append(chosen)
    mean = scorer.row("strategy", "plain mean of the chosen members", _mean_of_chosen(space, plan, results), best_2d)
    solved, pair = _solved_weights(space, scorer)
    return Leaderboard(
        rows=tuple(rows),
        chosen=chosen,
        best_single=scorer.row("single", "best single member", best_where(lambda c: c.strategy is None), best_2d),
        best_2d=best_2d,
        mean=mean,
        solved=solved,
        solved_for=pair,
        candidates=sum(len(found) for found in results),
        left_out={side.split: side.left_out for side in (plan.parts[0], plan.report)},
        bootstrap=scorer.on_report,
    )


def _mean_of_chosen(space: SearchSpace, plan: Plan, results: Sequence[Sequence[Result]]) -> Pick:
    """The plain mean, in logits, of whatever members each part chose."""
    means = {}
    for part, found in zip(plan.parts, results, strict=True):
        members = best_of(found, space.objective).candidate.members
        plain = Candidate(members, "mean" if len(members) > 1 else None)
        means[id(found)] = score_batch(part, [plain], space.objective)[0]
    return lambda found: means[id(found)]


def _solved_weights(space: SearchSpace, scorer: _Scorer) -> tuple[tuple[SolvedWeight, ...], tuple[str, ...]]:
    """Exact weights of the pair that the exported part likes best, one line per metric that can be solved."""
    pairs = [r for r in scorer.results[0] if r.candidate.strategy == "weighted" or len(r.candidate.members) == 2]
    if not pairs:
        return (), ()
    best = best_of(pairs, space.objective).candidate
    solved = []
    for metric in SOLVED_METRICS[space.task]:
        solved.append(_solved_weight(scorer, best.members, best.space, metric))
    return tuple(solved), best.members


def _solved_weight(scorer: _Scorer, members: tuple[str, ...], space: Space, metric: str) -> SolvedWeight:
    exactly = Candidate(members, "weighted", space, "exact")
    parts = scorer.plan.parts
    picks = [Result(exactly, solve(exactly, pool, metric), 0.0) for pool in parts]
    report, task = scorer.plan.report, scorer.plan.report.task
    held_out = metrics.score(task, scorer.report_predictions(picks), report.labels)[metric]
    fused = picks[0].fusion.apply(parts[0].outputs_of(members), task)
    on_selection = metrics.score(task, fused, parts[0].labels)[metric]
    best = best_weight(parts[0], members, space, metric)
    return SolvedWeight(metric, best.weight, best.low, best.high, on_selection, held_out)
