"""Runs this bundle on images; needs onnxruntime and numpy alone. Usage: python example.py [images.npz]"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort


def resized(image, size):  # type: ignore[no-untyped-def]
    """[H, W, 3] uint8 RGB to [3, size, size], as Pillow's bilinear filter does it."""
    for axis in (1, 0):
        n = image.shape[axis]
        centers, width = (np.arange(size) + 0.5) * n / size, max(n / size, 1.0)
        weights = np.clip(1 - np.abs(np.arange(n) + 0.5 - centers[:, None]) / width, 0, None)
        image = np.moveaxis(np.tensordot(weights / weights.sum(1, keepdims=True), image, (1, axis)), 0, axis)
        image = np.floor(np.clip(image, 0, 255) + 0.5)
    return image.transpose(2, 0, 1).astype(np.uint8)


here = Path(__file__).parent
# `images` [N, H, W, 3] uint8 RGB, aligned as the data set's; `emoca` [N, 334], `smirk` [N, 358] where no encoder is.
given = dict(np.load(sys.argv[1] if len(sys.argv) > 1 else here / "example.npz"))
graph = ort.InferenceSession(here / "ensemble.onnx")
inputs = {}
for name in (i.name for i in graph.get_inputs()):
    if name.startswith("image_"):
        inputs[name] = np.stack([resized(image, int(name[6:])) for image in given["images"]])
    elif name in given:
        inputs[name] = given[name]
    else:
        faces = np.stack([resized(image, 224) for image in given["images"]])
        (inputs[name],) = ort.InferenceSession(here / f"encoder_{name}.onnx").run(None, {"image_224": faces})
for output, values in zip(graph.get_outputs(), graph.run(None, inputs), strict=True):
    print(output.name, np.round(values, 4).tolist())
    if f"expected_{output.name}" in given:
        print("largest difference from torch:", float(np.abs(values - given[f"expected_{output.name}"]).max()))
