"""Folds for cross-fitting: even, stratified by label, from a seed."""

from collections.abc import Sequence

import numpy as np


def stratified(labels: np.ndarray, folds: int, seed: Sequence[int]) -> np.ndarray:
    """The fold of each sample, `[N]` int in [0, folds), each class (or quarter of valence) spread evenly.

    Args:
        labels: `[N]` int classes, or `[N, 2]` valence and arousal.
        seed: determines the random order.
    """
    strata = labels
    if labels.ndim == 2:
        strata = np.searchsorted(np.quantile(labels[:, 0], [0.25, 0.5, 0.75]), labels[:, 0])
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(strata[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold
