"""Specs of the paper's classifier on 3D parameters, and of the published code's variants of it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ig3d_ray.data.representations import Representation, Subset
from ig3d_ray.models.published import layer_shape, subset_of_width
from ig3d_ray.models.spec import CohortKind, Input, ParameterInput, PublishedLayers, Shapes, TrainedSpec, check_subset

Variant = Literal["paper", "published", "published_va", "published_residual"]
PAPER_WIDTH = 2048


class Mlp3dSpec(TrainedSpec):
    """The paper's 3D classifier: four hidden layers on the parameters of a 3D face model (Ig3D, section 4.1)."""

    kind: Literal["mlp3d"] = "mlp3d"
    """Names the network."""
    representation: Representation
    """Of the 3D parameters."""
    subset: Subset
    """Which of the parameters."""
    width: int = Field(default=PAPER_WIDTH, ge=8)
    """Units of the hidden layers."""
    variant: Variant = "paper"
    """`paper`: parameters standardized, dropout 50 % and 40 % after the first two layers. The published code takes
    them as they are and drops 50 % after the first (`published`) or nothing (`published_va`); its network for
    SMIRK's short parameters on AffectNet is another one (`published_residual`)."""

    @model_validator(mode="after")
    def _width_is_free(self) -> Self:
        check_subset(self.representation, self.subset)
        if self.variant == "published_residual" and self.width != PAPER_WIDTH:
            raise ValueError(f"width {self.width}: published_residual has layers of its own; remove width")
        return self

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The parameters alone."""
        return (ParameterInput(self.representation, self.subset),)

    @property
    def operations(self) -> float:
        """Three square layers and the first one."""
        return 2e-9 * self.width * (self.parameter_count + 2 * self.width)

    @property
    def architecture(self) -> str:
        """`mlp3d`, the parameters, and the variant where it is not the paper's."""
        variant = "" if self.variant == "paper" else f"-{self.variant.replace('_', '')}"
        return f"mlp3d-{self.representation}-{self.subset}{variant}"

    @property
    def size(self) -> str:
        """The width where it is not the paper's."""
        return "" if self.width == PAPER_WIDTH else f"-w{self.width}"

    @property
    def cohort(self) -> CohortKind | None:
        """Networks of four plain layers train together, whatever their inputs."""
        return None if self.variant == "published_residual" else CohortKind(self.width, self.variant)

    @classmethod
    def from_published(cls, shapes: Shapes) -> PublishedLayers:
        """Both published networks: four hidden layers, or two residual blocks."""
        if "Smirk_Linear.weight" in shapes:
            output, first, variant = "fc", "Smirk_Linear.weight", "published_residual"
        else:
            output, first, variant = "output", "fc1.weight", "published"
        hidden, inputs = layer_shape(shapes, first, "mlp3d")
        representation, subset = subset_of_width(inputs, "mlp3d")
        outputs = layer_shape(shapes, f"{output}.weight", "mlp3d")[0]
        width = PAPER_WIDTH if variant == "published_residual" else hidden
        return PublishedLayers(
            fields={"representation": representation, "subset": subset, "width": width, "variant": variant},
            output=output,
            va_terms="random",
            unused_outputs=True,
            # Published AffectNet classifiers with full parameters have arousal first.
            va_first="arousal" if subset == "full" and outputs > 2 else "valence",
            note=f"its {representation} parameters are taken in this package's order of groups, not standardized",
        )


SPEC = Mlp3dSpec
