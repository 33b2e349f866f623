"""The leaderboard of scored candidates: the chosen ensemble, its comparisons and confidence intervals."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ig3d_ray.config.protocol import ProtocolSpec
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.bootstrap import Bootstrap, Interval, McNemar, mcnemar
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.evaluation.scores import Optimism, Scored, SetScores
from ig3d_ray.fusion.calibrated import with_temperature
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.search.calibrating import Calibrated, calibrate
from ig3d_ray.search.candidates import Candidate
from ig3d_ray.search.held_out import Pick, held_out_statistics, predictions, statistics_of
from ig3d_ray.search.pareto import pareto_front
from ig3d_ray.search.proof import Proof, prove
from ig3d_ray.search.protocol import Plan
from ig3d_ray.search.scoring import Result, Scorer, best_of
from ig3d_ray.search.selection import Families
from ig3d_ray.search.subgroup_floor import FloorScores, floor_scores
from ig3d_ray.search.subgroups import Subgroups, by_subgroup
from ig3d_ray.types import Split, Task, view_group

logger = logging.getLogger(__name__)

SOLVED_METRICS = {
    Task.EXPRESSION: ("accuracy", "balanced_accuracy", "macro_f1"),
    Task.VA: ("ccc_paper", "ccc", "mse", "mae"),
}
SINGLES_SHOWN = 20
MAXIMUM_OF, MAXIMUM_RESAMPLES = 300, 200
"""Candidates, the best ones, and resamples of the bootstrap of the maximum."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        group: `single`, `reference`, `family` or `chosen`.
        label: displayed name.
        result: the candidate that the exported part's selection set chose for this line.
        cross_fitted: the objective inside the selection set, predicted by choices made without it; for
            families.
        scores: selection and report.
        gain: the paired gain on the report set over the member that is best there (`Leaderboard.best_single`).
        statistics: per sample of the report set, `[N, S]`, for paired comparisons.
    """

    group: str
    label: str
    result: Result
    cross_fitted: float | None
    scores: Scored
    gain: Interval
    statistics: np.ndarray


@dataclass(frozen=True)
class SolvedWeight:
    """The exact best 3D weight of the best pair for one metric.

    Attributes:
        metric: solved on the selection set.
        weight: the best 3D weight on the selection set.
        low: lower end of the interval of equally good weights.
        high: upper end of the interval of equally good weights.
        selection: the metric on the selection set, optimistic where the selection set is the report set.
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

    Attributes:
        rows: members, references, families and the chosen ensemble, each group with the best on the report set first.
        chosen: the exported ensemble.
        chosen_family: its family.
        best_single: the member with the best score on the report set, one member throughout: what gains are over.
        best_2d: the 2D member with the best score on the report set; None without a 2D member.
        mean: the plain mean of the chosen ensemble's members.
        solved: exact weights of the best pair, per metric.
        solved_for: the best pair.
        pareto: cost and result of each ensemble on the front.
        optimism: of the selection score.
        candidates: how many were scored.
        singles: the number of members, shown or not.
        excluded: samples for which an output of some member is missing; nothing was compared on them.
        bootstrap: the resamples of the report set, for further comparisons.
        subgroups: the chosen ensemble's scores by each attribute of the report set's samples.
        floor: whether it reaches the protocol's floor; None without one.
        proof: what no weights of its members exceed; None where it wasn't asked for.
        evaluations: which search this is that reports on this set; its verdict is corrected for the others.
        calibrated: the temperature of the chosen ensemble's scores, and what it is worth; None without classes.
    """

    rows: tuple[Row, ...]
    chosen: Row
    chosen_family: str
    best_single: Row
    best_2d: Row | None
    mean: Row
    solved: tuple[SolvedWeight, ...]
    solved_for: tuple[str, ...]
    pareto: tuple[tuple[float, Result], ...]
    optimism: Optimism
    candidates: int
    singles: int
    excluded: dict[Split, tuple[str, ...]]
    bootstrap: Bootstrap
    calibrated: Calibrated | None
    subgroups: tuple[Subgroups, ...] = ()
    floor: FloorScores | None = None
    proof: Proof | None = None
    evaluations: int = 1

    @property
    def chosen_fusion(self) -> Fusion:
        """The chosen ensemble's fusion, with the temperature that calibrates its probabilities."""
        fusion = self.chosen.result.fusion
        return fusion if self.calibrated is None else with_temperature(fusion, self.calibrated.temperature)

    def gain_over(self, other: Row, objective: str) -> Interval:
        """The chosen ensemble's paired gain over another row on the report set; positive is better."""
        return self.bootstrap.gain(self.chosen.statistics, other.statistics, objective)

    def mcnemar_over(self, other: Row) -> McNemar | None:
        """McNemar's test of the chosen ensemble against another row; None for valence and arousal.

        Under repeated cross-fitting a sample counts as correct if most repeats predict it correctly.
        """
        if not self.bootstrap.task.has_classes:
            return None
        right = [metrics.hits(row.statistics) > 0.5 for row in (self.chosen, other)]
        return mcnemar(right[0], right[1], self.bootstrap.groups)


