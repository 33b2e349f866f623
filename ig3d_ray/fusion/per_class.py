"""Weights per class: a member may have a high weight for one expression and a low weight for another."""

import numpy as np
import scipy  # its parts when they are used, as in spaces.py

from ig3d_ray.evaluation.folds import stratified

STRENGTHS = (10.0, 1.0, 0.1)


def stack_per_class(
    outputs_MNC: np.ndarray, labels_N: np.ndarray, shared_M: np.ndarray, folds: int = 3, seed: int = 0
) -> np.ndarray:
    """Non-negative weights `[M, C]` of least log-loss, regularized towards the weights that all classes share.

    Args:
        outputs_MNC: `[M, N, C]` logits.
        labels_N: `[N]` int.
        shared_M: `[M]`: a stack's weights; zero weights stay zero.
        folds: of the cross-fitting that chooses the regularization strength.
        seed: of the folds.

    With fewer samples than folds every class has the shared weights.
    """
    used = np.flatnonzero(shared_M)
    outputs, shared = outputs_MNC[used].astype(np.float64), np.asarray(shared_M, dtype=np.float64)[used]
    if len(labels_N) < folds:
        return np.repeat(np.asarray(shared_M, dtype=np.float64)[:, None], outputs.shape[2], axis=1)
    fold = stratified(labels_N, folds, [seed, folds])
    held_out = []
    for strength in STRENGTHS:
        loss = 0.0
        for one in np.unique(fold):
            weights = _fit(outputs[:, fold != one], labels_N[fold != one], shared, strength)
            fused = np.einsum("mc,mnc->nc", weights, outputs[:, fold == one])
            loss -= float(scipy.special.log_softmax(fused, axis=1)[np.arange(len(fused)), labels_N[fold == one]].sum())
        held_out.append(loss)
    weights = np.zeros((len(shared_M), outputs.shape[2]))
    weights[used] = _fit(outputs, labels_N, shared, STRENGTHS[int(np.argmin(held_out))])
    # Members that are wrong about every class end at zero; then the shared weights are better than none.
    return weights if weights.any() else np.repeat(np.asarray(shared_M)[:, None], outputs.shape[2], axis=1)


def _fit(outputs: np.ndarray, labels: np.ndarray, shared: np.ndarray, strength: float) -> np.ndarray:
    members, samples, classes = outputs.shape
    rows = np.arange(samples)
    # Relative to the size of each member's scores, so that regularization does not depend on their scale.
    sizes = strength * outputs.var(axis=(1, 2))[:, None] / classes

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(members, classes)
        fused = np.einsum("mc,mnc->nc", weights, outputs)
        residual, apart = scipy.special.softmax(fused, axis=1), weights - shared[:, None]
        fit = -float(scipy.special.log_softmax(fused, axis=1)[rows, labels].mean())
        value = fit + 0.5 * float((sizes * apart**2).sum())
        residual[rows, labels] -= 1
        return value, (np.einsum("nc,mnc->mc", residual, outputs) / samples + sizes * apart).ravel()

    start = np.repeat(shared, classes)
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start))
    return np.asarray(found.x).reshape(members, classes)
