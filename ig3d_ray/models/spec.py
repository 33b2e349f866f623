"""What a member is: its kind, what it looks at, how it is trained. Its fingerprint is its name on disk."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from ig3d_ray.data.representations import Representation, Subset, subset_groups
from ig3d_ray.models.recipe import LossSpec, Stage, TrainingRecipe
from ig3d_ray.types import Frozen, View

Backbone = Literal["maxvit_t", "efficientnet_v2_s", "swin_v2_t"]
Attention = Literal["apart", "together", "none"]
# In torchvision's three backbones alike.
STOCHASTIC_DEPTH = 0.2
MemberName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
WeightsName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]


class Origin(Frozen):
    """Of a member whose weights were brought as a checkpoint rather than trained here."""

    name: MemberName
    sha256: str


class TrainedSpec(Frozen):
    """What every member that has weights has."""

    loss: LossSpec = LossSpec()
    recipe: TrainingRecipe = TrainingRecipe()
    then: Stage | None = None
    """A second training from the best epoch of the first, with a new last layer: CAGE's way to valence and arousal."""
    seed: int = Field(default=0, ge=0)
    tag: str = Field(default="", pattern=r"^[A-Za-z0-9.+]*$")
    """A word in the name, where members differ in their recipes alone."""
    monitor: Literal["accuracy", "ccc_mean"] = "accuracy"
    """The dev score that patience waits for and that picks the epoch; follows from what is searched."""
    workers: int = Field(default=1, ge=1)
    """Data-parallel workers: batch norm and correlations are per worker, so their number changes the weights."""
    origin: Origin | None = None

    @model_validator(mode="after")
    def _monitored(self) -> "TrainedSpec":
        if self.then is not None and self.then.loss.va_terms != "ccc":
            raise ValueError("then.loss.va_terms: a second training is for valence and arousal alone; allowed: ccc")
        return self

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The trainings one after another."""
        first = Stage(loss=self.loss, recipe=self.recipe)
        return (first,) if self.then is None else (first, self.then)

    @property
    def last_loss(self) -> LossSpec:
        """What the network that remains was trained with; decides its outputs."""
        return self.stages[-1].loss

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of the samples table that it looks at, as its network takes them."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What it is called in tables: unique within a search space."""
        if self.origin is not None:
            return self.origin.name
        losses = "-".join(stage.loss.label for stage in self.stages)
        tag = f"-{self.tag}" if self.tag else ""
        return f"{self._architecture}-{losses}{self._size}{tag}-s{self.seed}"

    @property
    def _architecture(self) -> str:
        raise NotImplementedError

    @property
    def _size(self) -> str:
        return ""


class Mlp3dSpec(TrainedSpec):
    """The paper's 3D classifier: four hidden layers on the parameters of a 3D face model (section 4.1)."""

    kind: Literal["mlp3d"] = "mlp3d"
    representation: Representation
    subset: Subset
    width: int = Field(default=2048, ge=8)
    variant: Literal["paper", "published", "published_va", "published_residual"] = "paper"
    """`paper`: parameters standardised, dropout 50 % and 40 % after the first two layers. The published code takes
    them as they are and drops 50 % after the first (`published`) or nothing (`published_va`); its network for
    SMIRK's short parameters on AffectNet is another one (`published_residual`)."""

    @model_validator(mode="after")
    def _has_a_width(self) -> "Mlp3dSpec":
        if self.variant == "published_residual" and self.width != 2048:
            raise ValueError(f"width {self.width}: published_residual has layers of its own; leave width away")
        return self

    @property
    def view(self) -> View:
        return "3d"

    @property
    def features(self) -> tuple[str, ...]:
        return (self.representation,)

    @property
    def _architecture(self) -> str:
        variant = "" if self.variant == "paper" else f"-{self.variant.replace('_', '')}"
        return f"mlp3d-{self.representation}-{self.subset}{variant}"

    @property
    def _size(self) -> str:
        return "" if self.width == 2048 else f"-w{self.width}"


class CnnSpec(TrainedSpec):
    """A small convolutional network on the image: five stages, `width` channels in the first."""

    kind: Literal["cnn"] = "cnn"
    width: int = Field(default=32, ge=4)
    image_size: int = Field(default=112, ge=32)

    @property
    def view(self) -> View:
        return "2d"

    @property
    def features(self) -> tuple[str, ...]:
        return ("image",)

    @property
    def _architecture(self) -> str:
        return f"cnn-w{self.width}"


class DdamfnSpec(TrainedSpec):
    """DDAMFN, or DDAMFN++ with its recipe: pictures of 112 x 112."""

    kind: Literal["ddamfn"] = "ddamfn"
    heads: int = Field(default=2, ge=1, le=4)
    attention: Attention = "apart"
    """What 0.1 times the attention loss does to the heads; `apart` is DDAMFN's, `together` the fusion code's."""
    start_from: WeightsName | None = None
    """Weights that were brought with `ig3d import weights`; from scratch without."""

    @property
    def image_size(self) -> int:
        return 112

    @property
    def view(self) -> View:
        return "2d"

    @property
    def features(self) -> tuple[str, ...]:
        return ("image",)

    @property
    def _architecture(self) -> str:
        return "ddamfn" + (f"-h{self.heads}" if self.heads != 2 else "")


