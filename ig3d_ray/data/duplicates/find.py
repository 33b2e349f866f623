"""Finds copies of images: by their bytes, by descriptors, or part by part for altered images."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ig3d_ray.data.duplicates import descriptors
from ig3d_ray.data.images import ImageSet

logger = logging.getLogger(__name__)
Alike = Literal["exact", "near", "altered"]
"""What counts as a copy. `exact`: the same bytes. `near`: also the same photograph in another size, compression,
brightness or contrast, or mirrored. `altered`: also rotated by up to 15 degrees, cropped by up to a tenth, or with a
part covered."""
How = Literal["same bytes", "near", "mirrored", "altered"]


@dataclass(frozen=True)
class Thresholds:
    """From which similarity on two images are copies.

    Attributes:
        near: inner product of two descriptors.
        altered: the same after a rotation or crop, which smooths.
        parts: correlation that seven of sixteen parts of two images have.
    """

    near: float = 0.72
    altered: float = 0.77
    parts: float = 0.94


CHECK = Thresholds()
TREAT = Thresholds(near=0.68, altered=0.74, parts=0.93)
"""Lower, since descriptors depend a little on the data set: what is left after copies are dropped has none."""
CANDIDATES = 10
LEAST_PARTS = 7
ROWS = 1024
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""First rows, second rows, similarities."""
Described = tuple[np.ndarray, np.ndarray]
"""Descriptors and parts."""


