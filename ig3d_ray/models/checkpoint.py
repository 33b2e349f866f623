"""Trained weights on storage: published whole, hashed, loaded strictly and without unpickling code."""

import hashlib
import io
from typing import Any

import torch

from ig3d_ray.data import datasets
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.archive import DIGEST, content_digest, load_plain
from ig3d_ray.models.build import build_network
from ig3d_ray.models.registry import parse_trained_spec
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import TrainedSpec, spec_json
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store

FORMAT = 3
KEYS = {"format", "dataset", "spec", "class_names", "parameter_groups", "state_dict"}
WAY_OUT = "delete it and run again to retrain"


def save_checkpoint(
    store: Store, dataset: str, member: str, spec: TrainedSpec, network: Standardized, name: str | None = None
) -> None:
    """Publish a member's weights with what is needed to use them: spec, classes, parameter groups.

    Args:
        name: where, if not where the member's weights belong.
    """
    content = {
        "format": FORMAT,
        "dataset": dataset,
        "spec": spec_json(spec),
        "class_names": list(datasets.dataset(dataset).class_names),
        "parameter_groups": [list(group) for group in spec.parameter_groups],
        "state_dict": {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()},
    }
    content[DIGEST] = content_digest(content)
    store.write(name or paths.checkpoint(dataset, member), to_bytes(content))


def load_checkpoint(store: Store, dataset: str, member: str, sha256: str | None = None) -> Standardized:
    """The trained network of a member, on the CPU, in evaluation mode.

    Args:
        sha256: what the file's bytes must hash to, as in a spec.

    Raises:
        Ig3dError: the file is missing, broken, of another hash, or not of this data set.
    """
    name = paths.checkpoint(dataset, member)
    data = store.read(name)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise Ig3dError(
            f"{store.locate(name)}: SHA-256 is not the one in the spec ({sha256[:12]}...); it is not the"
            " checkpoint that was scored: restore it, or run the search again"
        )
    what = store.locate(name)
    content = from_bytes(data, what)
    if content.get("format") != FORMAT or content.get("dataset") != dataset:
        raise Ig3dError(f"{what}: not a format {FORMAT} checkpoint of {dataset}; train the member again")
    # Those of older versions have no digest; other keys no version has.
    if content.keys() - {DIGEST} != KEYS or (DIGEST in content and content[DIGEST] != content_digest(content)):
        raise Ig3dError(f"{what}: damaged, its content is not what was written; {WAY_OUT}")
    network = build_network(parse_trained_spec(content["spec"]), datasets.dataset(dataset))
    _check_tensors(content["state_dict"], network, what)
    network.load_state_dict(content["state_dict"], strict=True)
    return network.eval()


def _check_tensors(state: dict[str, torch.Tensor], network: Standardized, what: str) -> None:
    """Check names, types, shapes and numbers of a state dict: torch converts types, and takes NaN.

    Raises:
        Ig3dError: a tensor is missing, too many, or not as the network's.
    """
    own = network.state_dict()
    if state.keys() != own.keys():
        name = min(state.keys() ^ own.keys())
        raise Ig3dError(f"{what}: tensor {name} is {'missing' if name in own else 'not one of the network'}; {WAY_OUT}")
    for name, value in state.items():
        wanted = own[name]
        if (value.dtype, value.shape) != (wanted.dtype, wanted.shape):
            found = f"{value.dtype} {tuple(value.shape)}, the network's is {wanted.dtype} {tuple(wanted.shape)}"
            raise Ig3dError(f"{what}: tensor {name} is {found}; {WAY_OUT}")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise Ig3dError(f"{what}: tensor {name} is not finite; {WAY_OUT}")


def read_weights(store: Store, name: str) -> dict[str, torch.Tensor]:
    """A state dict that was imported with `ig3d import weights`.

    Raises:
        Ig3dError: it is not there, or broken.
    """
    place = paths.start_weights(name)
    if not store.exists(place):
        raise Ig3dError(f"{store.locate(place)}: no such weights; import them with `ig3d import weights --name {name}`")
    return from_bytes(store.read(place), store.locate(place))


def to_bytes(content: dict[str, Any]) -> bytes:
    """Tensors and plain values as `torch.save` writes them."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def from_bytes(data: bytes, what: str) -> dict[str, Any]:
    """Read the output of `to_bytes`; only tensors and plain values are accepted.

    Raises:
        Ig3dError: other content, or a truncated file; the message begins with `what`.
    """
    content = load_plain(data, what, WAY_OUT)
    if not isinstance(content, dict):
        raise Ig3dError(f"{what}: not a whole checkpoint (a {type(content).__name__}); {WAY_OUT}")
    return content
