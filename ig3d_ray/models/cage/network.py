"""CAGE: torchvision's backbones with heads for classes, for valence and arousal, or for both."""

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch import library, nn

from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.cage.spec import STOCHASTIC_DEPTH, Backbone, CageSpec
from ig3d_ray.models.scaling import Standardized, imagenet

IMAGE_SIZE = 224
VA_DROPOUT = 0.3
"""Before the last layer of the published valence-arousal network."""
_USUAL_MOMENTUM = 0.1
_MAXVIT_CHANNELS = 512
_DECLARED: list[library.Library] = []
_DESCRIBED = re.compile(r"register_fake\(\s*[\"']torchvision::(\w+)")


@cache
def torchvision_models() -> ModuleType:
    """torchvision's models, even if its compiled operators are incompatible with the installed torch.

    A CPU build of torch can't load the operators of the package index's torchvision, whose import then fails at
    the first line that describes one of them. No network here uses any, so they are declared, without code.

    Raises:
        Ig3dError: torchvision isn't installed, or is incompatible with this version of torch.
    """
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        raise Ig3dError("torchvision is not installed, and CAGE's networks need it: pip install 'ig3d-ray[backbones]'")
    folder = Path(package.origin).parent
    if not _operators_load(folder):
        _declare_operators(folder)
    try:
        import torchvision.models
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"torchvision cannot be used beside torch {torch.__version__}: {reason}"
        raise Ig3dError(f"{message}; install the torchvision that belongs to this torch") from error
    models: ModuleType = torchvision.models
    return models


def _operators_load(folder: Path) -> bool:
    """Whether torchvision's compiled operators are there and load; if they do, they stay loaded."""
    for compiled in sorted(folder.glob("_C.*")):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            continue
        return True
    return False


def _declare_operators(folder: Path) -> None:
    """Name the operators that torchvision describes when it is imported; calling one would fail."""
    described = {name for file in folder.glob("*.py") for name in _DESCRIBED.findall(file.read_text())}
    # Keep a reference: the names are unregistered when their library is garbage-collected.
    _DECLARED.append(library.Library("torchvision", "DEF"))
    for name in sorted(described):
        _DECLARED[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def maxvit_features(stochastic_depth: float = STOCHASTIC_DEPTH) -> nn.Module:
    """MaxViT up to the activation before its last layer: `[B, 3, 224, 224]` to `[B, 512]`."""
    network: nn.Module = torchvision_models().maxvit_t()
    network.classifier = nn.Sequential(*_maxvit_neck())
    return _skipping(network, stochastic_depth)


def _maxvit_neck() -> list[nn.Module]:
    channels = _MAXVIT_CHANNELS
    linear = nn.Linear(channels, channels)
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(channels), linear, nn.Tanh()]


def _skipping(network: nn.Module, rate: float) -> nn.Module:
    """The network with its stochastic depth scaled: its blocks' rates rise from 0 to `STOCHASTIC_DEPTH`, as built."""
    from torchvision.ops import StochasticDepth

    for module in network.modules():
        if isinstance(module, StochasticDepth):
            module.p *= rate / STOCHASTIC_DEPTH
    return network


def start_branches_at_zero(network: nn.Module) -> None:
    """Prepare a network of `cage_network` or `maxvit_features` for training from random weights.

    The residual branches that torchvision initializes at random are set to 0, so that every block initially outputs
    its input: otherwise SwinV2-T and MaxViT output the same for every face within a hundred steps, and stay there. (The
    authors of Swin V2 start the norms after its branches so; torchvision, made for their weights, doesn't.) And
    MaxViT's running batch statistics, which at torchvision's rate of 0.01 are still those of no image after an
    epoch of a small data set, follow at PyTorch's usual 0.1.
    """
    from torchvision.models.maxvit import PartitionAttentionLayer
    from torchvision.models.swin_transformer import SwinTransformerBlockV2

    for module in network.modules():
        if isinstance(module, SwinTransformerBlockV2):
            nn.init.zeros_(module.norm1.weight)
            nn.init.zeros_(module.norm2.weight)
        elif isinstance(module, PartitionAttentionLayer):
            nn.init.zeros_(module.attn_layer[1].merge.weight)
            nn.init.zeros_(module.mlp_layer[3].weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = _USUAL_MOMENTUM


def cage_network(
    backbone: Backbone, outputs: int, dropout: float = 0.0, stochastic_depth: float = STOCHASTIC_DEPTH
) -> nn.Module:
    """One of CAGE's networks, `[B, 3, 224, 224]` normalized to raw scores `[B, outputs]`.

    Args:
        backbone: torchvision's name of it.
        outputs: C + 2 (combined), C (discrete), or 2 (valence, arousal).
        dropout: before the last layer of MaxViT; 0.3 in the published valence-arousal network. The layer has
            a different index then: `classifier.6` instead of `classifier.5`.
        stochastic_depth: in training, how often the last block is skipped; those before it in proportion, the
            first never.
    """
    models = torchvision_models()
    if backbone == "maxvit_t":
        network: nn.Module = models.maxvit_t()
        last = nn.Linear(_MAXVIT_CHANNELS, outputs, bias=False)
        network.classifier = nn.Sequential(*_maxvit_neck(), *([nn.Dropout(dropout)] if dropout else []), last)
    elif backbone == "efficientnet_v2_s":
        network = models.efficientnet_v2_s()
        network.classifier = nn.Sequential(nn.Dropout(0.2, inplace=True), nn.Linear(1280, outputs))
    else:
        network = models.swin_v2_t()
        network.head = nn.Linear(768, outputs)
    return _skipping(network, stochastic_depth)


def build(spec: CageSpec, outputs: int, classes: int) -> Standardized:
    """The untrained network of a spec.

    Args:
        spec: the member's.
        outputs: columns of its output.
        classes: C of the data set.
    """
    dropout = VA_DROPOUT if outputs == 2 else 0.0
    network = cage_network(spec.backbone, outputs, dropout, spec.stochastic_depth)
    if spec.start_from is None:
        start_branches_at_zero(network)
    return Standardized(network, imagenet())
