"""Specs of DDAMFN."""

from typing import Literal

from pydantic import Field

from ig3d_ray.models.published import head_count, layer_shape
from ig3d_ray.models.spec import Attention, ImageInput, Input, PublishedLayers, Shapes, TrainedSpec, WeightsName

IMAGE_SIZE = 112
GIGA_MULTIPLY_ADDS = 0.55
"""Of one image of 112 x 112, as its authors count."""


class DdamfnSpec(TrainedSpec):
    """DDAMFN, or DDAMFN++ with its recipe, on images of 112 x 112."""

    kind: Literal["ddamfn"] = "ddamfn"
    """Names the network."""
    heads: int = Field(default=2, ge=1, le=4)
    """Attention heads."""
    attention: Attention = "apart"
    """What 0.1 times the attention loss does to the heads; `apart` is DDAMFN's, `together` the fusion code's."""
    start_from: WeightsName | None = None
    """Weights imported with `ig3d import weights`; random weights without."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The image alone."""
        return (ImageInput(IMAGE_SIZE),)

    @property
    def operations(self) -> float:
        """As its authors count."""
        return 2 * GIGA_MULTIPLY_ADDS

    @property
    def architecture(self) -> str:
        """`ddamfn`, and the number of heads where it is not two."""
        return "ddamfn" + (f"-h{self.heads}" if self.heads != 2 else "")

    @property
    def initial_weights(self) -> str | None:
        """Those of `start_from`."""
        return self.start_from

    @property
    def head_attention(self) -> Attention:
        """As in `attention`."""
        return self.attention

    @classmethod
    def from_published(cls, shapes: Shapes) -> PublishedLayers:
        """DDAMFN's own checkpoints."""
        layer_shape(shapes, "fc.weight", "ddamfn")
        return PublishedLayers(fields={"heads": head_count(shapes, "ddamfn")}, output="fc", va_terms="mse")


SPEC = DdamfnSpec
