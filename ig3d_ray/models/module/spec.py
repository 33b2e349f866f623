"""Specs of a user's own networks."""

import re
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ig3d_ray.data.representations import Representation, Subset
from ig3d_ray.models.spec import ImageInput, Input, ParameterInput, TrainedSpec, check_subset


class ModuleSpec(TrainedSpec):
    """A `torch.nn.Module` that a function of the user's makes.

    `factory` names the function, `package.module:function`; it is imported from the working directory or from an
    installed package, wherever the network is built, and called as `function(outputs=N, **arguments)`. The module that
    it returns takes the inputs that the spec names, in this order: a standardized image `[B, 3, S, S]`, standardized
    parameters `[B, D]`. It outputs raw scores `[B, outputs]`: the classes, then valence and arousal, as in the loss.
    """

    kind: Literal["module"] = "module"
    """Names the network."""
    factory: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """`package.module:function`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the function: numbers, words, lists and mappings of them."""
    image_size: int | None = Field(default=None, ge=16)
    """Side of the images that it takes; without, it takes none."""
    representation: Representation | None = None
    """The parameters that it takes; without, it takes none."""
    subset: Subset = "full"
    """Which of the 3D parameters, if it takes some."""
    giga_operations: float = Field(default=1.0, gt=0)
    """Floating-point operations of one sample in units of 1e9, for the forecast of `ig3d plan`."""

    @model_validator(mode="after")
    def _takes_something(self) -> Self:
        if self.image_size is None and self.representation is None:
            raise ValueError("image_size, representation: name what the network takes as input, at least one")
        if self.representation is not None:
            check_subset(self.representation, self.subset)
        return self

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The image, then the parameters, as far as they are named."""
        image = () if self.image_size is None else (ImageInput(self.image_size),)
        parameters = () if self.representation is None else (ParameterInput(self.representation, self.subset),)
        return (*image, *parameters)

    @property
    def operations(self) -> float:
        """As given."""
        return self.giga_operations

    @property
    def architecture(self) -> str:
        """The function's name, the numbers and words among its arguments, and the representation."""
        words = [
            f"{name}{value}" for name, value in sorted(self.arguments.items()) if isinstance(value, str | int | float)
        ]
        image = [f"i{self.image_size}"] if self.image_size else []
        subset = [self.subset] if self.representation and self.subset != "full" else []
        parameters = [self.representation, *subset] if self.representation else []
        parts = [self.factory.split(":")[1], *words, *image, *parameters]
        return "-".join(re.sub(r"[^A-Za-z0-9._+]", "", part) for part in parts)

    @property
    def packages(self) -> tuple[str, ...]:
        """The one that the function is in."""
        return (self.factory.split(":")[0].split(".")[0],)


SPEC = ModuleSpec