@dataclass(frozen=True)
class Copies:
    """Pairs of images that are copies of each other.

    Attributes:
        first: `[P]` int, rows of the data set.
        second: `[P]` int, greater than `first`.
        similarity: `[P]`, 1 for the same bytes.
        how: `[P]`, what they have in common.
        samples: N of the data set.
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray
    how: tuple[How, ...]
    samples: int

    @property
    def groups(self) -> list[np.ndarray]:
        """The rows of each set of copies, ascending, each with two rows or more."""
        return connected(self.first, self.second, self.samples)


def connected(starts: np.ndarray, ends: np.ndarray, nodes: int) -> list[np.ndarray]:
    """The nodes of each connected part of a graph, ascending, where there are two or more; by their first node.

    Args:
        starts: `[P]` int, a node of each edge.
        ends: `[P]` int, the other.
        nodes: how many there are.
    """
    graph = coo_array((np.ones(len(starts), dtype=np.int8), (starts, ends)), shape=(nodes, nodes))
    count, of = connected_components(graph, directed=False)
    order = np.argsort(of, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(of, minlength=count))[:-1])
    return sorted((part for part in parts if len(part) > 1), key=lambda part: int(part[0]))


def find_copies(images: ImageSet, alike: Alike = "near", thresholds: Thresholds = CHECK) -> Copies:
    """The copies among the images of a data set.

    Args:
        images: of samples that all have one.
        alike: what counts as a copy.
        thresholds: of the similarities.

    Raises:
        Ig3dError: an image can't be read.
    """
    found: dict[tuple[int, int], tuple[float, How]] = dict.fromkeys(_same_bytes(images), (1.0, "same bytes"))
    if alike != "exact":
        logger.debug("copies: reading %d images", len(images))
        for pair, about in copies_among(descriptors.thumbnails(images), alike, thresholds).items():
            found.setdefault(pair, about)
    pairs = sorted(found)
    first, second = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    similarity = np.array([found[pair][0] for pair in pairs])
    return Copies(first, second, similarity, tuple(found[pair][1] for pair in pairs), len(images))


def copies_among(
    thumbnails_N: np.ndarray, alike: Alike, thresholds: Thresholds = CHECK
) -> dict[tuple[int, int], tuple[float, How]]:
    """Pairs of similar images: (row, greater row) -> (similarity, what they have in common).

    Args:
        thumbnails_N: `[N, 48, 48]` uint8.
        alike: near or altered.
        thresholds: of the similarities.
    """
    found: dict[tuple[int, int], tuple[float, How]] = {}
    rows = np.flatnonzero(descriptors.has_content(thumbnails_N))
    for how, (first, second, similarity) in _similar(thumbnails_N[rows], alike, thresholds):
        for a, b, value in zip(rows[first].tolist(), rows[second].tolist(), similarity.tolist(), strict=True):
            found.setdefault((min(a, b), max(a, b)), (value, how))
    return found


def _same_bytes(images: ImageSet) -> list[tuple[int, int]]:
    seen: dict[bytes, int] = {}
    digests = (hashlib.sha256(images.encoded(index)[0]).digest() for index in range(len(images)))
    firsts = [seen.setdefault(digest, index) for index, digest in enumerate(digests)]
    return [(first, index) for index, first in enumerate(firsts) if first != index]


def _similar(small: np.ndarray, alike: Alike, least: Thresholds) -> Iterator[tuple[How, Pairs]]:
    """Similar pairs of thumbnails, `[N, 48, 48]`, in the order in which one explanation has precedence."""
    if not len(small):
        return
    whitening = descriptors.Whitening.of(small)
    described, flipped = whitening(small), whitening(descriptors.mirrored(small))
    yield "near", above(described, described, least.near)
    yield "mirrored", above(flipped, described, least.near)
    if alike != "altered":
        return
    alterations: tuple[int | tuple[float, float, float], ...] = (*descriptors.ANGLES, *descriptors.CROPS)
    for alteration in alterations:
        logger.debug("copies: %s", f"{alteration} degrees" if isinstance(alteration, int) else f"crop {alteration}")
        changed = descriptors.altered(small, alteration)
        yield "altered", above(whitening(changed), described, least.altered)
        yield "altered", above(whitening(descriptors.mirrored(changed)), described, least.altered)
    logger.debug("copies: part by part")
    parts = descriptors.blocks(small)
    yield "altered", alike_in_parts((described, parts), (described, parts), least.parts)
    flipped_parts = descriptors.blocks(descriptors.mirrored(small))
    yield "altered", alike_in_parts((flipped, flipped_parts), (described, parts), least.parts)


def above(queries: np.ndarray, described: np.ndarray, threshold: float) -> Pairs:
    """Rows of two sets of descriptors of the same images that are similar, without a row and itself.

    Args:
        queries: `[N, K]`, norms of 1.
        described: `[N, K]`, norms of 1.
        threshold: of the inner product.
    """
    found: list[Pairs] = []
    for start in range(0, len(queries), ROWS):
        products = queries[start : start + ROWS] @ described.T
        a, b = np.nonzero(products > threshold)
        keep = a + start != b
        found.append((a[keep] + start, b[keep], products[a[keep], b[keep]]))
    return _joined(found)


def alike_in_parts(queries: Described, images: Described, threshold: float) -> Pairs:
    """Rows with enough parts that are the same, among the most similar of each: finds images with a part covered.

    Args:
        queries: descriptors `[N, K]` with norms of 1, and parts `[N, 16, D]`.
        images: the same of the same images, as they are.
        threshold: of the correlation that `LEAST_PARTS` of the parts have.
    """
    (asked, asked_parts), (described, parts) = queries, images
    found: list[Pairs] = []
    candidates = min(CANDIDATES, len(described) - 1)
    for start in range(0, len(asked) if candidates else 0, ROWS):
        products = asked[start : start + ROWS] @ described.T
        here = np.arange(len(products))
        products[here, here + start] = -1
        best = np.argpartition(-products, candidates - 1, axis=1)[:, :candidates]
        for column in best.T:
            of_parts = np.einsum("npd,npd->np", asked_parts[start : start + ROWS], parts[column])
            alike = np.partition(of_parts, -LEAST_PARTS, axis=1)[:, -LEAST_PARTS]
            keep = alike > threshold
            found.append((here[keep] + start, column[keep], alike[keep]))
    return _joined(found)


def _joined(found: list[Pairs]) -> Pairs:
    nothing = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    first, second, similarity = (np.concatenate(one) for one in zip(nothing, *found, strict=True))
    return first, second, similarity
