"""Fits and scores candidates on a pool, in batches."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ig3d_ray.config.protocol import SubgroupFloor
from ig3d_ray.config.search_space import GateParameters, SearchSpace
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion import pair_weight
from ig3d_ray.fusion.calibrated import fused_temperature, scored, with_temperature
from ig3d_ray.fusion.combine import Fusion, Space, into_space, to_space, with_floors
from ig3d_ray.fusion.correction import Correction
from ig3d_ray.fusion.correction_fit import corrected_members, fit_correction
from ig3d_ray.fusion.fit import FROM_STACK, RICHER, Method, fit_weights
from ig3d_ray.fusion.gate_fit import Parameters, fit_gate
from ig3d_ray.fusion.pair_probabilities import weight_for_probabilities
from ig3d_ray.fusion.robust import fit_floors
from ig3d_ray.fusion.rounding import significant
from ig3d_ray.fusion.stacking import stack_logits
from ig3d_ray.fusion.temperature import fit_temperatures
from ig3d_ray.fusion.va_correction import fit_va_correction, va_corrected_members
from ig3d_ray.search.candidates import WEIGHT_DECIMALS, Candidate
from ig3d_ray.search.subgroup_floor import margin

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """A scored candidate.

    Attributes:
        candidate: what was scored.
        members: those of the candidate whose weight is not zero, or that a linear correction takes.
        fusion: how, with weights and temperatures as numbers; with one of the fused scores where the objective is one
            of probabilities.
        score: the objective on the selection set.
        margin: by how much the worst subgroup there is above the protocol's floor; 0 without a floor.
    """

    candidate: Candidate
    members: tuple[str, ...]
    fusion: Fusion
    score: float
    margin: float = 0.0


@dataclass(frozen=True)
class _Floored:
    """A member's log-probabilities with a floor, `[N, C]` float32, and what was fitted."""

    outputs: np.ndarray
    temperature: float
    floor: float


