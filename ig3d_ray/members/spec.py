"""What a member is: its kind, what it looks at, how it is trained. Its fingerprint is its name on disk."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from ig3d_ray.data.params3d import Representation, Subset
from ig3d_ray.logits import View


class Frozen(BaseModel):
    """A value that is read from or written to a file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LossSpec(Frozen):
    """The loss of equation 1: cross entropy plus weighted valence-arousal terms.

    L = CE + (alpha * MSE + beta * (1 - CCC) + gamma * (1 - PCC)) / (alpha + beta + gamma)
    """

    class_weights: Literal["none", "inverse_frequency"] = "none"
    """Weights of the classes in the cross entropy: none, or 1 / count normalised to mean 1."""
    va_terms: Literal["none", "random", "fixed"] = "none"
    """`random` draws alpha, beta, gamma from [0, 1] for every batch (the paper); `fixed` takes those below."""
    alpha: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    beta: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    gamma: float = Field(default=1.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _some_weight(self) -> "LossSpec":
        if self.va_terms == "fixed" and self.alpha + self.beta + self.gamma == 0:
            raise ValueError("alpha, beta and gamma are all 0; let one of them be positive")
        return self

    @property
    def label(self) -> str:
        """A short word for names: `ce`, `eq1random`, `eq1fixed`, with `balanced` for class weights."""
        words = {"none": "ce", "random": "eq1random", "fixed": "eq1fixed"}[self.va_terms]
        if self.va_terms == "fixed" and (self.alpha, self.beta, self.gamma) != (1.0, 1.0, 1.0):
            words += f"({self.alpha:g},{self.beta:g},{self.gamma:g})"
        return words + ("-balanced" if self.class_weights != "none" else "")


class TrainingRecipe(Frozen):
    """The recipe of Ig3D's Table 1: AdamW under a triangular cyclic learning rate."""

    batch_size: int = Field(default=64, ge=2)
    """Samples per step over all workers together."""
    epochs: int = Field(default=100, ge=1)
    patience: int = Field(default=3, ge=1)
    """Stop after this many epochs without a better score on dev; the best epoch is kept."""
    base_lr: float = Field(default=1e-6, gt=0, allow_inf_nan=False)
    max_lr: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    """The learning rate climbs from base to max and back, half an epoch each way."""
    weight_decay: float = Field(default=1e-5, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _climbs(self) -> "TrainingRecipe":
        if self.base_lr > self.max_lr:
            raise ValueError(f"base_lr {self.base_lr:g} is above max_lr {self.max_lr:g}")
        return self


class TrainedSpec(Frozen):
    """What every member that we train has."""

    loss: LossSpec = LossSpec()
    recipe: TrainingRecipe = TrainingRecipe()
    seed: int = Field(default=0, ge=0)
    monitor: Literal["accuracy", "ccc_mean"] = "accuracy"
    """The dev score that patience waits for and that picks the epoch; follows from what is searched."""
    workers: int = Field(default=1, ge=1)
    """Data-parallel workers: batch norm and correlations are per worker, so their number changes the weights."""


class Mlp3dSpec(TrainedSpec):
    """The paper's 3D classifier: four hidden layers on the parameters of a 3D face model (section 4.1)."""

    kind: Literal["mlp3d"] = "mlp3d"
    representation: Representation
    subset: Subset
    width: int = Field(default=2048, ge=8)

    @property
    def view(self) -> View:
        return "3d"

    @property
    def feature(self) -> str:
        """The column of the samples table that it looks at."""
        return self.representation

    @property
    def name(self) -> str:
        width = "" if self.width == 2048 else f"-w{self.width}"
        return f"mlp3d-{self.representation}-{self.subset}-{self.loss.label}{width}-s{self.seed}"


class CnnSpec(TrainedSpec):
    """A small convolutional network on the image: five stages, `width` channels in the first."""

    kind: Literal["cnn"] = "cnn"
    width: int = Field(default=32, ge=4)
    image_size: int = Field(default=112, ge=32)

    @property
    def view(self) -> View:
        return "2d"

    @property
    def feature(self) -> str:
        """The column of the samples table that it looks at."""
        return "image"

    @property
    def name(self) -> str:
        return f"cnn-w{self.width}-{self.loss.label}-s{self.seed}"


MemberName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]


class ImportedSpec(Frozen):
    """Somebody else's model, known by its predictions alone."""

    kind: Literal["imported"] = "imported"
    name: MemberName
    view: View


MemberSpec = Annotated[Mlp3dSpec | CnnSpec | ImportedSpec, Field(discriminator="kind")]
TrainableSpec = Mlp3dSpec | CnnSpec
_ADAPTER: TypeAdapter[Mlp3dSpec | CnnSpec | ImportedSpec] = TypeAdapter(MemberSpec)


def spec_json(spec: Mlp3dSpec | CnnSpec | ImportedSpec) -> str:
    """Canonical JSON: every field, sorted keys, no blanks."""
    return json.dumps(spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def parse_spec(text: str) -> Mlp3dSpec | CnnSpec | ImportedSpec:
    """The spec that `spec_json` wrote."""
    return _ADAPTER.validate_json(text)


def fingerprint(dataset: str, dataset_fingerprint: str, spec: Mlp3dSpec | CnnSpec | ImportedSpec) -> str:
    """16 hex digits of SHA-256 over the dataset's content and the spec: same data, same spec, same member.

    An imported member is known by dataset, name and view alone, so that its dev and test predictions
    can be brought one after the other.
    """
    content = "" if isinstance(spec, ImportedSpec) else dataset_fingerprint
    return hashlib.sha256(f"{dataset}\0{content}\0{spec_json(spec)}".encode()).hexdigest()[:16]
