"""Features of the built-in data set's drawn faces: small gray images and 3D parameters, as plain models take them."""

import tempfile

import numpy as np

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
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        drawn = make_faces(store, samples, seed).with_feature("emoca")
        parameters = drawn.params("emoca")
        pixels = _gray(store, drawn)
    features = np.concatenate([pixels, parameters], axis=1)
    order = np.random.default_rng(seed).permutation(len(features))
    return features[order], drawn.expression[order].astype(np.int64)


def _gray(store: Store, drawn: Samples) -> np.ndarray:
    """`[N, 144]` in 0 .. 1."""
    large = ImageSet(store, drawn, LARGE).some()
    gray = large.reshape(len(large), 3, SIZE, LARGE // SIZE, SIZE, LARGE // SIZE).mean(axis=(1, 3, 5))
    return gray.reshape(len(large), -1) / 255
