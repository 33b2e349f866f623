"""Runs this bundle on photographs; needs onnxruntime, numpy and, to read photographs, Pillow.

python example.py                                the example, and how far it is from torch's outputs
python example.py face.jpg folder_of_faces       photographs, aligned and cropped as the data set's
python example.py faces.npz                      arrays: images [N, H, W, 3] uint8 RGB; emoca [N, 334], and so on
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

here = Path(__file__).parent
spec = json.loads((here / "best_ensemble.json").read_text())
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def resized(image, size):  # type: ignore[no-untyped-def]
    """An image of Pillow, or [H, W, 3] uint8 RGB, to [3, size, size] by the bilinear filter; Pillow isn't needed."""
    if not isinstance(image, np.ndarray):
        return np.asarray(image.resize((size, size), 2)).transpose(2, 0, 1)
    for axis in (1, 0):
        n = image.shape[axis]
        centers, width = (np.arange(size) + 0.5) * n / size, max(n / size, 1.0)
        weights = np.clip(1 - np.abs(np.arange(n) + 0.5 - centers[:, None]) / width, 0, None)
        image = np.moveaxis(np.tensordot(weights / weights.sum(1, keepdims=True), image, (1, axis)), 0, axis)
        image = np.floor(np.clip(image, 0, 255) + 0.5)
    return image.transpose(2, 0, 1).astype(np.uint8)


def photographs(words):  # type: ignore[no-untyped-def]
    """Names and images of files and folders."""
    from PIL import Image, ImageOps

    files = [f for w in map(Path, words) for f in (sorted(w.rglob("*")) if w.is_dir() else [w])]
    files = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not files:
        sys.exit(f"no photographs in {' '.join(words)}; known endings: {' '.join(sorted(SUFFIXES))}")
    return files, [ImageOps.exif_transpose(Image.open(file)).convert("RGB") for file in files]


def inputs_of(graph, given):  # type: ignore[no-untyped-def]
    """What a graph takes as input: images resized, parameters as given or by an encoder of this bundle."""
    found = {}
    for name in (i.name for i in graph.get_inputs()):
        if name.startswith("image_"):
            found[name] = np.stack([resized(image, int(name[6:])) for image in given["images"]])
        elif name in given:
            found[name] = given[name].astype(np.float32)
        else:
            faces = np.stack([resized(image, 224) for image in given["images"]])
            (found[name],) = ort.InferenceSession(here / f"encoder_{name}.onnx").run(None, {"image_224": faces})
    return found


words = sys.argv[1:]
if not words or words[0].endswith(".npz"):
    given = dict(np.load(words[0] if words else here / "example.npz"))
    names = [str(number) for number in range(len(next(iter(given.values()))))]
else:
    names, images = photographs(words)
    given = {"images": images}
graph = ort.InferenceSession(here / "ensemble.onnx")
takes = [i.name for i in graph.get_inputs() if not i.name.startswith("image_")]
lacking = sorted(n for n in takes if n not in given and not (here / f"encoder_{n}.onnx").exists())
if lacking:
    fallback = here / f"fallback_{'_'.join(lacking)}.onnx"
    if not fallback.exists():
        sys.exit(f"{', '.join(lacking)}: missing, and no member does without; give them in an .npz file")
    print(f"without {', '.join(lacking)}: the spec's fallback")
    graph = ort.InferenceSession(fallback)
outputs = {o.name: v for o, v in zip(graph.get_outputs(), graph.run(None, inputs_of(graph, given)), strict=True)}
for row, name in enumerate(names):
    if "probabilities" in outputs:
        likely = outputs["probabilities"][row]
        print(name, spec["class_names"][likely.argmax()], [round(float(value), 4) for value in likely])
    else:
        print(name, "valence, arousal", [round(float(value), 4) for value in outputs["valence_arousal"][row]])
for name, values in outputs.items():
    if f"expected_{name}" in given and not lacking:
        print(f"largest difference of {name} from torch:", float(np.abs(values - given[f"expected_{name}"]).max()))
