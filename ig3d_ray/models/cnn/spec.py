"""Specs of the small convolutional network."""

from typing import Literal

from pydantic import Field

from ig3d_ray.models.published import layer_shape
from ig3d_ray.models.spec import ImageInput, Input, PublishedLayers, Shapes, TrainedSpec


class CnnSpec(TrainedSpec):
    """A small convolutional network on the image: five stages, `width` channels in the first."""

    kind: Literal["cnn"] = "cnn"
    """Names the network."""
    width: int = Field(default=32, ge=4)
    """Channels of the first stage."""
    image_size: int = Field(default=112, ge=32)
    """Height and width of its images, in pixels."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The image alone."""
        return (ImageInput(self.image_size),)

    @property
    def operations(self) -> float:
        """Three layers of 3 x 3, each at half the size and twice the width of the one before."""
        return 2e-9 * 9 * (self.image_size * self.width) ** 2 * 3 / 8

    @property
    def architecture(self) -> str:
        """`cnn` and its width."""
        return f"cnn-w{self.width}"

    @classmethod
    def from_published(cls, shapes: Shapes) -> PublishedLayers:
        """A network that this package trained elsewhere."""
        width = layer_shape(shapes, "features.0.0.weight", "cnn")[0]
        layer_shape(shapes, "output.weight", "cnn")
        return PublishedLayers(fields={"width": width}, output="output", va_terms="random")


SPEC = CnnSpec