class Scorer:
    """Scores candidates on one pool; what several of them need is computed once.

    Args:
        pool: to score on.
        objective: the metric.
        seed: random seed of the methods.
        max_members: maximum number of members of an ensemble.
        floors: whether methods of many members take their probabilities with fitted floors.
        subgroup_floor: what the worst subgroup must score.
        gate_parameters: what a gate may take as input beside confidences.
    """

    def __init__(
        self,
        pool: Pool,
        objective: str,
        seed: int = 0,
        max_members: int | None = None,
        floors: bool = True,
        subgroup_floor: SubgroupFloor | None = None,
        gate_parameters: GateParameters | None = None,
    ) -> None:
        self.subgroup_floor, self.gate_parameters = subgroup_floor, gate_parameters
        self.pool, self.objective, self.seed, self.max_members = pool, objective, seed, max_members
        self.floors = floors and pool.task.has_classes
        self._floored: dict[str, _Floored] = {}
        self._floored_whole: np.ndarray | None = None
        self._outputs: dict[tuple[str, Space, bool], np.ndarray] = {}
        self._temperatures: dict[str, float] = {}
        self._likely: tuple[tuple[tuple[str, ...], bool], np.ndarray] | None = None
        self._stacks: dict[tuple[str, ...], np.ndarray] = {}

    def score(self, candidate: Candidate) -> Result:
        """Fit the free parameters of a candidate, and score it."""
        if candidate.method is not None:
            logger.debug("search: %s in %s of %d members", candidate.method, candidate.space, len(candidate.members))
        members, fusion = self._solve(candidate)
        if candidate.method is None and len(members) > 1:
            # Already in their space, so that only the strategy remains to be applied.
            outputs = np.stack([self._output(name, candidate.space, candidate.temperatures) for name in members])
            fused = fusion.model_copy(update={"space": "logits", "temperatures": None}).apply(outputs, self.pool.task)
        else:
            fused = fusion.apply(self.pool.outputs_of(members), self.pool.task, self.pool.parameters)
        if self.objective in metrics.PROBABILITY_METRICS:
            fusion = with_temperature(fusion, fused_temperature(fusion, fused, self.pool.labels))
        predictions = scored(fusion, fused, self.objective)
        value = metrics.score_one(self.pool.task, predictions, self.pool.labels, self.objective)
        above = 0.0
        if self.subgroup_floor is not None:
            statistics = metrics.statistics(self.pool.task, fused, self.pool.labels)
            above = margin(self.pool, statistics, self.subgroup_floor)
        return Result(candidate, members, fusion, value, above)

    def _solve(self, candidate: Candidate) -> tuple[tuple[str, ...], Fusion]:
        temperatures = self._fitted(candidate.members) if candidate.temperatures else None
        floors = None
        if candidate.method is not None and self.floors:
            fitted = [self._with_floor(name) for name in candidate.members]
            temperatures, floors = tuple(one.temperature for one in fitted), tuple(one.floor for one in fitted)
        about = Fusion(
            strategy=None if candidate.strategy == "weighted" else candidate.strategy,
            space=candidate.space,
            weights=None,
            temperatures=temperatures,
            floors=floors,
        )
        if candidate.strategy != "weighted":
            return candidate.members, about
        if candidate.method is None:
            return candidate.members, self._weigh_two(candidate, about)
        return self._weigh_many(candidate, about)

    def _weigh_two(self, candidate: Candidate, about: Fusion) -> Fusion:
        asked, interval = candidate.weight_3d, None
        if isinstance(asked, float):
            weight = asked
        else:
            outputs = [self._output(name, candidate.space, candidate.temperatures) for name in candidate.members]
            weight, low, high = self._best_of_two(outputs, candidate.space)
            interval = (round(low, WEIGHT_DECIMALS), round(high, WEIGHT_DECIMALS))
        weight = round(weight, WEIGHT_DECIMALS)
        weights = (round(1 - weight, WEIGHT_DECIMALS), weight)
        changes = {"strategy": "weighted", "weights": weights, "equally_good_weight_3d": interval}
        return about.model_copy(update=changes)

    def _best_of_two(self, outputs: Sequence[np.ndarray], space: Space) -> tuple[float, float, float]:
        """The best weight of the second member, and the interval of those that are as good."""
        first, second = outputs
        if self.objective in metrics.PROBABILITY_METRICS:
            weight = significant(weight_for_probabilities(first, second, self.pool.labels, space, self.objective))
            return weight, weight, weight
        best = pair_weight.best_weight(self.pool.task, first, second, self.pool.labels, self.objective)
        return best.weight, best.low, best.high

    def _weigh_many(self, candidate: Candidate, about: Fusion) -> tuple[tuple[str, ...], Fusion]:
        assert candidate.method is not None
        weights = fit_weights(
            candidate.method,
            candidate.space,
            self._stacked(candidate, about),
            self.pool.labels,
            self.objective,
            candidate.per_column,
            self.max_members,
            self.seed,
            self._stack_of(candidate, about),
        )
        used = np.flatnonzero(weights.reshape(len(weights), -1).any(axis=1))
        if candidate.method == "linear" and self.max_members is None:
            # A member without a weight may still say which class it isn't.
            taken = corrected_members if self.pool.task.has_classes else va_corrected_members
            used = np.union1d(used, taken(self._stacked(candidate, about), self.pool.labels, weights))
        members = tuple(candidate.members[i] for i in used)
        kept = {
            name: None if given is None else tuple(given[i] for i in used)
            for name, given in (("temperatures", about.temperatures), ("floors", about.floors))
        }
        fitted = weights[used].tolist()
        rows = [tuple(map(significant, row)) if candidate.per_column else significant(row) for row in fitted]
        key = "weights_by_column" if candidate.per_column else "weights"
        fusion = about.model_copy(update={"strategy": "weighted", key: tuple(rows)} | kept)
        return members, self._enriched(candidate.method, members, fusion) if candidate.method in RICHER else fusion

    def _enriched(self, method: Method, members: tuple[str, ...], fusion: Fusion) -> Fusion:
        """Static weights with a linear correction; or with a gate, where the pool has one to find."""
        outputs = self.pool.outputs_of(members)
        values = into_space(outputs, fusion.space, fusion.temperatures, self.pool.task, fusion.floors)
        if method == "linear":
            return fusion.model_copy(update={"correction": self._correction(values, np.asarray(fusion.weights))})
        found = fit_gate(outputs, values, self.pool.labels, np.asarray(fusion.weights), self._parameters())
        if found is None:
            return fusion
        gate, weights = found
        return fusion.model_copy(update={"gate": gate, "weights": tuple(map(significant, weights.tolist()))})

    def _correction(self, values: np.ndarray, weights: np.ndarray) -> Correction:
        if self.pool.task.has_classes:
            return fit_correction(values, self.pool.labels, weights)
        return fit_va_correction(values, self.pool.labels, weights, self.objective, self.seed)

    def _parameters(self) -> Parameters | None:
        asked = self.gate_parameters
        if asked is None:
            return None
        return Parameters(asked.representation, asked.columns, self.pool.parameters[asked.representation])

    def _stack_of(self, candidate: Candidate, about: Fusion) -> np.ndarray | None:
        """The stack of these members' logits as it is, for the methods that use it or start from it."""
        from_stack = candidate.method in FROM_STACK and candidate.space == "logits" and self.pool.task.has_classes
        if not from_stack or candidate.per_column:
            return None
        if candidate.members not in self._stacks:
            outputs = self._stacked(candidate, about)
            self._stacks[candidate.members] = stack_logits(outputs, self.pool.labels, seed=self.seed).weights
        return self._stacks[candidate.members]

    def _stacked(self, candidate: Candidate, about: Fusion) -> np.ndarray:
        """Many members' outputs in single precision; logits of the whole pool without floors are not even copied."""
        if about.floors is not None:
            return self._with_floors(candidate)
        temperatures = about.temperatures
        if not self.pool.task.has_classes or (candidate.space == "logits" and temperatures is None):
            return (
                self.pool.outputs_MNC
                if candidate.members == self.pool.names
                else self.pool.outputs_of(candidate.members)
            )
        whole = candidate.members == self.pool.names
        outputs = self.pool.outputs_MNC if whole else self.pool.outputs_of(candidate.members)
        if temperatures is not None:
            outputs = outputs / np.asarray(temperatures, dtype=np.float32)[:, None, None]
        if candidate.space == "probabilities":
            key = (candidate.members, candidate.temperatures)
            if self._likely is None or self._likely[0] != key:
                self._likely = (key, _probabilities(outputs))
            return self._likely[1]
        return np.asarray(to_space(outputs, candidate.space), dtype=np.float32)

    def _with_floors(self, candidate: Candidate) -> np.ndarray:
        """The outputs of many members with floors, `[M, N, C]` float32; those of the whole pool are kept."""
        whole = candidate.members == self.pool.names
        outputs = self._floored_whole if whole else None
        if outputs is None:
            outputs = np.stack([self._with_floor(name).outputs for name in candidate.members])
            if whole:
                self._floored_whole = outputs
                for place, name in enumerate(candidate.members):
                    # A view: once in memory, not twice.
                    self._floored[name] = replace(self._floored[name], outputs=outputs[place])
        if candidate.space != "probabilities":
            return outputs
        key = (candidate.members, True)
        if self._likely is None or self._likely[0] != key:
            self._likely = (key, np.exp(outputs))
        return self._likely[1]

    def _with_floor(self, name: str) -> _Floored:
        if name not in self._floored:
            member = self.pool.outputs_MNC[self.pool.names.index(name)]
            (temperature,), (floor,) = fit_floors(member[None], self.pool.labels)
            temperature, floor = significant(float(temperature)), significant(float(floor))
            outputs = with_floors((member / np.float32(temperature))[None], np.array([floor], dtype=np.float32))[0]
            self._floored[name] = _Floored(outputs.astype(np.float32, copy=False), temperature, floor)
        return self._floored[name]

    def _output(self, name: str, space: Space, temperatures: bool) -> np.ndarray:
        key = (name, space, temperatures)
        if key not in self._outputs:
            warm = self._fitted((name,)) if temperatures else None
            self._outputs[key] = into_space(self.pool.outputs_of([name]), space, warm, self.pool.task)[0]
        return self._outputs[key]

    def _fitted(self, names: Sequence[str]) -> tuple[float, ...]:
        for name in names:
            if name not in self._temperatures:
                (found,) = fit_temperatures(self.pool.outputs_of([name]), self.pool.labels)
                self._temperatures[name] = significant(float(found))
        return tuple(self._temperatures[name] for name in names)


