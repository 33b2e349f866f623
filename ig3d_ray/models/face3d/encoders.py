"""SMIRK's and EMOCA's encoders: from a face's image to the parameters of the 3D face model.

Only the encoders: no face model, renderer or decoder is needed for the 3D classifiers' inputs. Their backbones
are timm's, under the published names, so that published weights load strictly.

Source: SMIRK (Retsinas et al. 2024), EMOCA (Danecek et al. 2022) over DECA (Feng et al. 2021).
"""

import importlib.util
from types import ModuleType

import torch
from torch import Tensor, nn

from ig3d_ray.data.representations import Representation, groups_of
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.cage.network import torchvision_models

IMAGE_SIZE = 224
_SMALL, _LARGE = ("tf_mobilenetv3_small_minimal_100", 576), ("tf_mobilenetv3_large_minimal_100", 960)
# Of E_flame's output, in its order; `cam` and `light` do not describe the face.
_COARSE = (("shape", 100), ("tex", 50), ("exp", 50), ("pose", 6), ("cam", 3), ("light", 27))
_RESNET, _HIDDEN, _DETAIL = 2048, 1024, 128
EXPRESSION = groups_of("emoca")[0][1]
JAW_BEND = 0.2
"""SMIRK's limit of sideways jaw rotation, in radians."""


def _timm() -> ModuleType:
    if importlib.util.find_spec("timm") is None:
        raise Ig3dError("timm is not installed, and the encoders need it: pip install 'ig3d-ray[encoders]'")
    # timm imports torchvision, which must be made importable first.
    torchvision_models()
    import timm

    return timm


class _SmirkPart(nn.Module):
    """One of SMIRK's three encoders: a backbone's last map, averaged, and a linear layer called `<head>.0`."""

    def __init__(self, backbone: tuple[str, int], head: str, outputs: int) -> None:
        super().__init__()
        name, features = backbone
        self.encoder = _timm().create_model(name, features_only=True)
        self.head = head
        self.add_module(head, nn.Sequential(nn.Linear(features, outputs)))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        last_map: Tensor = self.encoder(image_BCHW)[-1]
        out: Tensor = self.get_submodule(self.head)(last_map.mean((2, 3)))
        return out


class SmirkEncoder(nn.Module):
    """SMIRK's encoder, 3,599,921 parameters; `forward` gives the 358 numbers in the order of `params3d`."""

    def __init__(self) -> None:
        super().__init__()
        self.pose_encoder = _SmirkPart(_SMALL, "pose_cam_layers", 6)
        self.shape_encoder = _SmirkPart(_LARGE, "shape_layers", 300)
        self.expression_encoder = _SmirkPart(_LARGE, "expression_layers", 55)

    def groups(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """`pose` 3, `cam` 3, `shape` 300, `expression` 50, `eyelid` 2 in [0, 1], `jaw` 3: opened by 0 or more."""
        pose, cam = self.pose_encoder(image_BCHW).split((3, 3), dim=1)
        expression, eyelid, jaw = self.expression_encoder(image_BCHW).split((50, 2, 3), dim=1)
        opened, sideways = jaw.split((1, 2), dim=1)
        return {
            "pose": pose,
            "cam": cam,
            "shape": self.shape_encoder(image_BCHW),
            "expression": expression,
            "eyelid": eyelid.clamp(0, 1),
            "jaw": torch.cat([opened.relu(), sideways.clamp(-JAW_BEND, JAW_BEND)], dim=1),
        }

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """`[B, 3, 224, 224]` to `[B, 358]`."""
        return _in_order(self.groups(image_BCHW), "smirk")


class ResnetCoder(nn.Module):
    """DECA's encoder: a ResNet-50 and two linear layers, `[B, 3, 224, 224]` to `[B, outputs]`."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.encoder = _timm().create_model("resnet50", num_classes=0)
        self.layers = nn.Sequential(nn.Linear(_RESNET, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, outputs))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Codes without an activation."""
        out: Tensor = self.layers(self.encoder(image_BCHW))
        return out


class EmocaEncoder(nn.Module):
    """EMOCA's three encoders; `forward` gives the 334 numbers in the order of `params3d`.

    Args:
        expression_outputs: 50, or 53 where the expression encoder also gives the jaw (EMOCA's later models do),
            or 56 if it also gives the whole pose; inferred from a checkpoint.
    """

    def __init__(self, expression_outputs: int = EXPRESSION) -> None:
        super().__init__()
        self.E_flame = ResnetCoder(sum(size for _, size in _COARSE))
        self.E_expression = ResnetCoder(expression_outputs)
        self.E_detail = ResnetCoder(_DETAIL)

    def groups(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """`shape` 100, `tex` 50, `exp` 50, `pose` 6 (rotation, jaw), `cam` 3, `light` 27, `detail` 128."""
        coarse = self.E_flame(image_BCHW).split([size for _, size in _COARSE], dim=1)
        found = {name: values for (name, _), values in zip(_COARSE, coarse, strict=True)}
        expression = self.E_expression(image_BCHW)
        own_pose = expression.shape[1] - EXPRESSION
        # The expression encoder's part of the pose is the last one: the jaw, or rotation and jaw.
        found["exp"], posed = expression.split((EXPRESSION, own_pose), dim=1)
        found["pose"] = torch.cat([found["pose"][:, : 6 - own_pose], posed], dim=1)
        return found | {"detail": self.E_detail(image_BCHW)}

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """`[B, 3, 224, 224]` to `[B, 334]`."""
        return _in_order(self.groups(image_BCHW), "emoca")


def _in_order(groups: dict[str, Tensor], representation: Representation) -> Tensor:
    return torch.cat([groups[name] for name, _ in groups_of(representation)], dim=1)