def _resamples(pool: Pool, seed: int) -> Bootstrap:
    return Bootstrap.of(pool.task, pool.labels, seed, groups=pool.groups)


class _Judge:
    """Scores a selection rule: on the selection set, and held out on the report set."""

    def __init__(self, space: SearchSpace, plan: Plan) -> None:
        self.space, self.plan, report = space, plan, plan.report
        self.on_report = _resamples(report, space.seed)
        same = plan.parts[0] is report
        self.on_selection = self.on_report if same else _resamples(plan.parts[0], space.seed)
        self.held_out = [one for repeat in plan.held_out for one in repeat]

    def use_baseline(self, member: Pick) -> None:
        """Set the member that gains are over."""
        self.baseline = self.on_report_set(member)

    def on_report_set(self, pick: Pick) -> np.ndarray:
        """A rule's per-sample statistics on the report set, `[N, S]`, each fold by what it picks without that fold."""
        return held_out_statistics(pick, self.plan.report, self.held_out, self.space.objective)

    def row(self, group: str, label: str, pick: Pick, cross_fitted: float | None = None) -> Row:
        chosen, objective = pick(0), self.space.objective
        on_selection = statistics_of(chosen, self.plan.parts[0], objective)
        on_report = self.on_report_set(pick)
        scores = Scored(
            selection=_set_scores(self.on_selection, on_selection, self.space.protocol, selecting=True),
            report=_set_scores(self.on_report, on_report, self.space.protocol, selecting=False),
        )
        gain = self.on_report.gain(on_report, self.baseline, objective)
        return Row(group, label, chosen, cross_fitted, scores, gain, on_report)


def _set_scores(bootstrap: Bootstrap, statistics: np.ndarray, protocol: ProtocolSpec, selecting: bool) -> SetScores:
    return SetScores(
        split=protocol.choose_on if selecting else "test",
        n=len(statistics),
        groups=None if bootstrap.groups is None else len(np.unique(bootstrap.groups)),
        optimistic=selecting or protocol.kind == "paper",
        metrics=bootstrap.intervals(statistics),
    )


def build_leaderboard(space: SearchSpace, plan: Plan, results: Sequence[Sequence[Result]]) -> Leaderboard:
    """Evaluate the results of a search.

    Args:
        space: what was searched.
        plan: the protocol's pools.
        results: of each part, as the search gives.

    Raises:
        Ig3dError: nothing was scored.
    """
    if not results or not results[0]:
        raise Ig3dError(f"{space.dataset}: nothing was scored; the pool is empty")
    logger.debug("search: comparing the families of candidates, with intervals")
    judge, families = _Judge(space, plan), Families(plan, results, space.objective, space.protocol.floor)
    members = _Members(results)
    best_single, best_2d = _best_on_report(judge, members)
    judge.use_baseline(members.pick(best_single))
    cross_fitted = families.cross_fitted(0)
    rows = _singles(judge, members, {best_single, best_2d} - {None})
    singles = {row.result.members[0]: row for row in rows}
    for name in families.names:
        if families.lacks_its_gate(name):
            continue
        group = "reference" if families.is_reference(name) else "family"
        rows.append(judge.row(group, name, families.pick(name), cross_fitted.get(name)))
    choices = {part: families.choose(part) for part in {0, *(part for part, _ in judge.held_out)}}
    family_of = {part: next(n for n, r in families.best[part].items() if r is one) for part, one in choices.items()}
    chosen_family = family_of[0]
    chosen = judge.row("chosen", "chosen ensemble", choices.__getitem__, cross_fitted.get(chosen_family))
    rows.append(chosen)
    own = [result for result in results[0] if not result.candidate.reference]
    own = [result for result in own if result.margin >= 0] or own
    solved, pair = _solved_weights(judge, results)
    means = {part: _plain_mean(space, plan, part, choice) for part, choice in choices.items()}
    return Leaderboard(
        rows=_sorted(rows, space.objective),
        chosen=chosen,
        chosen_family=chosen_family,
        best_single=singles[best_single],
        best_2d=singles[best_2d] if best_2d is not None else None,
        mean=judge.row("family", "plain mean of the chosen members", means.__getitem__),
        solved=solved,
        solved_for=pair,
        pareto=tuple(pareto_front(own, space.objective, space.search)),
        optimism=_optimism(judge, chosen, own),
        candidates=sum(len(found) for found in results),
        singles=len(plan.report.names),
        excluded={side.split: side.excluded for side in (plan.parts[0], plan.report)},
        bootstrap=judge.on_report,
        subgroups=by_subgroup(plan.report, chosen.statistics, judge.baseline, space.objective, space.seed),
        floor=floor_scores(space.protocol, plan.report, families.margins(0)[chosen_family], chosen.statistics),
        proof=prove(choices[0], plan.parts[0]) if space.search.proof else None,
        calibrated=(
            calibrate(plan, families, choices, family_of, members.pick(best_single)(0), space)
            if space.task.has_classes
            else None
        ),
    )


