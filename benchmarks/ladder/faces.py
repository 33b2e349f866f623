"""Features of faces, drawn and real: small gray images and 3D parameters, as plain models take them."""

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from ig3d_ray.data.images import ImageSet
from ig3d_ray.data.samples import Samples
from ig3d_ray.data.synthetic.faces import make_faces
from ig3d_ray.storage.store import Store

SIZE, LARGE = 12, 48


def features_of_drawn_faces(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gray images of 12 x 12 pixels beside 3D parameters, `[N, F]`, and the classes `[N]`, in random order.

    Args:
        samples: how many faces.
        seed: of the faces.
    """
    features, drawn = _drawn(samples, seed)
    order = np.random.default_rng(seed).permutation(len(features))
    return features[order], drawn.expression[order].astype(np.int64)


def va_of_drawn_faces(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same features, and valence and arousal `[N, 2]`."""
    features, drawn = _drawn(samples, seed)
    order = np.random.default_rng(seed).permutation(len(features))
    return features[order], drawn.va[order].astype(np.float64)


def features_of_real_faces(folder: Path, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """FER2013's photographs at 12 x 12 pixels beside 3DDFA_V2's 62 parameters, `[N, F]`, and the classes `[N]`.

    Args:
        folder: with `faces.zip` and `params_3ddfa.parquet`, whose ids begin with the class.
        samples: how many faces, drawn at random.
        seed: of the drawing.
    """
    table = pq.read_table(folder / "params_3ddfa.parquet")
    ids = table["sample_id"].to_pylist()
    chosen = np.random.default_rng(seed).permutation(len(ids))[:samples]
    columns = [name for name in table.column_names if name != "sample_id"]
    parameters = np.stack([table[name].to_numpy() for name in columns], axis=1)[chosen]
    names = [ids[row].partition("_")[0] for row in chosen]
    with zipfile.ZipFile(folder / "faces.zip") as archive:
        files = {Path(name).stem: name for name in archive.namelist()}
        pixels = np.stack([_reduced(archive.read(files[ids[row]])) for row in chosen])
    return np.concatenate([pixels, parameters], axis=1), np.unique(names, return_inverse=True)[1]


def _reduced(encoded: bytes) -> np.ndarray:
    """`[144]` in 0 .. 1."""
    image = Image.open(io.BytesIO(encoded)).convert("L").resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64).ravel() / 255


def _drawn(samples: int, seed: int) -> tuple[np.ndarray, Samples]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        drawn = make_faces(store, samples, seed).with_feature("emoca")
        return np.concatenate([_gray(store, drawn), drawn.params("emoca")], axis=1), drawn


def _gray(store: Store, drawn: Samples) -> np.ndarray:
    """`[N, 144]` in 0 .. 1."""
    large = ImageSet(store, drawn, LARGE).some()
    gray = large.reshape(len(large), 3, SIZE, LARGE // SIZE, SIZE, LARGE // SIZE).mean(axis=(1, 3, 5))
    return gray.reshape(len(large), -1) / 255
