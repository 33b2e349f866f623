"""timm's image networks with a new last layer."""

import importlib

import torch
from torch import nn

from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.cage.network import torchvision_models
from ig3d_ray.models.scaling import Scaling, Standardized, imagenet
from ig3d_ray.models.timm.spec import TimmSpec


class TimmNetwork(nn.Module):
    """A network of timm, `[B, 3, S, S]` standardized to raw scores `[B, outputs]`.

    Args:
        network: with a last layer of `outputs`.
        layer_decay: of the learning rate.
    """

    def __init__(self, network: nn.Module, layer_decay: float) -> None:
        super().__init__()
        self.image = network
        self.layer_decay = layer_decay

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Standardized images to raw scores."""
        scores: torch.Tensor = self.image(image)
        return scores

    def learning_rate_scales(self) -> dict[nn.Parameter, float]:
        """Each parameter's factor of the learning rate: 1 in the last layer, `layer_decay` less in each before it."""
        if self.layer_decay == 1:
            return {}
        optim = importlib.import_module("timm.optim")
        groups = optim.param_groups_layer_decay(self.image, weight_decay=0.0, layer_decay=self.layer_decay)
        return {parameter: float(group["lr_scale"]) for group in groups for parameter in group["params"]}


def build(spec: TimmSpec, outputs: int, classes: int) -> Standardized:
    """The untrained network of a spec; its inputs are standardized as timm's weights of it expect.

    Args:
        spec: the member's.
        outputs: columns of its output.
        classes: C of the data set.

    Raises:
        Ig3dError: timm has no such network, or it takes no images of this size.
    """
    torchvision_models()
    timm = importlib.import_module("timm")
    if not timm.is_model(spec.model.split(".")[0]):
        near = ", ".join(timm.list_models(f"*{spec.model[:8]}*")[:5])
        raise Ig3dError(f"model: {spec.model!r}: timm {timm.__version__} has no such network; near: {near or 'none'}")
    try:
        network = timm.create_model(spec.model, num_classes=outputs, **_size(timm, spec))
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise Ig3dError(f"{spec.name}: timm cannot make it ({reason}); check model and image_size") from error
    scaling = _scaling(network.pretrained_cfg)
    return Standardized(TimmNetwork(network, spec.layer_decay), scaling)


def _size(timm: object, spec: TimmSpec) -> dict[str, int]:
    """Transformers are built for one size of images; convolutional networks take any."""
    words = ("vit", "swin", "deit", "beit", "eva", "maxvit", "cait", "xcit")
    return {"img_size": spec.image_size} if spec.model.startswith(words) else {}


def _scaling(about: dict[str, object]) -> Scaling:
    scaling, mean, deviation = imagenet(), about.get("mean"), about.get("std")
    if isinstance(mean, tuple | list) and isinstance(deviation, tuple | list) and len(mean) == len(deviation) == 3:
        scaling.mean.copy_(255 * torch.tensor(mean)[:, None, None])
        scaling.scale.copy_(255 * torch.tensor(deviation)[:, None, None])
    return scaling
