"""Selection of the kind of ensemble: families of candidates compared by cross-fitting inside the selection set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ig3d_ray.config.protocol import SubgroupFloor
from ig3d_ray.evaluation import metrics
from ig3d_ray.fusion.combine import log_softmax
from ig3d_ray.fusion.fit import RICHER, Method
from ig3d_ray.fusion.temperature import fit_temperatures
from ig3d_ray.search.candidates import family
from ig3d_ray.search.held_out import Pick, held_out_logits, held_out_statistics, predictions
from ig3d_ray.search.protocol import Plan
from ig3d_ray.search.scoring import Result, best_of
from ig3d_ray.search.subgroup_floor import margin

EQUAL = 1e-9
ERRORS_LESS: dict[Method, tuple[float, float]] = {"gate": (2.0, 2.0), "linear": (0.5, 0.0)}
"""By how many standard errors the held-out log-loss of such a method is less, at least, than that of its own weights
alone, and than that of the other choice. A correction costs log-loss where there is nothing to correct, a gate hardly
any."""


@dataclass(frozen=True)
class Families:
    """The best of each family on each part, and the scores of families on held-out samples.

    Attributes:
        plan: the protocol's parts.
        results: of each part, as the search gives them.
        objective: the metric.
        floor: what the worst subgroup must score.
    """

    plan: Plan
    results: Sequence[Sequence[Result]]
    objective: str
    floor: SubgroupFloor | None = None

    @cached_property
    def best(self) -> list[dict[str, Result]]:
        """For each part: family -> its best result there, in the order of first appearance."""
        found = []
        members = len(self.plan.report.names)
        for results in self.results:
            groups: dict[str, list[Result]] = {}
            for result in results:
                groups.setdefault(family(result.candidate, members), []).append(result)
            found.append({name: best_of(group, self.objective) for name, group in groups.items()})
        return found

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The families that every part has results of."""
        return tuple(name for name in self.best[0] if all(name in part for part in self.best))

    def lacks_its_gate(self, name: str) -> bool:
        """Whether a family of gates found none for the exported ensemble, so that it is the stack again."""
        best = self.best[0][name]
        return best.candidate.method == "gate" and best.fusion.is_static

    def is_reference(self, name: str) -> bool:
        """References are shown and never chosen: the samples that they were chosen on are unknown."""
        return any(name in part and bool(part[name].candidate.reference) for part in self.best)

    def pick(self, name: str) -> Pick:
        """The rule that selects the best of one family."""
        return lambda part: self.best[part][name]

    def cross_fitted(self, part: int) -> dict[str, float]:
        """Each family's objective on a part, every sample predicted by a choice made without it."""
        return self._cross_fitted[part]

    def margins(self, part: int) -> dict[str, float]:
        """By how much each family's worst subgroup is above the floor, likewise; 0 without a floor."""
        self.cross_fitted(part)
        return self._margins[part]

    @cached_property
    def _margins(self) -> list[dict[str, float]]:
        return [{} for _ in self.plan.inner]

    @cached_property
    def _cross_fitted(self) -> list[dict[str, float]]:
        scores = []
        for part, inner in enumerate(self.plan.inner):
            of_part = {}
            pool = self.plan.parts[part if inner else 0]
            for name in self.names if inner else ():
                statistics = held_out_statistics(self.pick(name), pool, inner, self.objective)
                of_part[name] = float(metrics.from_sums(pool.task, statistics.sum(axis=0))[self.objective])
                self._margins[part][name] = margin(pool, statistics, self.floor)
            scores.append(of_part)
        return scores

    def choose(self, part: int) -> Result:
        """The best of the family with the best score on a part, of those that reach the floor, or come closest to it;
        ties go to fewer members. Where that is a method's, it is of the methods whose scores are within one standard
        error of it the one of least log-loss: their order is chance, and better probabilities generalize. A gate or
        a linear correction is chosen only where its score is at most one standard error less than that of what would be
        chosen without it, and its log-loss less (`ERRORS_LESS`), also than that of its own weights alone; of valence
        and arousal only where its score is more than one standard error better.

        Raises:
            ValueError: the part has no inner parts, so that families can't be compared.
        """
        scores = {n: score for n, score in self._cross_fitted[part].items() if not self.is_reference(n)}
        if not scores:
            raise ValueError(f"part {part} has no parts inside it to choose by")
        short = {name: max(0.0, -self.margins(part)[name]) for name in scores}
        scores = {name: score for name, score in scores.items() if short[name] == min(short.values())}
        richer = [name for name in scores if self.best[part][name].candidate.method in RICHER]
        static = {name: score for name, score in scores.items() if name not in richer}
        chosen = self._best_name(part, static or scores)
        for name in richer:
            if name != chosen and self._is_worth_it(part, name, chosen):
                chosen = name
        return self.best[part][chosen]

    def _best_name(self, part: int, scores: Mapping[str, float]) -> str:
        sign = metrics.metric_of(self.objective).sign
        top = max(sign * score for score in scores.values())
        equal = [name for name, score in scores.items() if sign * score >= top - EQUAL]
        best = min(equal, key=lambda name: len(self.best[part][name].members))
        return self._of_least_loss(part, best, list(scores)) if self._is_method(part, best) else best

    def _is_worth_it(self, part: int, name: str, other: str) -> bool:
        """Whether a family has more than weights, and held-out samples show that it should."""
        if self.best[part][name].fusion.is_static:
            return False
        method = self.best[part][name].candidate.method
        if not self.plan.report.task.has_classes:
            return not self._is_tied(part, other, name)
        if method is None or not self._is_tied(part, name, other):
            return False
        # The other choice may be of worse log-loss for its weights alone, such as those solved for accuracy.
        others = (self._losses(part, name, is_static=True), self._losses(part, other))
        losses = self._losses(part, name)
        return all(
            self._is_less(part, losses, than, errors) for than, errors in zip(others, ERRORS_LESS[method], strict=True)
        )

    def _pick_static(self, name: str) -> Pick:
        def pick(part: int) -> Result:
            best = self.best[part][name]
            return replace(best, fusion=best.fusion.static)

        return pick

    def _is_less(self, part: int, losses: np.ndarray, than: np.ndarray, errors: float) -> bool:
        """Whether losses `[N]` are less than others by so many standard errors."""
        less, groups = than - losses, self.plan.parts[part].groups
        if groups is not None:
            less = np.bincount(np.unique(groups, return_inverse=True)[1], less)
        return float(less.mean()) > errors * float(less.std(ddof=1)) / len(less) ** 0.5

    def _is_method(self, part: int, name: str) -> bool:
        has_classes = self.plan.report.task.has_classes
        return has_classes and self.best[part][name].candidate.method is not None

    def _of_least_loss(self, part: int, best: str, names: Sequence[str]) -> str:
        """The method of least held-out log-loss among those that don't differ significantly from the best one."""
        methods = [name for name in names if self._is_method(part, name)]
        tied = [name for name in methods if name == best or self._is_tied(part, name, best)]
        return min(tied, key=lambda name: (self._held_out_loss(part, name), name != best))

    def _is_tied(self, part: int, name: str, other: str) -> bool:
        """Whether a family's score on held-out rows is at most one standard error less than another's, if at all."""
        sign = metrics.metric_of(self.objective).sign
        behind = sign * (self._score_of_folds(part, other) - self._score_of_folds(part, name))
        # Repeats of the folds are no further evidence.
        repeats = sum(len(rows) for _, rows in self.plan.inner[part]) / len(self.plan.parts[part])
        error = float(behind.std(ddof=1)) / (len(behind) / repeats) ** 0.5 if len(behind) > 1 else 0.0
        return bool(behind.mean() <= error)

    def _score_of_folds(self, part: int, name: str) -> np.ndarray:
        """A family's objective on each set of held-out rows, `[F]`."""
        if (part, name) not in self._known_scores:
            pool, pick, found = self.plan.parts[part], self.pick(name), []
            for inner, rows in self.plan.inner[part]:
                ours = predictions(pick(inner), pool, self.objective, rows)
                found.append(metrics.score_one(pool.task, ours, pool.labels[rows], self.objective))
            self._known_scores[part, name] = np.array(found)
        return self._known_scores[part, name]

    @cached_property
    def _known_scores(self) -> dict[tuple[int, str], np.ndarray]:
        return {}

    @cached_property
    def _known_losses(self) -> dict[tuple[int, str, bool], np.ndarray]:
        return {}

    def _held_out_loss(self, part: int, name: str) -> float:
        """A family's mean log-loss on held-out rows, at the temperature that is best there."""
        return round(float(self._losses(part, name).mean()), 9)

    def _losses(self, part: int, name: str, is_static: bool = False) -> np.ndarray:
        """The log-loss of each sample of a part, `[N]`, held out; the mean over repeats."""
        key = (part, name, is_static)
        if key not in self._known_losses:
            pick = self._pick_static(name) if is_static else self.pick(name)
            logits, labels = held_out_logits(self.plan, pick, part)
            (temperature,) = fit_temperatures(logits[None], labels)
            losses = -log_softmax(logits / temperature)[np.arange(len(labels)), labels]
            rows = np.concatenate([rows for _, rows in self.plan.inner[part]])
            self._known_losses[key] = np.bincount(rows, losses) / np.bincount(rows)
        return self._known_losses[key]
