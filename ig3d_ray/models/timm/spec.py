"""Specs of timm's image networks."""

from typing import Literal

from pydantic import Field

from ig3d_ray.models.spec import ImageInput, Input, TrainedSpec, WeightsName

IMAGE_SIZE = 224
# Multiply-adds of one image of 224 x 224 in units of 1e9, by the beginning of the name; for forecasts.
MULTIPLY_ADDS = {
    "resnet18": 1.8,
    "resnet34": 3.7,
    "resnet50": 4.1,
    "mobilenet": 0.3,
    "efficientnet_b0": 0.4,
    "convnext_tiny": 4.5,
    "vit_tiny": 1.3,
    "vit_small": 4.6,
    "vit_base": 17.6,
    "swin_tiny": 4.5,
}
USUAL_MULTIPLY_ADDS = 4.0


class TimmSpec(TrainedSpec):
    """A network of timm by its name, with a new last layer for classes, valence and arousal, or both."""

    kind: Literal["timm"] = "timm"
    """Names the network."""
    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    """timm's name, such as resnet18 or convnext_tiny.fb_in22k; `timm.list_models()` has them all."""
    image_size: int = Field(default=IMAGE_SIZE, ge=32)
    """Height and width of its images, in pixels."""
    pretrained: WeightsName | None = None
    """Weights imported with `ig3d import weights`; random weights without. Nothing is downloaded."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor of the learning rate from each layer to the one before it; 1 for a single rate."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The image alone."""
        return (ImageInput(self.image_size),)

    @property
    def operations(self) -> float:
        """By the network's name, scaled to the image's size; a usual number for others."""
        known = [cost for name, cost in MULTIPLY_ADDS.items() if self.model.startswith(name)]
        return 2 * (known[0] if known else USUAL_MULTIPLY_ADDS) * (self.image_size / IMAGE_SIZE) ** 2

    @property
    def architecture(self) -> str:
        """`timm` and the network's name."""
        return f"timm-{self.model}"

    @property
    def size(self) -> str:
        """The image's size, the layers' decay and the initial weights, where they are not the usual ones."""
        size = "" if self.image_size == IMAGE_SIZE else f"-i{self.image_size}"
        decay = "" if self.layer_decay == 1 else f"-d{self.layer_decay:g}"
        return size + decay + (f"-{self.pretrained}" if self.pretrained else "")

    @property
    def packages(self) -> tuple[str, ...]:
        """timm, which imports torchvision."""
        return ("timm", "torchvision")

    @property
    def initial_weights(self) -> str | None:
        """Those of `pretrained`."""
        return self.pretrained


SPEC = TimmSpec
