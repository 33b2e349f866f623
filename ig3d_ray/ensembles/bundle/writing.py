"""A bundle: all files that an ensemble needs to run elsewhere, in one folder, hashed and reproducible byte for byte."""

import copy
import hashlib
import io
import json
import logging
import os
import shutil
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ig3d_ray.ensembles.bundle.card import model_card
from ig3d_ray.ensembles.bundle.graph import EncoderGraph, EnsembleGraph, onnx_bytes
from ig3d_ray.ensembles.predictor import Ensemble
from ig3d_ray.ensembles.spec import Fallback
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.local_files import partial_of, sweep_partials_of

logger = logging.getLogger(__name__)
BUNDLE_VERSION, MANIFEST = 1, "manifest.json"
EXAMPLES, EXAMPLE_SIZE = 2, 160
# The earliest date that a zip file can store.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


def write_bundle(ensemble: Ensemble, target: Path) -> dict[str, str]:
    """Write an ensemble's bundle into a new folder, whole or not at all; the same bundle may be there already.

    Returns:
        File name -> SHA-256.

    Raises:
        Ig3dError: the folder already exists with other content; a member has no network; onnxruntime disagrees with
            torch.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())) and not (target / MANIFEST).is_file():
        raise Ig3dError(f"--out {target}: already exists; give a new folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_partials_of(target)
        partial = partial_of(target)
        partial.mkdir()
        try:
            return _write(ensemble, partial / "bundle", target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise Ig3dError(f"--out {target}: cannot be written ({error.strerror}); give another folder") from error


def _write(ensemble: Ensemble, whole: Path, target: Path) -> dict[str, str]:
    files = bundle_files(ensemble)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    identity = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    manifest = {"bundle_version": BUNDLE_VERSION, "ig3d_ray": version("ig3d-ray"), "id": identity, "sha256": digests}
    files[MANIFEST] = json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n"
    if (target / MANIFEST).is_file():
        # Of a command that was killed after it had published everything.
        if any(not _has(target / name, content) for name, content in files.items()):
            raise Ig3dError(f"--out {target}: already exists with another bundle; give a new folder")
        return digests
    for name, content in files.items():
        (whole / name).parent.mkdir(parents=True, exist_ok=True)
        (whole / name).write_bytes(content)
    # Replaces an empty folder, and nothing else.
    os.replace(whole, target)
    return digests


def _has(file: Path, content: bytes) -> bool:
    return file.is_file() and file.read_bytes() == content


def packed_encoders(ensemble: Ensemble) -> list[str]:
    """The encoders that a graph can represent: those that take images directly, without face detection."""
    return [name for name, used in ensemble.spec.encoders.items() if used.landmarks is None]


def fallbacks_of(ensemble: Ensemble) -> list[Fallback]:
    """The fallbacks that photographs alone, or photographs and some of the parameters, may need: those without
    parameters that no encoder in the bundle computes."""
    given = set(ensemble.representations) - set(packed_encoders(ensemble))
    return [one for one in ensemble.spec.fallbacks if set(one.missing) <= given]


def bundle_files(ensemble: Ensemble) -> dict[str, bytes]:
    """Every file of a bundle but its manifest."""
    try:
        from safetensors.torch import save
    except ImportError as error:
        way_out = "pip install 'ig3d-ray[export]'"
        raise Ig3dError(f"safetensors is not installed, and exporting needs it: {way_out}") from error
    spec = ensemble.spec
    logger.debug("export: writing ONNX graphs, and comparing them with torch")
    # A copy, so that the caller's networks stay on their device.
    graph = copy.deepcopy(EnsembleGraph(ensemble)).cpu().eval()
    files = {
        "ensemble.onnx": onnx_bytes(graph, "ensemble"),
        paths.SPEC_FILE: spec.to_json().encode(),
        "README.md": model_card(spec).encode(),
        "example.py": (Path(__file__).parent / "example.py").read_bytes(),
        "example.npz": _npz(_example(ensemble, graph)),
    }
    for fallback in fallbacks_of(ensemble):
        name = f"fallback_{'_'.join(fallback.missing)}"
        files[f"{name}.onnx"] = onnx_bytes(copy.deepcopy(EnsembleGraph(ensemble, fallback)).cpu().eval(), name)
    for member in spec.members:
        weights = {k: v.cpu().contiguous() for k, v in ensemble.network(member.name).state_dict().items()}
        files[f"weights/{member.name}.safetensors"] = save(weights, {"fingerprint": member.fingerprint})
    for name in packed_encoders(ensemble):
        network = ensemble.encoder(name)
        files[f"encoder_{name}.onnx"] = onnx_bytes(EncoderGraph(network), f"the encoder of {name}")
        weights = {k: v.cpu().contiguous() for k, v in network.state_dict().items()}
        files[f"weights/encoder_{name}.safetensors"] = save(weights, {"sha256": spec.encoders[name].sha256})
    return files


def _example(ensemble: Ensemble, graph: EnsembleGraph) -> dict[str, np.ndarray]:
    """Two synthetic images, parameters if there is no encoder, and torch's outputs for them."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (EXAMPLES, 8, 8, 3), dtype=np.uint8)
    images = rough.repeat(EXAMPLE_SIZE // 8, axis=1).repeat(EXAMPLE_SIZE // 8, axis=2)
    example = {"images": images}
    without = [name for name in graph.inputs if not name.startswith("image_") and name not in packed_encoders(ensemble)]
    for name in without:
        example[name] = graph.example(EXAMPLES)[name].numpy()
    by_size, vectors = ensemble.prepared(list(images), {name: example[name] for name in without})
    inputs = [
        torch.from_numpy(by_size[int(name.removeprefix("image_"))] if name.startswith("image_") else vectors[name])
        for name in graph.inputs
    ]
    with torch.inference_mode():
        outputs = graph(*inputs)
    return example | {f"expected_{n}": o.numpy() for n, o in zip(graph.outputs, outputs, strict=True)}


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as NPZ, without numpy's timestamps."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _NO_DATE), content.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
