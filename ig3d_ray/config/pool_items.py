"""The items of a search space's pool: what is trained or brought, lists expanding to their product."""

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ig3d_ray.data.representations import Representation, Subset
from ig3d_ray.models.recipe import LossSpec, Stage, TrainingRecipe
from ig3d_ray.models.spec import (
    STOCHASTIC_DEPTH,
    Attention,
    Backbone,
    CageSpec,
    CnnSpec,
    DdamfnSpec,
    ImportedSpec,
    IntermediateSpec,
    MemberName,
    Mlp3dSpec,
    WeightsName,
)
from ig3d_ray.types import Frozen, View


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


ONE_OR_MORE = [BeforeValidator(as_tuple), Field(min_length=1)]
Losses = Annotated[tuple[LossSpec, ...], *ONE_OR_MORE]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], *ONE_OR_MORE]


class TrainedPool(Frozen):
    """What the trained members of a pool item share; lists expand to their product."""

    loss: Losses = (LossSpec(),)
    seed: Seeds = (0,)
    recipe: TrainingRecipe = TrainingRecipe()
    """A recipe, or the name of one under `recipes`."""
    then: Stage | None = None
    """A second training for valence and arousal alone."""
    tag: str = Field(default="", pattern=r"^[A-Za-z0-9.+]*$")

    def trainings(self) -> Iterator[dict[str, Any]]:
        """What each member's spec says of its training."""
        for loss, seed in itertools.product(self.loss, self.seed):
            yield {"loss": loss, "seed": seed, "recipe": self.recipe, "then": self.then, "tag": self.tag}


class Mlp3dPool(TrainedPool):
    """3D classifiers: every combination of the lists is a member."""

    kind: Literal["mlp3d"]
    representation: Annotated[tuple[Representation, ...], *ONE_OR_MORE]
    subset: Annotated[tuple[Subset, ...], *ONE_OR_MORE]
    width: int = Field(default=2048, ge=8)
    variant: Literal["paper", "published", "published_va", "published_residual"] = "paper"

    def members(self) -> Iterator[Mlp3dSpec]:
        for r, s, training in itertools.product(self.representation, self.subset, list(self.trainings())):
            yield Mlp3dSpec(representation=r, subset=s, width=self.width, variant=self.variant, **training)


class CnnPool(TrainedPool):
    """Small image networks: every combination of the lists is a member."""

    kind: Literal["cnn"]
    width: int = Field(default=32, ge=4)
    image_size: int = Field(default=112, ge=32)

    def members(self) -> Iterator[CnnSpec]:
        for training in self.trainings():
            yield CnnSpec(width=self.width, image_size=self.image_size, **training)


class DdamfnPool(TrainedPool):
    """DDAMFN, and DDAMFN++ by its recipe."""

    kind: Literal["ddamfn"]
    heads: int = Field(default=2, ge=1, le=4)
    attention: Attention = "apart"
    start_from: WeightsName | None = None

    def members(self) -> Iterator[DdamfnSpec]:
        for training in self.trainings():
            yield DdamfnSpec(heads=self.heads, attention=self.attention, start_from=self.start_from, **training)


class CagePool(TrainedPool):
    """CAGE's networks: every combination of the lists is a member."""

    kind: Literal["cage"]
    backbone: Annotated[tuple[Backbone, ...], *ONE_OR_MORE] = ("maxvit_t",)
    image_size: int = Field(default=224, ge=32)
    start_from: WeightsName | None = None
    stochastic_depth: float = Field(default=STOCHASTIC_DEPTH, ge=0, lt=1)
    """In training, how often the last block is skipped, earlier ones less. 0.2 is torchvision's, for long trainings;
    from random weights a short one learns several times faster with 0."""

    def members(self) -> Iterator[CageSpec]:
        own: dict[str, Any] = {"image_size": self.image_size, "start_from": self.start_from}
        own |= {"stochastic_depth": self.stochastic_depth}
        for backbone, training in itertools.product(self.backbone, list(self.trainings())):
            yield CageSpec(backbone=backbone, **own, **training)


class IntermediatePool(TrainedPool):
    """Intermediate fusion: every combination of the lists is a member."""

    kind: Literal["intermediate"]
    backbone: Literal["ddamfn", "maxvit_t"] = "ddamfn"
    representation: Annotated[tuple[Representation, ...], *ONE_OR_MORE]
    subset: Annotated[tuple[Subset, ...], *ONE_OR_MORE]
    heads: int = Field(default=1, ge=1, le=4)
    attention: Attention = "together"
    start_from: WeightsName | None = None
    stochastic_depth: float = Field(default=STOCHASTIC_DEPTH, ge=0, lt=1)
    """MaxViT's, as `cage` has it."""
    params: Literal["standardised", "raw"] = "standardised"

    def members(self) -> Iterator[IntermediateSpec]:
        own: dict[str, Any] = {"backbone": self.backbone, "heads": self.heads, "attention": self.attention}
        own |= {"start_from": self.start_from, "raw_params": self.params == "raw"}
        own |= {"stochastic_depth": self.stochastic_depth}
        for r, s, training in itertools.product(self.representation, self.subset, list(self.trainings())):
            yield IntermediateSpec(representation=r, subset=s, **own, **training)


class ImportedPool(Frozen):
    """A member whose predictions are brought with `ig3d import predictions`."""

    kind: Literal["imported"]
    name: MemberName
    view: View

    def members(self) -> Iterator[ImportedSpec]:
        yield ImportedSpec(name=self.name, view=self.view)


TrainedItem = Mlp3dPool | CnnPool | DdamfnPool | CagePool | IntermediatePool
PoolItem = Annotated[TrainedItem | ImportedPool, Field(discriminator="kind")]
