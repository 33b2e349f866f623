"""Specs of CAGE's networks."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ig3d_ray.models.published import layer_shape
from ig3d_ray.models.spec import ImageInput, Input, PublishedLayers, Shapes, TrainedSpec, WeightsName

Backbone = Literal["maxvit_t", "efficientnet_v2_s", "swin_v2_t"]
STOCHASTIC_DEPTH = 0.2
"""Of torchvision's three backbones alike."""
MAXVIT_SIZE = 224
# Multiply-adds of one image in units of 1e9, and the image's size: as their authors give them.
MULTIPLY_ADDS: dict[Backbone, tuple[float, int]] = {
    "maxvit_t": (5.56, 224),
    "efficientnet_v2_s": (8.37, 384),
    "swin_v2_t": (5.94, 256),
}
# The last layer of each published network.
_OUTPUTS: dict[str, Backbone] = {
    "classifier.6": "maxvit_t",
    "classifier.5": "maxvit_t",
    "classifier.1": "efficientnet_v2_s",
    "head": "swin_v2_t",
}


class CageSpec(TrainedSpec):
    """CAGE: a torchvision backbone whose loss decides whether it outputs classes, valence and arousal, or both."""

    kind: Literal["cage"] = "cage"
    """Names the network."""
    backbone: Backbone = "maxvit_t"
    """Of torchvision."""
    image_size: int = Field(default=MAXVIT_SIZE, ge=32)
    """Height and width of its images, in pixels."""
    start_from: WeightsName | None = None
    """Weights imported with `ig3d import weights`, such as ImageNet's; random weights without."""
    stochastic_depth: float = Field(default=STOCHASTIC_DEPTH, ge=0, lt=1)
    """In training, how often the last block is skipped, earlier ones less. 0.2 is torchvision's, for long trainings;
    from random weights a short one learns several times faster with 0."""

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        if self.backbone == "maxvit_t" and self.image_size != MAXVIT_SIZE:
            raise ValueError(f"image_size {self.image_size}: maxvit_t's windows fit {MAXVIT_SIZE} only")
        return self

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The image alone."""
        return (ImageInput(self.image_size),)

    @property
    def operations(self) -> float:
        """As the backbones' authors count, scaled to the image's size."""
        multiply_adds, size = MULTIPLY_ADDS[self.backbone]
        return 2 * multiply_adds * (self.image_size / size) ** 2

    @property
    def architecture(self) -> str:
        """`cage` and the backbone."""
        return f"cage-{self.backbone.split('_')[0]}"

    @property
    def packages(self) -> tuple[str, ...]:
        """torchvision has the backbones."""
        return ("torchvision",)

    @property
    def initial_weights(self) -> str | None:
        """Those of `start_from`."""
        return self.start_from

    @classmethod
    def from_published(cls, shapes: Shapes) -> PublishedLayers:
        """CAGE's checkpoints, whose last layer identifies the backbone."""
        output = next((name for name in _OUTPUTS if f"{name}.weight" in shapes), "classifier.5")
        outputs = layer_shape(shapes, f"{output}.weight", "cage")[0]
        fields = {"backbone": _OUTPUTS[output]}
        if output == "classifier.5" and outputs == 2:
            # Saved without its dropout layer, which has no weights.
            renamed = {"classifier.5.weight": "classifier.6.weight"}
            return PublishedLayers(fields=fields, output="classifier.6", va_terms="mse", renamed=renamed)
        return PublishedLayers(fields=fields, output=output, va_terms="mse")


SPEC = CageSpec
