"""Screening: which of very many members are kept for a search, by samples that it then does not use.

Computed are inner products of members' probabilities on a few thousand samples: they suffice to know the Brier score of
any mean of members. Members are read one at a time, so that outputs may lie on disk.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.folds import stratified
from ig3d_ray.fusion.combine import softmax
from ig3d_ray.fusion.temperature import fit_temperatures

ROWS, SHARE = 4000, 5
"""Samples that are used: so many at most, and at most one of so many."""
LEAST_ROWS = 20
ALONE = 0.5
"""The share of the members that is kept for being the best alone; the others add most to a mean."""
STEPS = 4
"""Steps of the selection with replacement, as multiples of the members that it may keep."""


class Screened(NamedTuple):
    """What is left for a search."""

    members: np.ndarray
    """`[K]` int, ascending: the kept members."""
    rows: np.ndarray
    """`[R]` int, ascending: samples that were not used."""


def screen(
    outputs: Sequence[np.ndarray] | np.ndarray,
    labels: np.ndarray,
    keep: int,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Screened:
    """Choose members of a pool that is too large to be searched as a whole.

    Args:
        outputs: `[M, N, C]` logits of any precision, such as a memory-mapped file, or M arrays `[N, C]`.
        labels: `[N]` classes from 0 to C - 1.
        keep: K, how many members are kept.
        seed: of the samples that are used.
        groups: `[N]`: what each sample belongs to, such as its video; a group is used as a whole or not at all.

    Returns:
        The members, and the samples to search on: on these, the selection of members is no source of optimism.

    Raises:
        Ig3dError: there are too few samples, or a member's outputs are of another shape or not finite.
    """
    labels = np.asarray(labels)
    count = min(ROWS, len(labels) // SHARE)
    if keep < 1:
        raise Ig3dError(f"screen: keep={keep}; give how many members are kept, 1 or more")
    if keep >= len(outputs):
        return Screened(np.arange(len(outputs)), np.arange(len(labels)))
    if count < LEAST_ROWS:
        raise Ig3dError(
            f"screen: {len(labels)} samples are too few; give {LEAST_ROWS * SHARE} or more, or a larger keep"
        )
    # The parts of stratified folds have the classes in their shares.
    part = stratified(labels, len(labels) // count, [seed, len(labels)], groups)
    chosen, rest = np.flatnonzero(part == 0), np.flatnonzero(part != 0)
    likely, truth = _probabilities(outputs, labels, chosen)
    squares = np.array([float(np.dot(one, one)) for one in likely])
    with_truth = (likely @ truth).astype(np.float64)
    useful = _most_useful(likely, with_truth, squares, round((1 - ALONE) * keep))
    # The others are those of the best Brier scores alone.
    ranked = np.argsort(squares - 2 * with_truth, kind="stable")
    return Screened(np.union1d(useful, ranked[~np.isin(ranked, useful)][: keep - len(useful)]), rest)


def _probabilities(
    outputs: Sequence[np.ndarray] | np.ndarray, labels: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Members' calibrated probabilities on some samples `[M, R * C]` float32, and the one-hot labels `[R * C]`."""
    shape, found = np.shape(outputs[0]), None
    if len(shape) == 2 and not 0 <= labels.min() <= labels.max() < shape[1]:
        raise Ig3dError(
            f"screen: labels from {labels.min()} to {labels.max()}; of {shape[1]} classes give 0 to {shape[1] - 1}"
        )
    for member in range(len(outputs)):
        # Once, since it may be read from a file.
        one = outputs[member]
        if np.shape(one) != shape or len(shape) != 2 or shape[0] != len(labels):
            raise Ig3dError(f"screen: member {member} is {np.shape(one)}; give [{len(labels)}, C], as many as labels")
        values = np.asarray(one[rows], dtype=np.float32)
        if not np.isfinite(values).all():
            raise Ig3dError(f"screen: member {member} has an output that is not finite; repair or leave it out")
        if found is None:
            found = np.empty((len(outputs), values.size), dtype=np.float32)
        (warm,) = fit_temperatures(values[None], labels[rows])
        found[member] = softmax(values / np.float32(warm)).ravel()
    assert found is not None
    return found, np.eye(shape[1], dtype=np.float32)[labels[rows]].ravel()


def _most_useful(likely: np.ndarray, with_truth: np.ndarray, squares: np.ndarray, keep: int) -> np.ndarray:
    """Members that a selection with replacement takes, whose mean has the least Brier score (Caruana et al. 2004)."""
    with_sum, of_sum, sum_with_truth = np.zeros(len(likely)), 0.0, 0.0
    products: dict[int, np.ndarray] = {}
    for step in range(1, STEPS * keep + 1):
        # The Brier scores of the means of what is taken and each member, but for a constant.
        scores = (of_sum + 2 * with_sum + squares) / step**2 - 2 * (sum_with_truth + with_truth) / step
        best = int(scores.argmin())
        if best not in products:
            if len(products) == keep:
                break
            products[best] = (likely @ likely[best]).astype(np.float64)
        of_sum += 2 * with_sum[best] + squares[best]
        with_sum, sum_with_truth = with_sum + products[best], sum_with_truth + with_truth[best]
    return np.array(sorted(products), dtype=np.int64)
