"""Imported weights that a training starts from."""

import torch

from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.scaling import Standardized

# The layers of DDAMFN's backbone as its own pretrained file names them, and as DDAMFN counts them.
MFN_LAYERS = ("conv1", "conv2_dw", "conv_23", "conv_3", "conv_34", "conv_4", "conv_45", "conv_5", "conv_6_sep")


def start_from(network: Standardized, weights: dict[str, torch.Tensor], what: str) -> None:
    """Put imported weights into a network's image part; classifiers and fusion layers stay new.

    Args:
        weights: a state dict with the names of the published backbone.
        what: their name, for messages.

    Raises:
        Ig3dError: a layer of the image part is missing, or of another shape.
    """
    image_part = getattr(network.network, "image", network.network)
    if f"{MFN_LAYERS[0]}.conv.weight" in weights:
        numbers = {layer: f"features.{index}" for index, layer in enumerate(MFN_LAYERS)}
        split = {name: name.partition(".") for name in weights}
        weights = {f"{numbers[a]}.{b}": weights[name] for name, (a, _, b) in split.items() if a in numbers}
    state = image_part.state_dict()
    new = ("classifier.", "head.", "fc.", "bn.", "cat_head", "Linear.", "Wash_Linear1.", "linear_fusion.", "out.")
    for name, value in state.items():
        if name.startswith(new):
            continue
        if name not in weights or weights[name].shape != value.shape:
            found = f"has {tuple(weights[name].shape)}" if name in weights else "has none"
            raise Ig3dError(f"{what}: these weights don't fit: {name} is {tuple(value.shape)}, the file {found}")
        state[name] = weights[name]
    image_part.load_state_dict(state)
