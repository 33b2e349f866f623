"""The contents of a report as arrays, computed from an evaluated search before anything is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data import datasets
from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.evaluation import metrics
from ig3d_ray.fusion.calibrated import fused_temperature, scored, with_temperature
from ig3d_ray.fusion.combine import Fusion, into_space
from ig3d_ray.search.held_out import fused_scores
from ig3d_ray.search.leaderboard import Leaderboard, Row
from ig3d_ray.search.protocol import Plan
from ig3d_ray.search.scoring import Result

WEIGHTS = 201


@dataclass(frozen=True)
class WeightCurve:
    """The objective of the best pair against the 3D weight.

    Attributes:
        members: the 2D member and the 3D member.
        weights: `[W]`, 0 to 1.
        selection: `[W]` on either set; the same array where they are the same samples.
        report: `[W]` scores on the report set.
        best: the solved weight.
        low: lower end of the interval in which the selection score is as good.
        high: upper end of it.
        references: (name, weight) of the space's references, such as the paper's.
    """

    members: tuple[str, str]
    weights: np.ndarray
    selection: np.ndarray
    report: np.ndarray
    best: float
    low: float
    high: float
    references: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Findings:
    """A search and everything that its report shows.

    Attributes:
        results: of each part, as the search gives them.
    """

    space: SearchSpace
    plan: Plan
    board: Leaderboard
    spec: EnsembleSpec
    results: Sequence[Sequence[Result]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits' columns."""
        return datasets.dataset(self.space.dataset).class_names

    @property
    def higher_is_better(self) -> bool:
        """Whether a greater objective is better."""
        return self.space.metric.greater_is_better

    @cached_property
    def compared(self) -> dict[str, Row]:
        """The rows that are shown in detail: best single member, best 2D member, ensemble."""
        board = self.board
        rows = {f"best single: {board.best_single.result.members[0]}": board.best_single}
        if board.best_2d is not None and board.best_2d is not board.best_single:
            rows[f"best 2D: {board.best_2d.result.members[0]}"] = board.best_2d
        rows["ensemble"] = board.chosen
        return rows

    @cached_property
    def curve(self) -> WeightCurve | None:
        """The best pair's; None where there is none, or its space is unknown."""
        solved = next((line for line in self.board.solved if line.metric == self.space.objective), None)
        pairs = [
            r
            for r in self.results[0]
            if r.candidate.members == self.board.solved_for and r.candidate.strategy == "weighted"
        ]
        own = [r for r in pairs if not r.candidate.reference and r.candidate.method is None]
        if not own:
            return None
        sign = self.space.metric.sign
        pair = max(own, key=lambda r: sign * r.score)
        if pair.fusion.weights is None:
            return None
        low, high = pair.fusion.equally_good_weight_3d or (pair.fusion.weights[1], pair.fusion.weights[1])
        weights = np.linspace(0.0, 1.0, WEIGHTS)
        selection = self._along(pair, self.plan.parts[0], weights)
        same = self.plan.parts[0] is self.plan.report
        report = selection if same else self._along(pair, self.plan.report, weights)
        named = tuple((r.name, r.weight_3d) for r in self.space.references if r.weight_3d is not None)
        best = solved.weight if solved is not None and low <= solved.weight <= high else pair.fusion.weights[1]
        members = (pair.members[0], pair.members[1])
        return WeightCurve(members, weights, selection, report, best, low, high, named)

    def _along(self, pair: Result, pool, weights: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
        first, second = into_space(
            pool.outputs_of(pair.members), pair.fusion.space, pair.fusion.temperatures, self.space.task
        )
        return np.array([self._score(pair.fusion, (1 - w) * first + w * second, pool.labels) for w in weights])

    def _score(self, fusion: Fusion, fused: np.ndarray, labels: np.ndarray) -> float:
        """The objective of a pair's fused outputs; of probabilities, at the temperature that is best there."""
        objective = self.space.objective
        if objective in metrics.PROBABILITY_METRICS:
            fusion = with_temperature(fusion, fused_temperature(fusion, fused, labels))
        return metrics.score_one(self.space.task, scored(fusion, fused, objective), labels, objective)

    def confusion(self, row: Row) -> np.ndarray:
        """`[C, C]` counts on the report set, a row for each true class; under cross-fitting a mean over repeats."""
        _, labels, predicted = self._parts(row)
        return np.asarray(labels.T @ predicted)

    def _parts(self, row: Row) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        classes = len(self.class_names)
        return tuple(row.statistics[:, start : start + classes] for start in (0, classes, 2 * classes))  # type: ignore[return-value]

    def recalls(self, row: Row) -> np.ndarray:
        """`[C]` recalls on the report set; NaN for a class without samples."""
        hits, labels, _ = self._parts(row)
        counts = labels.sum(axis=0)
        return np.where(counts > 0, hits.sum(axis=0) / np.maximum(counts, 1), np.nan)

    @cached_property
    def changed(self) -> tuple[list[str], list[str]]:
        """The report set's samples that fusion corrected, and those that it made wrong."""
        ours, theirs = (self._parts(row)[0].sum(axis=1) for row in (self.board.chosen, self.board.best_single))
        ids = self.plan.report.ids
        fixed, broken = (ours > 0.5) & (theirs <= 0.5), (ours <= 0.5) & (theirs > 0.5)
        return ids[fixed].tolist(), ids[broken].tolist()

    @cached_property
    def fused(self) -> np.ndarray:
        """`[N, C]` or `[N, 2]`: the exported ensemble's outputs on the report set."""
        return fused_scores(self.board.chosen.result, self.plan.report)
