"""The search space: one YAML file that describes a whole run, checked before anything starts."""

import hashlib
import json
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError, field_serializer, field_validator, model_validator

from ig3d_ray.config.protocol import ProtocolSpec
from ig3d_ray.config.resources import Resources
from ig3d_ray.data import datasets
from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.representations import Representation, representation
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.fusion.combine import Space, Strategy
from ig3d_ray.fusion.fit import METHODS, Method
from ig3d_ray.models.recipe import TrainingRecipe
from ig3d_ray.models.registry import expand, has_network
from ig3d_ray.models.spec import AnySpec, ImportedSpec, TrainedSpec
from ig3d_ray.storage.explain import first_error
from ig3d_ray.types import Frozen, Metric, Task


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_MANY = [BeforeValidator(_as_tuple)]
ONE_OR_MORE = [*_MANY, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def _weight(value: Any) -> Any:
    """`exact`, or a range inside [0, 1]; one message for every kind of error."""
    in_range = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
    if value == "exact" or (in_range and 0 <= value[0] <= value[1] <= 1):
        return tuple(value) if in_range else value
    raise ValueError("allowed: 'exact', or a range [low, high] with 0 <= low <= high <= 1")


Weight = Annotated[Literal["exact"] | tuple[float, float], BeforeValidator(_weight)]


class GateParameters(Frozen):
    """Parameters of the samples that a gate may take as input beside the members' confidences."""

    representation: Representation
    """Whose parameters; each sample of the pool has them."""
    groups: Annotated[tuple[str, ...], *ONE_OR_MORE] | None = None
    """Which groups of them, such as pose; all by default."""

    @model_validator(mode="after")
    def _groups_are_there(self) -> "GateParameters":
        there = representation(self.representation).groups
        unknown = [name for name in self.groups or () if name not in there]
        if unknown:
            raise ValueError(f"groups: {unknown[0]!r}: {self.representation} has {', '.join(there)}")
        return self

    @property
    def columns(self) -> np.ndarray:
        """Their places in the full vector, `[P]` int64."""
        about = representation(self.representation)
        return about.group_columns(self.groups or about.groups)


class FusionSpace(Frozen):
    """What is tried: with each pair of a 2D and a 3D member, and with many members together."""

    strategies: Annotated[tuple[Strategy, ...], *ONE_OR_MORE] = ("max", "mean", "weighted")
    """Ways to combine two members' outputs."""
    spaces: Annotated[tuple[Space, ...], *ONE_OR_MORE] = ("logits", "probabilities")
    """Where class scores are combined; valence and arousal have one space only."""
    weight_3d: Weight = "exact"
    """`exact` solves for the best weight of the 3D member; a range [low, high] is sampled."""
    methods: Annotated[tuple[Method, ...], *_MANY] | None = None
    """How the weights of more than two members are found; all that fit the task by default, [] for pairs only."""
    weights_per: Annotated[tuple[Literal["member", "column"], ...], *ONE_OR_MORE] = ("member",)
    """One weight for each member, or for each of its classes (or valence and arousal); both are tried if listed."""
    temperatures: Annotated[tuple[Literal["none", "fitted"], ...], *ONE_OR_MORE] = ("none", "fitted")
    """Whether the logits of pairs are divided by temperatures fitted on the selection set, where that changes the
    fusion; those of many members too, where they have no floors."""
    floors: Literal["fitted", "none"] = "fitted"
    """`fitted`: methods of many members take as input the logarithms of each member's probabilities, at a temperature
    and mixed with a share of the uniform distribution that are fitted together, so that confident mistakes cost little;
    their `temperatures` are then those."""
    gate_parameters: GateParameters | None = None
    """What the method `gate` may take as input beside the members' confidences, such as the head's pose; none by
    default."""


class Reference(Frozen):
    """A fusion that is always scored and reported, such as the paper's."""

    name: str
    """Shown in tables and figures."""
    member_2d: str = "*"
    """Pattern of the names of 2D members, such as `ddamfn*`."""
    member_3d: str = "*"
    """Names of members; `*` matches anything."""
    strategy: Strategy
    """How the two are combined."""
    space: Space = "logits"
    """Where their class scores are combined."""
    weight_3d: Share | None = None
    """Weight of the 3D member, for `weighted`."""

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
    """Candidates requested from Optuna, per selection set: subsets of members with method and space."""
    max_members: int | None = Field(default=None, ge=1)
    """The maximum number of members in an ensemble."""
    subset_members: int = Field(default=6, ge=2)
    """The maximum number of members in subsets chosen by Optuna."""
    batch: int = Field(default=50, ge=1)
    """Candidates that one trial scores."""
    concurrent: int = Field(default=2, ge=1)
    """Batches requested before any of their results is returned; fixed here, not by the number of machines."""
    sampler: Literal["tpe", "random", "nsga2"] = "tpe"
    """Of Optuna: `tpe`, `random` or `nsga2`."""
    seed: int | None = Field(default=None, ge=0)
    """Of the sampler; the space's own seed by default."""
    second_objective: Literal["members", "cost"] | None = None
    """Optuna minimizes this too, and the Pareto front of both is reported; the ensemble is selected by the first."""
    proof: Literal["exact"] | None = None
    """`exact`: also show what no weights of the chosen members exceed in accuracy. Those of two and three members are
    solved for, in some seconds; of more it is an upper bound, a minute for 20 members and 12,000 samples."""
    costs: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """For `cost`: what a member costs to run, in any unit; names may contain `*`, and the first match counts."""


class DrawnData(Frozen):
    """The built-in data set."""

    samples: int = Field(default=4000, ge=200)
    """How many faces are drawn."""
    seed: int = Field(default=0, ge=0)
    """Decides the drawn faces."""


def _with_recipe(item: Any, named: Any, field: str) -> Any:
    """An item of the pool, or its second training, with the named recipes in place of their names."""
    if not isinstance(item, dict):
        return item
    item = dict(item)
    if "recipe" in item:
        several = isinstance(item["recipe"], list | tuple)
        recipes = [_named(one, named, field) for one in (item["recipe"] if several else [item["recipe"]])]
        item["recipe"] = recipes if several else recipes[0]
    if isinstance(item.get("then"), dict):
        item["then"] = _with_recipe(item["then"], named, f"{field}.then")
    return item


def _named(recipe: Any, named: Any, field: str) -> Any:
    if not isinstance(recipe, str):
        return recipe
    if not isinstance(named, dict) or recipe not in named:
        known = ", ".join(map(str, named)) or "there are none"
        raise ValueError(f"{field}.recipe: {recipe!r} is not under recipes; known: {known}")
    return named[recipe]


def _members_of(item: Any, field: str) -> list[AnySpec]:
    """The members of an item of the pool."""
    if isinstance(item, TrainedSpec | ImportedSpec):
        return [item]
    if not isinstance(item, dict):
        raise ValueError(f"{field}: {item!r}: a member is a mapping with a kind")
    try:
        return list(expand(item))
    except ValidationError as error:
        raise ValueError(first_error(error, field)) from error
    except Ig3dError as error:
        raise ValueError(f"{field}.{error}") from error


def _unfit(spec: TrainedSpec, about: Dataset, objective: str, workers: int) -> str:
    """Why a member can't be trained for an objective; empty if it can."""
    task = metrics.metric_of(objective).task
    for stage in spec.stages:
        if stage.loss.has_va and not about.has_va:
            return f"loss.va_terms must be 'none': {about.name} has no such labels"
        if stage.loss.class_weights == "cage" and not about.name.startswith("affectnet"):
            return f"loss.class_weights 'cage' are AffectNet's, not {about.name}'s; allowed: none, inverse_frequency"
        if stage.recipe.batch_size % workers or stage.recipe.batch_size < 2 * workers:
            return f"recipe.batch_size {stage.recipe.batch_size} is not a multiple of {workers} workers, 2 or more each"
    if not (task.has_classes or spec.last_loss.has_va):
        return f"loss.va_terms 'none' trains no {objective}; allowed: random, fixed, mse, ccc"
    if task.has_classes and not spec.last_loss.has_classes:
        return f"loss.va_terms 'ccc' trains no {objective}; allowed: none, random, fixed, mse"
    return ""


class SearchSpace(Frozen):
    """Everything about a run. Lists in `pool` expand to their product."""

    dataset: str
    """A built-in data set, one created in the storage, or in YAML the path of a declaration."""
    objective: str
    """The metric to optimize, such as accuracy, macro_f1, log_loss, ccc_mean or rmse."""
    pool: Annotated[tuple[TrainedSpec | ImportedSpec, ...], Field(min_length=1)]
    """Members to train, and existing members."""
    fusion: FusionSpace = FusionSpace()
    """Ways to fuse that are tried."""
    references: tuple[Reference, ...] = ()
    """Fusions to report beside what is found, such as the paper's."""
    protocol: ProtocolSpec = ProtocolSpec()
    """Where members and weights are chosen, and where they are reported."""
    search: SearchSpec = SearchSpec()
    """Budget, sampler and limits of the search."""
    resources: Resources = Resources()
    """What each training run asks of the cluster."""
    recipes: dict[str, TrainingRecipe] = Field(default_factory=dict)
    """Named recipes, for `recipe: name` in the pool."""
    data: DrawnData | None = None
    """For `faces` only: how many to draw."""
    seed: int = Field(default=0, ge=0)
    """Of the search, the folds and the bootstrap."""
    abstain_above_risk: float | None = Field(default=None, gt=0, lt=1)
    """The error among answered samples, at most: the exported ensemble abstains where it is less confident than that
    needs, with 95 % confidence."""

    @model_validator(mode="before")
    @classmethod
    def _expand_pool(cls, content: Any) -> Any:
        """Replace names of recipes by the recipes, then expand each item's lists to their product."""
        if not isinstance(content, dict) or not isinstance(content.get("pool"), list | tuple):
            return content
        named = content.get("recipes") or {}
        items = [_with_recipe(item, named, f"pool.{i}") for i, item in enumerate(content["pool"])]
        return content | {"pool": [spec for i, item in enumerate(items) for spec in _members_of(item, f"pool.{i}")]}

    @field_serializer("pool")
    def _written_fields(self, pool: tuple[AnySpec, ...]) -> list[dict[str, Any]]:
        return [spec.model_dump(mode="json", exclude=set(TrainedSpec.DERIVED)) for spec in pool]

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, value: str) -> str:
        if datasets.find(value) is None:
            # Not a ValueError, which pydantic would wrap in lines of its own.
            known = ", ".join(datasets.known())
            raise Ig3dError(f"dataset: {value!r}: allowed: {known}, or the path of a declaration, ./mine.yaml")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "SearchSpace":
        about = datasets.dataset(self.dataset)
        allowed = [name for task in about.tasks for name in metrics.METRICS[task]]
        if self.objective not in allowed:
            raise ValueError(f"objective {self.objective!r} for {self.dataset}; allowed: {', '.join(allowed)}")
        if self.abstain_above_risk is not None and not self.task.has_classes:
            raise ValueError("abstain_above_risk: valence and arousal have no confidence; remove it")
        floor = self.protocol.floor
        fit = [name for name in metrics.METRICS[self.task] if metrics.metric_of(name).sign > 0]
        if floor is not None and floor.metric not in fit:
            raise ValueError(f"protocol.floor.metric: {floor.metric!r} for {self.task}; allowed: {', '.join(fit)}")
        unfit = [method for method in self.fusion.methods or () if method not in METHODS[self.task]]
        if unfit:
            raise ValueError(f"fusion.methods: {unfit[0]!r} for {self.task}; allowed: {', '.join(METHODS[self.task])}")
        if self.fusion.gate_parameters is not None and "gate" not in self.methods:
            raise ValueError("fusion.gate_parameters: they are for the method gate; add it to fusion.methods")
        if self.search.proof and not self.task.has_classes:
            raise ValueError("search.proof: it is for accuracy, and valence and arousal have none; remove it")
        if self.search.costs and self.search.second_objective != "cost":
            raise ValueError(
                "search.costs: they have no effect without second_objective 'cost'; set it, or remove them"
            )
        if self.search.second_objective == "cost" and not self.search.costs:
            raise ValueError("search.costs: second_objective 'cost' needs what members cost, such as {cnn*: 3.5}")
        if self.data is not None and self.dataset != "faces":
            raise ValueError(f"data: only faces are drawn, {self.dataset} is imported; remove it")
        names = [spec.name for spec in self.members()]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"pool: two members are called {repeated[0]!r}; let them differ in seed, loss or width")
        for spec in self.trainable():
            wrong = _unfit(spec, about, self.objective, self.resources.workers)
            if wrong:
                raise ValueError(f"pool: {spec.name}: {wrong}")
        return self

    @property
    def methods(self) -> tuple[Method, ...]:
        """How the weights of more than two members are found."""
        return METHODS[self.task] if self.fusion.methods is None else self.fusion.methods

    @property
    def metric(self) -> Metric:
        """The objective as a metric."""
        return metrics.metric_of(self.objective)

    @property
    def task(self) -> Task:
        """What is searched: expressions, or valence and arousal; the objective decides."""
        return metrics.metric_of(self.objective).task

    def members(self) -> list[AnySpec]:
        """Every member of the pool, in the order of the file."""
        # What is searched and how many workers train decide the weights too, so they are part of a member's spec.
        decides = {"monitor": self.task.default_metric, "workers": self.resources.workers}
        return [spec.model_copy(update=decides) if has_network(spec) else spec for spec in self.pool]

    def trainable(self) -> list[TrainedSpec]:
        """The members that are trained here."""
        return [spec for spec in self.members() if has_network(spec)]

    @property
    def hash(self) -> str:
        """12 hex digits over everything that decides the search; resources are seen in the members' outputs."""
        content = self.model_dump(mode="json", exclude={"resources", "recipes"})
        if self.protocol.rope == ProtocolSpec().rope:
            # Of no influence on the search, as no groups are.
            del content["protocol"]["rope"]
        # Of no influence on the search.
        del content["search"]["proof"]
        if self.abstain_above_risk is None:
            del content["abstain_above_risk"]
        if self.fusion.gate_parameters is None:
            del content["fusion"]["gate_parameters"]
        for option in ("group_by", "floor"):
            if content["protocol"][option] is None:
                del content["protocol"][option]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
