"""The search space: one YAML file that says everything about a run, checked before anything starts."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ig3d_ray import metrics
from ig3d_ray.data import catalog
from ig3d_ray.data.catalog import Task
from ig3d_ray.data.params3d import Representation, Subset
from ig3d_ray.fusion.many import METHODS, Method
from ig3d_ray.fusion.spaces import Space
from ig3d_ray.fusion.strategies import Strategy
from ig3d_ray.logits import View
from ig3d_ray.members.spec import (
    CnnSpec,
    Frozen,
    ImportedSpec,
    LossSpec,
    MemberName,
    Mlp3dSpec,
    TrainableSpec,
    TrainingRecipe,
)
from ig3d_ray.protocol import ProtocolSpec


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_MANY = [BeforeValidator(_as_tuple)]
_OneOrMore = [BeforeValidator(_as_tuple), Field(min_length=1)]
Losses = Annotated[tuple[LossSpec, ...], *_OneOrMore]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], *_OneOrMore]
Share = Annotated[float, Field(ge=0, le=1)]

MONITOR: dict[Task, str] = {"expression": "accuracy", "va": "ccc_mean"}


class TrainedPool(Frozen):
    """What the trained members of a pool item share; lists expand to their product."""

    loss: Losses = (LossSpec(),)
    seed: Seeds = (0,)
    recipe: TrainingRecipe = TrainingRecipe()


class Mlp3dPool(TrainedPool):
    """3D classifiers: every combination of the lists is a member."""

    kind: Literal["mlp3d"]
    representation: Annotated[tuple[Representation, ...], *_OneOrMore]
    subset: Annotated[tuple[Subset, ...], *_OneOrMore]
    width: int = Field(default=2048, ge=8)

    def members(self) -> Iterator[Mlp3dSpec]:
        for r, s, loss, seed in itertools.product(self.representation, self.subset, self.loss, self.seed):
            yield Mlp3dSpec(representation=r, subset=s, loss=loss, seed=seed, width=self.width, recipe=self.recipe)


class CnnPool(TrainedPool):
    """Small image networks: every combination of the lists is a member."""

    kind: Literal["cnn"]
    width: int = Field(default=32, ge=4)
    image_size: int = Field(default=112, ge=32)

    def members(self) -> Iterator[CnnSpec]:
        for loss, seed in itertools.product(self.loss, self.seed):
            yield CnnSpec(loss=loss, seed=seed, width=self.width, image_size=self.image_size, recipe=self.recipe)


class ImportedPool(Frozen):
    """A member whose predictions are brought with `ig3d import predictions`."""

    kind: Literal["imported"]
    name: MemberName
    view: View

    def members(self) -> Iterator[ImportedSpec]:
        yield ImportedSpec(name=self.name, view=self.view)


PoolItem = Annotated[Mlp3dPool | CnnPool | ImportedPool, Field(discriminator="kind")]


def _weight(value: Any) -> Any:
    """`exact`, or a range inside [0, 1]; one message for all that can be wrong with it."""
    in_range = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
    if value == "exact" or (in_range and 0 <= value[0] <= value[1] <= 1):
        return tuple(value) if in_range else value
    raise ValueError("allowed: 'exact', or a range [low, high] with 0 <= low <= high <= 1")


Weight = Annotated[Literal["exact"] | tuple[float, float], BeforeValidator(_weight)]


class FusionSpace(Frozen):
    """What is tried: with each pair of a 2D and a 3D member, and with many members together."""

    strategies: Annotated[tuple[Strategy, ...], *_OneOrMore] = ("max", "mean", "weighted")
    spaces: Annotated[tuple[Space, ...], *_OneOrMore] = ("logits", "probabilities")
    """Where class scores are combined; valence and arousal have one space only."""
    weight_3d: Weight = "exact"
    """`exact` solves for the best weight of the 3D member; a range [low, high] is sampled."""
    methods: Annotated[tuple[Method, ...], *_MANY] | None = None
    """How the weights of more than two members are found; all that fit the task by default, [] for pairs only."""
    weights_per: Annotated[tuple[Literal["member", "column"], ...], *_OneOrMore] = ("member",)
    """One weight for each member, or for each of its classes (or valence and arousal); both are tried if listed."""
    temperatures: Annotated[tuple[Literal["none", "fitted"], ...], *_OneOrMore] = ("none", "fitted")
    """Whether logits are divided by temperatures fitted on the selection set, where that changes the fusion."""


class Reference(Frozen):
    """A fusion that is always scored and shown, such as the paper's."""

    name: str
    member_2d: str = "*"
    member_3d: str = "*"
    """Names of members; `*` stands for anything."""
    strategy: Strategy
    space: Space = "logits"
    weight_3d: Share | None = None

    @model_validator(mode="after")
    def _weight_exactly_when_weighted(self) -> "Reference":
        if (self.strategy == "weighted") != (self.weight_3d is not None):
            raise ValueError(
                f"strategy {self.strategy!r}, weight_3d {self.weight_3d}: a weight goes with 'weighted' only"
            )
        return self


