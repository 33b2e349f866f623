"""Specs of intermediate fusion."""

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ig3d_ray.data.representations import Representation, Subset
from ig3d_ray.models.cage.spec import MAXVIT_SIZE, MULTIPLY_ADDS, STOCHASTIC_DEPTH
from ig3d_ray.models.cnn.spec import CnnSpec
from ig3d_ray.models.ddamfn import spec as ddamfn
from ig3d_ray.models.published import head_count, layer_shape, subset_of_width
from ig3d_ray.models.spec import (
    Attention,
    ImageInput,
    Input,
    ParameterInput,
    PublishedLayers,
    Shapes,
    TrainedSpec,
    WeightsName,
    check_subset,
)


class IntermediateSpec(TrainedSpec):
    """Intermediate fusion: an image network's features and 3D parameters in one classifier, trained together."""

    kind: Literal["intermediate"] = "intermediate"
    """Names the network."""
    backbone: Literal["ddamfn", "maxvit_t", "cnn"] = "ddamfn"
    """The image network; `cnn` is the small one."""
    representation: Representation
    """Of the 3D parameters."""
    subset: Subset
    """Which of the parameters."""
    heads: int = Field(default=1, ge=1, le=4)
    """Attention heads of the image network."""
    attention: Attention = "together"
    """With two or more of DDAMFN's heads: what 0.1 times the attention loss does to them."""
    start_from: WeightsName | None = None
    """Weights that the image network starts from; None for random ones."""
    stochastic_depth: float = Field(default=STOCHASTIC_DEPTH, ge=0, lt=1)
    """Of MaxViT, as in `cage`."""
    width: int | None = Field(default=None, ge=4)
    """Channels of the first stage of `cnn`, 32 by default; the others have none."""
    image_size: int | None = Field(default=None, ge=32)
    """Height and width of `cnn`'s images in pixels, 112 by default; the others have their own."""
    params: Literal["standardized", "raw"] = "standardized"
    """Whether parameters are standardized, or taken as they are, as the published networks do."""

    @model_validator(mode="after")
    def _fields_of_the_backbone(self) -> Self:
        check_subset(self.representation, self.subset)
        if self.backbone != "ddamfn" and (self.heads, self.attention) != (1, "together"):
            raise ValueError(f"heads, attention: only ddamfn has them, not {self.backbone}; remove them")
        if self.backbone != "maxvit_t" and self.stochastic_depth != STOCHASTIC_DEPTH:
            raise ValueError(f"stochastic_depth: {self.backbone} has none; remove it")
        if self.backbone == "cnn" and self.start_from is not None:
            raise ValueError("start_from: cnn starts from random weights; remove it")
        if self.backbone != "cnn" and (self.width, self.image_size) != (None, None):
            raise ValueError(f"width, image_size: only cnn has them, not {self.backbone}; remove them")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Members that were trained before these fields existed keep their names.
        content: dict[str, Any] = dump(self)
        for name in ("width", "image_size"):
            if content.get(name, 0) is None:
                del content[name]
        return content

    @property
    def cnn(self) -> CnnSpec:
        """The small image network."""
        given = {"width": self.width, "image_size": self.image_size}
        return CnnSpec(**{name: value for name, value in given.items() if value is not None})

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The image, then the parameters."""
        sizes = {"ddamfn": ddamfn.IMAGE_SIZE, "maxvit_t": MAXVIT_SIZE, "cnn": self.cnn.image_size}
        return (ImageInput(sizes[self.backbone]), ParameterInput(self.representation, self.subset))

    @property
    def operations(self) -> float:
        """Those of the image part; the rest is small."""
        if self.backbone == "cnn":
            return self.cnn.operations
        return 2 * (ddamfn.GIGA_MULTIPLY_ADDS if self.backbone == "ddamfn" else MULTIPLY_ADDS[self.backbone][0])

    @property
    def architecture(self) -> str:
        """`intermediate`, the backbone with the number of heads where it is not one, and the parameters."""
        image = self.cnn.architecture if self.backbone == "cnn" else self.backbone.split("_")[0]
        backbone = image + (f"h{self.heads}" if self.heads != 1 else "")
        return f"intermediate-{backbone}-{self.representation}-{self.subset}"

    @property
    def packages(self) -> tuple[str, ...]:
        """torchvision has MaxViT."""
        return ("torchvision",) if self.backbone == "maxvit_t" else ()

    @property
    def initial_weights(self) -> str | None:
        """Those of `start_from`, for the image part."""
        return self.start_from

    @property
    def head_attention(self) -> Attention:
        """As in `attention`."""
        return self.attention

    @classmethod
    def from_published(cls, shapes: Shapes) -> PublishedLayers:
        """The published DDAMFN with parameters."""
        width = layer_shape(shapes, "Wash_Linear1.weight", "intermediate")[1]
        representation, subset = subset_of_width(width, "intermediate")
        layer_shape(shapes, "out.weight", "intermediate")
        own = {"representation": representation, "subset": subset, "params": "raw"}
        return PublishedLayers(
            fields=own | {"heads": head_count(shapes, "intermediate")},
            output="out",
            va_terms="random",
            unused_outputs=True,
            va_first="valence",
        )


SPEC = IntermediateSpec