class CageSpec(TrainedSpec):
    """CAGE: a torchvision backbone; its loss decides whether it says classes, valence and arousal, or both."""

    kind: Literal["cage"] = "cage"
    backbone: Backbone = "maxvit_t"
    image_size: int = Field(default=224, ge=32)
    start_from: WeightsName | None = None
    """Weights that were brought with `ig3d import weights`, such as ImageNet's; from scratch without."""
    stochastic_depth: float = Field(default=STOCHASTIC_DEPTH, ge=0, lt=1)
    """In training, how often the last block is skipped, earlier ones less."""

    @model_validator(mode="after")
    def _windows_fit(self) -> "CageSpec":
        if self.backbone == "maxvit_t" and self.image_size != 224:
            raise ValueError(f"image_size {self.image_size}: maxvit_t's windows fit 224 only")
        return self

    @property
    def view(self) -> View:
        return "2d"

    @property
    def features(self) -> tuple[str, ...]:
        return ("image",)

    @property
    def _architecture(self) -> str:
        return f"cage-{self.backbone.split('_')[0]}"


class IntermediateSpec(TrainedSpec):
    """Intermediate fusion: an image network's features and 3D parameters in one classifier, trained together."""

    kind: Literal["intermediate"] = "intermediate"
    backbone: Literal["ddamfn", "maxvit_t"] = "ddamfn"
    representation: Representation
    subset: Subset
    heads: int = Field(default=1, ge=1, le=4)
    attention: Attention = "together"
    """With two or more of DDAMFN's heads: what 0.1 times the attention loss does to them."""
    start_from: WeightsName | None = None
    stochastic_depth: float = Field(default=STOCHASTIC_DEPTH, ge=0, lt=1)
    """MaxViT's, as `cage` has it."""
    raw_params: bool = False
    """Take parameters as they are, as the published networks do, instead of standardised."""

    @model_validator(mode="after")
    def _has_heads(self) -> "IntermediateSpec":
        if self.backbone != "ddamfn" and (self.heads, self.attention) != (1, "together"):
            raise ValueError(f"heads, attention: only ddamfn has them, not {self.backbone}; leave them away")
        if self.backbone == "ddamfn" and self.stochastic_depth != STOCHASTIC_DEPTH:
            raise ValueError("stochastic_depth: ddamfn has none; leave it away")
        return self

    @property
    def image_size(self) -> int:
        return 112 if self.backbone == "ddamfn" else 224

    @property
    def view(self) -> View:
        return "2d+3d"

    @property
    def features(self) -> tuple[str, ...]:
        return ("image", self.representation)

    @property
    def _architecture(self) -> str:
        backbone = self.backbone.split("_")[0] + (f"h{self.heads}" if self.heads != 1 else "")
        return f"intermediate-{backbone}-{self.representation}-{self.subset}"


class ImportedSpec(Frozen):
    """Somebody else's model, known by its predictions alone."""

    kind: Literal["imported"] = "imported"
    name: MemberName
    view: View


TrainableSpec = Mlp3dSpec | CnnSpec | DdamfnSpec | CageSpec | IntermediateSpec
AnySpec = TrainableSpec | ImportedSpec
_ADAPTER: TypeAdapter[AnySpec] = TypeAdapter(Annotated[AnySpec, Field(discriminator="kind")])


def parameter_groups(spec: TrainableSpec) -> tuple[tuple[str, int], ...]:
    """The (name, size) of each 3D parameter group that a network takes, in order; none for image networks."""
    if isinstance(spec, Mlp3dSpec | IntermediateSpec):
        return subset_groups(spec.representation, spec.subset)
    return ()


def spec_json(spec: AnySpec) -> str:
    """Canonical JSON: every field, sorted keys, no blanks."""
    return json.dumps(spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def parse_spec(text: str) -> AnySpec:
    """The spec that `spec_json` wrote."""
    return _ADAPTER.validate_json(text)


def is_brought(spec: AnySpec) -> bool:
    """Whether a member was made elsewhere: predictions, or a checkpoint that is run here."""
    return isinstance(spec, ImportedSpec) or spec.origin is not None


def fingerprint(dataset: str, dataset_fingerprint: str, spec: AnySpec) -> str:
    """16 hex digits of SHA-256 over the dataset's content and the spec: same data, same spec, same member.

    A member that was made elsewhere is known by dataset, name and view alone, so that its dev and test
    predictions can be brought one after the other, and a search space can name it.
    """
    content = dataset_fingerprint
    if is_brought(spec):
        content, spec = "", ImportedSpec(name=spec.name, view=spec.view)
    return hashlib.sha256(f"{dataset}\0{content}\0{spec_json(spec)}".encode()).hexdigest()[:16]