class SearchSpec(Frozen):
    """How the candidates are searched."""

    enumerate_up_to: int = Field(default=20000, ge=0)
    """Pairs x strategies x spaces are all scored if they are no more than this; otherwise Optuna chooses among them."""
    budget: int = Field(default=100, ge=0)
    """Candidates that Optuna is asked for, per selection set: subsets of members with method and space."""
    max_members: int | None = Field(default=None, ge=1)
    """No ensemble has more members."""
    subset_members: int = Field(default=6, ge=2)
    """The subsets that Optuna chooses have at most so many."""
    batch: int = Field(default=50, ge=1)
    """Candidates that one trial scores."""
    concurrent: int = Field(default=2, ge=1)
    """Batches asked for before their results are told; part of the result, so that it doesn't depend on the machine."""
    sampler: Literal["tpe", "random", "nsga2"] = "tpe"
    seed: int | None = Field(default=None, ge=0)
    """Of the sampler; the space's own seed by default."""
    second_objective: Literal["members", "cost"] | None = None
    """Optuna minimises this too, and the front of the two is shown; the ensemble is chosen by the first."""
    costs: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """For `cost`: what a member costs to run, in any unit; names may hold `*`, the first that fits counts."""


class Resources(Frozen):
    """What one training run asks of the cluster."""

    workers: int = Field(default=1, ge=1)
    cpus_per_worker: int = Field(default=1, ge=1)
    gpus_per_worker: float = Field(default=0.0, ge=0)
    members_per_run: int = Field(default=8, ge=1)
    """Members of one kind that a run trains one after another; starting a run costs 10 to 30 s."""
    max_failures: int = Field(default=3, ge=0)
    """How often a run is resumed after losing a worker."""


class DrawnData(Frozen):
    """The built-in data set."""

    samples: int = Field(default=4000, ge=200)
    seed: int = Field(default=0, ge=0)


class SearchSpace(Frozen):
    """Everything about a run. Lists in `pool` expand to their product."""

    dataset: str
    objective: str
    pool: Annotated[tuple[PoolItem, ...], Field(min_length=1)]
    fusion: FusionSpace = FusionSpace()
    references: tuple[Reference, ...] = ()
    protocol: ProtocolSpec = ProtocolSpec()
    search: SearchSpec = SearchSpec()
    resources: Resources = Resources()
    data: DrawnData | None = None
    """For `faces` only: how many to draw."""
    seed: int = Field(default=0, ge=0)
    """Of the search, the folds and the bootstrap."""

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, value: str) -> str:
        if value not in catalog.DATASETS:
            raise ValueError(f"allowed: {', '.join(sorted(catalog.DATASETS))}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "SearchSpace":
        about = catalog.DATASETS[self.dataset]
        allowed = [name for task in about.tasks for name in metrics.METRICS[task]]
        if self.objective not in allowed:
            raise ValueError(f"objective {self.objective!r} for {self.dataset}; allowed: {', '.join(allowed)}")
        unfit = [method for method in self.fusion.methods or () if method not in METHODS[self.task]]
        if unfit:
            raise ValueError(f"fusion.methods: {unfit[0]!r} for {self.task}; allowed: {', '.join(METHODS[self.task])}")
        if self.search.costs and self.search.second_objective != "cost":
            raise ValueError(
                "search.costs: without second_objective 'cost' they count for nothing; set it, or leave them"
            )
        if self.search.second_objective == "cost" and not self.search.costs:
            raise ValueError("search.costs: second_objective 'cost' needs what members cost, such as {cnn*: 3.5}")
        if self.data is not None and self.dataset != "faces":
            raise ValueError(f"data: only faces are drawn, {self.dataset} is brought; leave it away")
        names = [spec.name for spec in self.members()]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"pool: two members are called {repeated[0]!r}; let them differ in seed, loss or width")
        for spec in self.trainable():
            if spec.loss.va_terms != "none" and not about.has_va:
                raise ValueError(f"pool: {spec.name}: loss.va_terms must be 'none': {self.dataset} has no such labels")
            if spec.loss.va_terms == "none" and self.task == "va":
                raise ValueError(
                    f"pool: {spec.name}: loss.va_terms 'none' trains no {self.objective}; allowed: random, fixed"
                )
            if spec.recipe.batch_size < 2 * self.resources.workers:
                raise ValueError(f"pool: {spec.name}: recipe.batch_size {spec.recipe.batch_size} is under 2 per worker")
        return self

    @property
    def methods(self) -> tuple[Method, ...]:
        """How the weights of many are found."""
        return METHODS[self.task] if self.fusion.methods is None else self.fusion.methods

    @property
    def task(self) -> Task:
        """What is searched: expressions, or valence and arousal; the objective decides."""
        return metrics.task_of(self.objective)

    def members(self) -> list[TrainableSpec | ImportedSpec]:
        """Every member of the pool, in the order of the file."""
        # What is searched and how many workers train decide the weights too, so they belong to a member's spec.
        decides = {"monitor": MONITOR[self.task], "workers": self.resources.workers}
        found: list[TrainableSpec | ImportedSpec] = []
        for item in self.pool:
            for spec in item.members():
                found.append(spec if isinstance(spec, ImportedSpec) else spec.model_copy(update=decides))
        return found

    def trainable(self) -> list[TrainableSpec]:
        """The members that are trained here."""
        return [spec for spec in self.members() if not isinstance(spec, ImportedSpec)]

    def canonical(self) -> str:
        """Canonical JSON of every field, defaults included."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """12 hex digits over everything that decides the search; resources are seen in the members' outputs."""
        content = self.model_dump(mode="json", exclude={"resources"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