def _probabilities(logits_MNC: np.ndarray) -> np.ndarray:
    """Softmax in single precision, for fast fitting; scores are computed in double precision."""
    classes = logits_MNC.shape[2]
    # Class by class and by a product: many times faster than reducing an axis of seven.
    top = logits_MNC[:, :, 0].copy()
    for one in range(1, classes):
        np.maximum(top, logits_MNC[:, :, one], out=top)
    likely = logits_MNC - top[:, :, None]
    np.exp(likely, out=likely)
    likely /= (likely @ np.ones(classes, dtype=likely.dtype))[:, :, None]
    return likely


def score_batch(pool: Pool, candidates: Sequence[Candidate], space: SearchSpace) -> list[Result]:
    """Score candidates on a pool, in order; for the space's objective, seed and limit of members."""
    floors, gated = space.fusion.floors == "fitted", space.fusion.gate_parameters
    limit = space.search.max_members
    scorer = Scorer(pool, space.objective, space.seed, limit, floors, space.protocol.floor, gated)
    return [scorer.score(candidate) for candidate in candidates]


def best_of(results: Sequence[Result], objective: str) -> Result:
    """The best result of those that reach the floor, or that come closest to it; ties go to fewer members, then to the
    one found first."""
    sign = metrics.metric_of(objective).sign
    # Rounded, because the last bits depend on the machine.
    return min(results, key=lambda r: (max(0.0, -r.margin), round(-sign * r.score, 12), len(r.members)))