class _Members:
    """The results of single members on each part."""

    def __init__(self, results: Sequence[Sequence[Result]]) -> None:
        self.by_part = [{r.members[0]: r for r in found if r.candidate.strategy is None} for found in results]

    def pick(self, name: str) -> Pick:
        """The rule that always takes one member."""
        return lambda part: self.by_part[part][name]


def _best_on_report(judge: _Judge, members: _Members) -> tuple[str, str | None]:
    """The members with the best score on the report set, of all and of the 2D ones; ties go to the first."""
    pool, metric = judge.plan.report, judge.space.metric
    scores = {}
    for name, result in members.by_part[0].items():
        if metric.name in metrics.PROBABILITY_METRICS:
            # Its temperature differs from part to part.
            sums = judge.on_report_set(members.pick(name)).sum(axis=0)
            value = float(metrics.from_sums(pool.task, sums)[metric.name])
        else:
            value = metrics.score_one(pool.task, predictions(result, pool, metric.name), pool.labels, metric.name)
        scores[name] = metric.sign * value
    views = dict(zip(pool.names, map(view_group, pool.views), strict=True))
    flat = [name for name in scores if views[name] == "2d"]
    return max(scores, key=scores.__getitem__), max(flat, key=scores.__getitem__) if flat else None


def _singles(judge: _Judge, members: _Members, always: set[str | None]) -> list[Row]:
    """A row for each member; of a large pool for those best on the selection set, and for those named."""
    sign, found = judge.space.metric.sign, members.by_part[0]
    ranked = sorted(found, key=lambda name: -sign * found[name].score)
    shown = {*ranked[:SINGLES_SHOWN], *always}
    return [judge.row("single", name, members.pick(name)) for name in found if name in shown]


def _sorted(rows: Sequence[Row], objective: str) -> tuple[Row, ...]:
    """Groups in order, in each the best on the report set first."""
    groups, sign = ("single", "reference", "family", "chosen"), metrics.metric_of(objective).sign
    return tuple(
        sorted(rows, key=lambda row: (groups.index(row.group), -sign * row.scores.report.metrics[objective].value))
    )


def _on_part(plan: Plan, part: int, names: Sequence[str]) -> Pool:
    """A part of the selection pool with only these members, so that nothing unused is copied."""
    few, rows = plan.parts.whole.only(names), plan.parts.rows[part]
    return few if rows is None else few.take(rows)


def _plain_mean(space: SearchSpace, plan: Plan, part: int, choice: Result) -> Result:
    """The plain mean, in logits, of the members that a part chose."""
    plain = Candidate(choice.members, "mean" if len(choice.members) > 1 else None)
    return Scorer(_on_part(plan, part, choice.members), space.objective).score(plain)


def _optimism(judge: _Judge, chosen: Row, results: Sequence[Result]) -> Optimism:
    objective, pool = judge.space.objective, judge.plan.parts[0]
    sign = metrics.metric_of(objective).sign
    looked, is_ = (scores.metrics[objective].value for scores in (chosen.scores.selection, chosen.scores.report))
    best = sorted(results, key=lambda r: -sign * r.score)[:MAXIMUM_OF]
    resamples = Bootstrap.of(pool.task, pool.labels, judge.space.seed, MAXIMUM_RESAMPLES)
    statistics = (statistics_of(r, pool, objective) for r in best)
    expected = resamples.optimism_of_best(statistics, objective)
    return Optimism(measured=round(sign * (looked - is_), 9) + 0.0, expected=expected)


def _solved_weights(
    judge: _Judge, results: Sequence[Sequence[Result]]
) -> tuple[tuple[SolvedWeight, ...], tuple[str, ...]]:
    """Exact weights of the best pair of each part, one line per metric; and the exported part's pair."""
    pairs = {}
    for part in {0, *(part for part, _ in judge.held_out)}:
        of_two = [r for r in results[part] if len(r.candidate.members) == 2 and r.candidate.method is None]
        own = [r for r in of_two if not r.candidate.reference]
        if not own:
            return (), ()
        best = best_of(own, judge.space.objective).candidate
        pairs[part] = Candidate(best.members, "weighted", best.space, "exact")
    return tuple(_solved_weight(judge, pairs, m) for m in SOLVED_METRICS[judge.space.task]), pairs[0].members


def _solved_weight(judge: _Judge, pairs: dict[int, Candidate], metric: str) -> SolvedWeight:
    plan, task = judge.plan, judge.plan.report.task
    picks = {part: Scorer(_on_part(plan, part, pair.members), metric).score(pair) for part, pair in pairs.items()}
    sums = held_out_statistics(picks.__getitem__, plan.report, judge.held_out, metric).sum(axis=0)
    fusion = picks[0].fusion
    assert fusion.weights is not None
    assert fusion.equally_good_weight_3d is not None
    low, high = fusion.equally_good_weight_3d
    report = float(metrics.from_sums(task, sums)[metric])
    return SolvedWeight(metric, fusion.weights[1], low, high, picks[0].score, report)
