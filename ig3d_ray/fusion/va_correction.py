"""Fitting a linear correction of valence and arousal: ridge regression of what weights leave, its penalty cross-fitted.

Squared errors shrink predictions towards their mean. For concordance the spread of what is fused is then made that of
the labels: of all affine functions of the same predictions that one has the highest coefficient (Lin 1989).
"""

from collections.abc import Sequence

import numpy as np

from ig3d_ray.evaluation.folds import stratified
from ig3d_ray.fusion.correction import Correction

PENALTIES = 10.0 ** np.arange(-5, 4)
"""Of the squared coefficients, as multiples of the inputs' mean variance times samples."""
FOLDS = 5
POOLED = ("ccc", "ccc_paper")
MOST = 256
"""Members that are taken, at most."""
DECIMALS = 6


def fit_va_correction(
    values_MN2: np.ndarray, labels_N2: np.ndarray, weights_M: np.ndarray, objective: str, seed: int = 0
) -> Correction:
    """The correction of a static fusion of valence and arousal.

    Args:
        values_MN2: `[M, N, 2]` members' outputs.
        labels_N2: `[N, 2]`.
        weights_M: `[M]` static weights.
        objective: the metric that is searched for; `ccc` and `ccc_paper` are of both dimensions pooled.
        seed: of the folds.
    """
    values, labels = values_MN2.astype(np.float64), np.asarray(labels_N2, dtype=np.float64)
    fused, inputs = np.tensordot(weights_M, values, 1), np.concatenate(list(values), axis=1)
    penalty, held_out = _cross_fitted(inputs, fused, labels, seed)
    rows, bias = _ridge(inputs, labels - fused, [penalty])[0]
    factor, shift = np.ones(2), np.zeros(2)
    if objective in POOLED:
        ends = _matched(held_out.reshape(-1, 1), labels.reshape(-1, 1))
        factor, shift = (np.repeat(one, 2) for one in ends)
    elif objective.startswith("ccc"):
        factor, shift = _matched(held_out, labels)
    # factor * (fused + inputs @ rows + bias) + shift, as what is added to fused.
    matrices = (factor * rows).reshape(len(values), 2, 2) + weights_M[:, None, None] * np.diag(factor - 1)
    rounded = np.round(matrices, DECIMALS) + 0.0
    return Correction(
        matrices=tuple(tuple(map(tuple, matrix)) for matrix in rounded.tolist()),
        bias=tuple((np.round(factor * bias + shift, DECIMALS) + 0.0).tolist()),
    )


def va_corrected_members(values_MN2: np.ndarray, labels_N2: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    """The members that a correction takes, ascending: all; of very many those with weights, then those of the least
    squared error.

    Args:
        values_MN2: `[M, N, 2]` members' outputs.
        labels_N2: `[N, 2]`.
        weights_M: `[M]` static weights.
    """
    errors = [float(((one - labels_N2) ** 2).mean()) for one in values_MN2]
    return np.sort(np.lexsort((np.array(errors), weights_M <= 0))[:MOST])


def _cross_fitted(
    inputs_NF: np.ndarray, fused_N2: np.ndarray, labels_N2: np.ndarray, seed: int
) -> tuple[float, np.ndarray]:
    """The penalty of the least squared error on held-out samples, and the predictions `[N, 2]` there."""
    folds = min(FOLDS, len(labels_N2))
    fold = stratified(labels_N2, folds, [seed, folds])
    predicted = np.empty((len(PENALTIES), *labels_N2.shape))
    for number in range(folds):
        kept, rest = fold != number, fold == number
        fits = _ridge(inputs_NF[kept], (labels_N2 - fused_N2)[kept], PENALTIES)
        predicted[:, rest] = [fused_N2[rest] + inputs_NF[rest] @ rows + bias for rows, bias in fits]
    errors = ((predicted - labels_N2) ** 2).mean(axis=(1, 2))
    best = int(errors.argmin())
    return float(PENALTIES[best]), predicted[best]


def _ridge(
    inputs_NF: np.ndarray, targets_N2: np.ndarray, penalties: Sequence[float] | np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each penalty the coefficients `[F, 2]` and the bias `[2]`, which is not penalized."""
    center, middle = inputs_NF.mean(axis=0), targets_N2.mean(axis=0)
    around = inputs_NF - center
    gram = around.T @ around
    values, vectors = np.linalg.eigh(gram)
    turned, scale = vectors.T @ (around.T @ (targets_N2 - middle)), max(float(np.trace(gram)) / len(gram), 1e-300)
    found = []
    for penalty in penalties:
        rows = vectors @ (turned / (np.maximum(values, 0.0) + penalty * scale)[:, None])
        found.append((rows, middle - center @ rows))
    return found


def _matched(predicted_ND: np.ndarray, labels_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The factors and the shifts `[D]` that give predictions the mean and the spread of the labels."""
    spread = predicted_ND.std(axis=0)
    factor = np.where(spread > 0, labels_ND.std(axis=0) / np.where(spread > 0, spread, 1.0), 1.0)
    return factor, labels_ND.mean(axis=0) - factor * predicted_ND.mean(axis=0)
