"""A user's own network, behind the standardization of its inputs."""

import importlib

from torch import nn

from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.module.spec import ModuleSpec
from ig3d_ray.models.scaling import Scaling, Standardized, imagenet
from ig3d_ray.models.user_code import working_directory_on_path


def build(spec: ModuleSpec, outputs: int, classes: int) -> Standardized:
    """The untrained network of a spec.

    Args:
        spec: the member's.
        outputs: columns of its output.
        classes: C of the data set.

    Raises:
        Ig3dError: the function can't be imported, fails, or returns no `torch.nn.Module`.
    """
    module, _, function = spec.factory.partition(":")
    working_directory_on_path()
    try:
        made = getattr(importlib.import_module(module), function)(outputs=outputs, **spec.arguments)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:120]
        raise Ig3dError(
            f"factory: {spec.factory}: {type(error).__name__}: {reason}; see docs/adding-a-network.md"
        ) from error
    if not isinstance(made, nn.Module):
        raise Ig3dError(f"factory: {spec.factory}: returned {type(made).__name__}; it must return a torch.nn.Module")
    image = () if spec.image is None else (imagenet(),)
    parameters = () if spec.parameters is None else (Scaling((spec.parameter_count,), fitted=True),)
    return Standardized(made, *image, *parameters)
