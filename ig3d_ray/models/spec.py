"""What a member is: its kind, its inputs, its training. The hash of a spec is the member's name on disk."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from ig3d_ray.data.representations import Representation, Subset, representation, subset_columns, subset_groups
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.recipe import LossSpec, Stage, TrainingRecipe
from ig3d_ray.types import Frozen, View

Attention = Literal["apart", "together", "none"]
MemberName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
WeightsName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
Shapes = Mapping[str, tuple[int, ...]]
"""The layers of a checkpoint: name -> shape."""
IMAGE = "image"
PREDICTIONS = "predictions"


@dataclass(frozen=True)
class ImageInput:
    """A face image, `[3, size, size]`.

    Attributes:
        size: side in pixels.
    """

    size: int
    feature: ClassVar[str] = IMAGE


@dataclass(frozen=True)
class ParameterInput:
    """Parameters of a 3D face model, `[D]`.

    Attributes:
        representation: whose parameters.
        subset: which of them.
    """

    representation: Representation
    subset: Subset

    @property
    def feature(self) -> str:
        """The column of the samples table."""
        return self.representation

    @property
    def groups(self) -> tuple[tuple[str, int], ...]:
        """The (name, size) of each parameter group, in order."""
        return subset_groups(self.representation, self.subset)

    @property
    def width(self) -> int:
        """D, the number of parameters."""
        return sum(size for _, size in self.groups)

    @property
    def columns(self) -> np.ndarray:
        """The columns of the full vector that are kept, `[D]` int64."""
        return subset_columns(self.representation, self.subset)


Input = ImageInput | ParameterInput


def check_subset(name: str, subset: str) -> None:
    """Check that a representation has a subset.

    Raises:
        ValueError: it has not; the message lists those that there are.
    """
    there = representation(name).subset_names
    if subset not in there:
        raise ValueError(f"subset: {subset!r}: {name} has {', '.join(there)}")


class Origin(Frozen):
    """Where the weights of an imported checkpoint come from."""

    name: MemberName
    """Of the file."""
    sha256: str
    """Of its bytes."""


class CohortKind(NamedTuple):
    """What members must share to be trained as one network."""

    width: int
    variant: str


@dataclass(frozen=True)
class PublishedLayers:
    """The network of a published checkpoint, by its layers.

    Attributes:
        fields: the kind's own fields of the spec.
        output: the name of the last layer.
        va_terms: of the loss that a network with classes and valence-arousal outputs was trained with.
        renamed: layers whose names differ here: published name -> name.
        unused_outputs: whether outputs beyond a data set's classes were never trained.
        va_first: which of the last two outputs is valence is known from the publication; None where the network
            has no published order to correct.
        note: what the user should know, empty for nothing.
    """

    fields: dict[str, Any]
    output: str
    va_terms: Literal["random", "mse"]
    renamed: dict[str, str] = field(default_factory=dict)
    unused_outputs: bool = False
    va_first: Literal["valence", "arousal"] | None = None
    note: str = ""


class ImportedSpec(Frozen):
    """An external model of which only predictions are available."""

    kind: Literal["imported"] = "imported"
    """Always `imported`."""
    name: MemberName
    """Of the member."""
    view: View
    """What the model takes as input."""

    @property
    def features(self) -> tuple[str, ...]:
        """Its predictions: it cannot be run on new images."""
        return (PREDICTIONS,)

    @property
    def is_imported(self) -> bool:
        """Always true."""
        return True


class TrainedSpec(Frozen):
    """Fields of every member with a network. Each kind of network is a subclass in a separate folder.

    A subclass defines what its network takes as input (`inputs`), what that costs (`operations`), and its name
    (`architecture`, `size`).
    """

    DERIVED: ClassVar[frozenset[str]] = frozenset({"monitor", "workers", "origin"})
    """Fields that follow from the rest of a run and are not written in a search space."""

    kind: str
    """Names the network."""
    loss: LossSpec = LossSpec()
    """Of the training."""
    recipe: TrainingRecipe = TrainingRecipe()
    """A recipe, or the name of one under `recipes`."""
    then: Stage | None = None
    """A second training from the best epoch of the first, with a new last layer, for valence and arousal: CAGE's."""
    seed: int = Field(default=0, ge=0)
    """Of the initial weights and the order of the samples."""
    tag: str = Field(default="", pattern=r"^[A-Za-z0-9.+]*$")
    """Part of the name, where members differ in their recipes alone."""
    monitor: Literal["accuracy", "ccc_mean"] = "accuracy"
    """The dev score that patience waits for and that selects the epoch; follows from the objective."""
    workers: int = Field(default=1, ge=1)
    """Data-parallel workers: batch norm and correlations are per worker, so their number changes the weights."""
    origin: Origin | None = None
    """Of imported weights; None if they are trained here."""

    @model_validator(mode="after")
    def _second_training_is_for_va(self) -> Self:
        if self.then is not None and self.then.loss.va_terms != "ccc":
            raise ValueError("then.loss.va_terms: a second training is for valence and arousal alone; allowed: ccc")
        return self

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the network takes as input, in its order."""
        raise NotImplementedError

    @property
    def operations(self) -> float:
        """Floating-point operations of one sample through the network, in units of 1e9."""
        raise NotImplementedError

    @property
    def architecture(self) -> str:
        """The first part of the name."""
        raise NotImplementedError

    @property
    def size(self) -> str:
        """What the name adds after the losses; empty for the usual size."""
        return ""

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages that its network needs beyond torch."""
        return ()

    @property
    def initial_weights(self) -> str | None:
        """The imported weights that training starts from; None for random ones."""
        return None

    @property
    def head_attention(self) -> Attention:
        """What the loss does to the attention heads, if there are any."""
        return "none"

    @property
    def cohort(self) -> CohortKind | None:
        """Identifies the members it can be trained with as one network; None if there are none."""
        return None

    @classmethod
    def from_published(cls, shapes: Shapes) -> PublishedLayers:
        """What a published checkpoint of this kind is, from the names and shapes of its layers.

        Args:
            shapes: layer name -> shape.

        Raises:
            Ig3dError: the layers are not those of this kind.
        """
        raise Ig3dError("no checkpoint of this kind has been published")

    @property
    def image(self) -> ImageInput | None:
        """The image among the inputs."""
        return next((one for one in self.inputs if isinstance(one, ImageInput)), None)

    @property
    def parameters(self) -> ParameterInput | None:
        """The 3D parameters among the inputs."""
        return next((one for one in self.inputs if isinstance(one, ParameterInput)), None)

    @property
    def parameter_groups(self) -> tuple[tuple[str, int], ...]:
        """The (name, size) of each 3D parameter group that the network takes, in order."""
        return self.parameters.groups if self.parameters else ()

    @property
    def parameter_count(self) -> int:
        """D, the number of 3D parameters that the network takes."""
        return self.parameters.width if self.parameters else 0

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of the samples table that it takes as input."""
        return tuple(one.feature for one in self.inputs)

    @property
    def view(self) -> View:
        """Which view of a face it takes as input."""
        if self.parameters is None:
            return "2d"
        of_parameters = representation(self.parameters.representation).view
        return of_parameters if self.image is None else f"2d+{of_parameters}"

    @property
    def is_imported(self) -> bool:
        """Whether its weights were imported as a checkpoint."""
        return self.origin is not None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The trainings one after another."""
        first = Stage(loss=self.loss, recipe=self.recipe)
        return (first,) if self.then is None else (first, self.then)

    @property
    def last_loss(self) -> LossSpec:
        """The loss of the last training; decides the outputs."""
        return self.stages[-1].loss

    @property
    def name(self) -> str:
        """Its name in tables; unique within a search space."""
        if self.origin is not None:
            return self.origin.name
        losses = "-".join(stage.loss.label for stage in self.stages)
        tag = f"-{self.tag}" if self.tag else ""
        return f"{self.architecture}-{losses}{self.size}{tag}-s{self.seed}"

    @property
    def cost_key(self) -> str:
        """Members with the same key cost the same per sample, such as those that differ in losses or seeds."""
        own = self.model_dump(mode="json", exclude={*TrainedSpec.model_fields, "start_from"})
        return "-".join(map(str, (self.kind, *own.values(), self.workers)))


AnySpec = TrainedSpec | ImportedSpec


def spec_json(spec: AnySpec) -> str:
    """Canonical JSON: every field, sorted keys, no blanks."""
    return json.dumps(spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def fingerprint(dataset: str, dataset_fingerprint: str, spec: AnySpec) -> str:
    """16 hex digits of SHA-256 over the content of the data set and the spec.

    A member that was made elsewhere is identified by data set, name and view alone, so that its dev and test
    predictions can be imported one after the other, and a search space can name it.

    Args:
        dataset: its name.
        dataset_fingerprint: of its samples table.
        spec: the member's.
    """
    content = dataset_fingerprint
    if spec.is_imported:
        content, spec = "", ImportedSpec(name=spec.name, view=spec.view)
    return hashlib.sha256(f"{dataset}\0{content}\0{spec_json(spec)}".encode()).hexdigest()[:16]
