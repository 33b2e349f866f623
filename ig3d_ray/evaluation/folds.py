"""Folds for cross-fitting: even, stratified by label, from a seed."""

from collections.abc import Sequence

import numpy as np


def stratified(labels: np.ndarray, folds: int, seed: Sequence[int], groups: np.ndarray | None = None) -> np.ndarray:
    """The fold of each sample, `[N]` int in [0, folds), each class (or quarter of valence) spread evenly.

    Args:
        labels: `[N]` int classes, or `[N, 2]` valence and arousal.
        seed: determines the random order.
        groups: `[N]` int: samples of one group are in one fold, and the classes as even as that allows.
    """
    strata = labels
    if labels.ndim == 2:
        strata = np.searchsorted(np.quantile(labels[:, 0], [0.25, 0.5, 0.75]), labels[:, 0])
    if groups is not None:
        return _of_groups(strata, folds, seed, groups)
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(strata[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def _of_groups(strata: np.ndarray, folds: int, seed: Sequence[int], groups: np.ndarray) -> np.ndarray:
    """Whole groups, the largest first, each to the fold that it leaves the most even."""
    kinds, codes = np.unique(strata, return_inverse=True)[1], np.unique(groups, return_inverse=True)[1]
    counts = np.zeros((codes.max() + 1, kinds.max() + 1))
    np.add.at(counts, (codes, kinds), 1)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    share = counts / counts.sum(axis=0)
    held, of_group = np.zeros((folds, share.shape[1])), np.empty(len(counts), dtype=np.int64)
    for group in order:
        # The sum of squares rises least where the group's classes are rarest so far.
        fold = int((held @ share[group]).argmin())
        held[fold] += share[group]
        of_group[group] = fold
    return np.asarray(of_group[codes])
