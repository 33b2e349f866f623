"""Published encoder checkpoints: SMIRK's weights, EMOCA's Lightning checkpoints, DECA-like ones of three parts."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from ig3d_ray.data.representations import Representation
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.archive import check_archive
from ig3d_ray.models.face3d.encoders import EmocaEncoder, SmirkEncoder
from ig3d_ray.storage.local_files import read_regular

PARTS = ("E_flame", "E_expression", "E_detail")
_PREFIXES = {"smirk": "smirk_encoder.", "emoca": "deca."}
_LAST = "E_expression.layers.2.weight"


class _Inert:
    """Placeholder for any class that a checkpoint refers to besides tensors (such as Lightning's settings): stores what
    it is given, and runs no code."""

    def __new__(cls, *args: object, **settings: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *args: object, **settings: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def load_encoder(representation: Representation, file: Path) -> tuple[nn.Module, str]:
    """A published encoder in evaluation mode, and its file's SHA-256.

    Raises:
        Ig3dError: the file is missing or broken, or its tensors are not this encoder's; the message names one.
    """
    weights, digest = _tensors(file)
    return encoder_of(representation, weights, str(file)), digest


def encoder_of(representation: Representation, weights: Mapping[str, Tensor], what: str) -> nn.Module:
    """The encoder that has these weights, in evaluation mode.

    Raises:
        Ig3dError: they are not this encoder's; the message begins with `what`.
    """
    prefix = _PREFIXES[representation]
    if any(name.startswith(prefix) for name in weights):
        weights = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    network: nn.Module
    if representation == "emoca":
        weights = {name: value for name, value in weights.items() if name.startswith(PARTS)}
        if _LAST in weights and weights[_LAST].shape[0] not in (50, 53, 56):
            raise Ig3dError(f"{what}: its expression encoder gives {weights[_LAST].shape[0]} numbers, not 50, 53 or 56")
        network = EmocaEncoder(weights[_LAST].shape[0] if _LAST in weights else 50)
    else:
        network = SmirkEncoder()
    _check(what, representation, network.state_dict(), weights)
    network.load_state_dict(weights, strict=True)
    return network.eval()


def _check(what: str, representation: str, wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """A one-line summary of torch's long error report."""
    missing, more = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    other = [name for name in wanted.keys() & weights.keys() if wanted[name].shape != weights[name].shape]
    for names, message in ((missing, "without"), (more, "with unknown"), (sorted(other), "in another shape")):
        if names:
            which = f"{message} {names[0]} ({len(names)} such)"
            raise Ig3dError(f"{what}: not {representation.upper()}'s encoder: {which}; is it another model's file?")


def _tensors(file: Path) -> tuple[dict[str, Tensor], str]:
    """All tensors of a checkpoint by dotted name, without running anything that it names."""
    try:
        data = read_regular(file)
        check_archive(data, str(file), "fetch it again")
        content = _load(data)
    except OSError as error:
        raise Ig3dError(f"{file}: cannot be read ({error.strerror})") from error
    except Ig3dError:
        raise
    except Exception as error:  # of many types, as the file has it
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Ig3dError(f"{file}: not a whole checkpoint ({reason}); fetch it again") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    found = dict(_flat(content, ""))
    if not found:
        raise Ig3dError(f"{file}: holds no tensors by name; give the encoder's checkpoint")
    return found, hashlib.sha256(data).hexdigest()


def _load(data: bytes) -> Any:
    # Only files in the zip form (torch 1.6 and later) can be looked through; older ones must be plain weights.
    named = get_unsafe_globals_in_checkpoint(io.BytesIO(data)) if data[:2] == b"PK" else []
    # In torch's weights-only unpickler: every class that it rejects is replaced by an inert placeholder.
    with safe_globals([(_Inert, name) for name in named]):
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _flat(content: object, prefix: str) -> list[tuple[str, Tensor]]:
    if torch.is_tensor(content):
        return [(prefix, content)]
    if not isinstance(content, dict):
        return []
    start = f"{prefix}." if prefix else ""
    return [pair for key, value in content.items() for pair in _flat(value, f"{start}{key}")]
