"""Descriptors of images whose inner products are near 1 for copies and near 0 for different faces."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from PIL import Image
from scipy.fft import dct

from ig3d_ray.data.images import ImageSet, open_image

THUMBNAIL = 48
SIDE = 24
COMPONENTS = 128
PRIOR_IMAGES = 500
"""Images that the covariance of natural images counts for beside those of the data set."""
FLAT = 2.0
"""Standard deviation, in gray levels, below which an image has no content to compare."""
SAMPLE = 20_000
BLOCKS = 4


def thumbnails(images: ImageSet) -> np.ndarray:
    """Gray images of 48 x 48, `[N, 48, 48]` uint8."""
    made = np.empty((len(images), THUMBNAIL, THUMBNAIL), np.uint8)

    def put(at: int) -> None:
        made[at] = thumbnail(open_image(*images.encoded(at)))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(put, range(len(images))))
    return made


def thumbnail(image: Image.Image) -> np.ndarray:
    """One image in gray, `[48, 48]` uint8."""
    gray = image.convert("L")
    how = Image.Resampling.BOX if min(gray.size) >= THUMBNAIL else Image.Resampling.BICUBIC
    return np.asarray(gray.resize((THUMBNAIL, THUMBNAIL), how))


def mirrored(thumbnails_N: np.ndarray) -> np.ndarray:
    """`[N, 48, 48]`, left and right exchanged."""
    return thumbnails_N[:, :, ::-1]


def normalized(thumbnails_N: np.ndarray) -> np.ndarray:
    """Pixels of 24 x 24 with mean 0 and norm 1, `[N, 576]` float32: brightness and contrast removed."""
    step = THUMBNAIL // SIDE
    small = thumbnails_N.reshape(-1, SIDE, step, SIDE, step).mean(axis=(2, 4), dtype=np.float32).reshape(-1, SIDE**2)
    small -= small.mean(axis=1, keepdims=True)
    return small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-3)


def has_content(thumbnails_N: np.ndarray) -> np.ndarray:
    """Whether an image has enough contrast to be compared, `[N]` bool."""
    return np.asarray(thumbnails_N.std(axis=(1, 2), dtype=np.float32) >= FLAT)


@dataclass(frozen=True)
class Whitening:
    """The directions in which faces differ most, scaled to equal variance.

    Without the scaling, light and pose dominate, and different faces are as alike as copies.

    Attributes:
        matrix: `[576, 128]` float32.
    """

    matrix: np.ndarray

    @classmethod
    def of(cls, thumbnails_N: np.ndarray) -> Self:
        """Of a data set, with the 1/f amplitudes of natural images as the prior of small ones."""
        pixels = normalized(thumbnails_N[:: max(1, len(thumbnails_N) // SAMPLE)])
        covariance = (pixels.T @ pixels + PRIOR_IMAGES * _natural_images()) / (len(pixels) + PRIOR_IMAGES)
        variances, directions = np.linalg.eigh(covariance.astype(np.float64))
        scaled = directions[:, -COMPONENTS:] / np.sqrt(variances[-COMPONENTS:])
        return cls(scaled.astype(np.float32))

    def __call__(self, thumbnails_N: np.ndarray) -> np.ndarray:
        """Descriptors of norm 1, `[N, 128]` float32."""
        found = normalized(thumbnails_N) @ self.matrix
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6))


@cache
def _natural_images() -> np.ndarray:
    """The covariance of pixels whose amplitudes fall with the frequency, `[576, 576]`, trace 1."""
    frequency = np.hypot(*np.mgrid[:SIDE, :SIDE].astype(np.float64)).ravel()
    power = np.zeros(SIDE**2)
    power[1:] = frequency[1:] ** -2
    cosines = dct(np.eye(SIDE), norm="ortho", axis=0)
    basis = np.kron(cosines, cosines)
    return np.asarray(basis.T @ (power[:, None] * basis) / power.sum())


def blocks(thumbnails_N: np.ndarray) -> np.ndarray:
    """The normalized pixels of 4 x 4 parts of the image, `[N, 16, 36]` float32."""
    pixels = normalized(thumbnails_N).reshape(-1, BLOCKS, SIDE // BLOCKS, BLOCKS, SIDE // BLOCKS)
    parts = pixels.transpose(0, 1, 3, 2, 4).reshape(len(pixels), BLOCKS**2, -1)
    parts = parts - parts.mean(axis=2, keepdims=True)
    return np.asarray(parts / np.maximum(np.linalg.norm(parts, axis=2, keepdims=True), 1e-3))


ANGLES = (-15, -10, -5, 5, 10, 15)
PLACES = (0.0, 0.5, 1.0)
CROPS = (
    (0.95, 0.5, 0.5),
    *((0.95, right, down) for right in (0.0, 1.0) for down in (0.0, 1.0)),
    *((0.9, right, down) for right in PLACES for down in PLACES),
)
"""Share of the side that is kept, and where: 0 is left or top, 1 is right or bottom."""


def altered(thumbnails_N: np.ndarray, alteration: int | tuple[float, float, float]) -> np.ndarray:
    """Thumbnails rotated by an angle in degrees, or cropped, `[N, 48, 48]` uint8."""
    made = np.empty_like(thumbnails_N)
    for row, pixels in enumerate(thumbnails_N):
        image = Image.fromarray(pixels)
        if isinstance(alteration, int):
            changed = image.rotate(alteration, Image.Resampling.BILINEAR)
        else:
            share, right, down = alteration
            side, left = THUMBNAIL * share, THUMBNAIL * (1 - share)
            box = (left * right, left * down, left * right + side, left * down + side)
            changed = image.resize(image.size, Image.Resampling.BICUBIC, box=box)
        made[row] = np.asarray(changed)
    return made
