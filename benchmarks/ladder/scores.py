"""How fused outputs are judged, for everybody alike."""

import numpy as np

SMALLEST = 1e-12
"""A probability of the right class below this counts as this."""


def judged(fused_NC: np.ndarray, labels_N: np.ndarray) -> dict[str, float]:
    """Accuracy and mean log-loss of fused probabilities.

    Args:
        fused_NC: `[N, C]`.
        labels_N: `[N]` int.
    """
    of_label = np.maximum(fused_NC[np.arange(len(labels_N)), labels_N], SMALLEST)
    right = fused_NC.argmax(axis=1) == labels_N
    return {
        "accuracy": float(right.mean()),
        "log_loss": float(-np.log(of_label).mean()),
        "samples": len(labels_N),
    }


def concordances(predicted_N2: np.ndarray, targets_N2: np.ndarray) -> np.ndarray:
    """The concordance correlation coefficients of valence and of arousal, `[2]` (Lin 1989).

    Args:
        predicted_N2: `[N, 2]`.
        targets_N2: `[N, 2]`.
    """
    apart = predicted_N2.mean(axis=0) - targets_N2.mean(axis=0)
    shared = ((predicted_N2 - predicted_N2.mean(axis=0)) * (targets_N2 - targets_N2.mean(axis=0))).mean(axis=0)
    below = predicted_N2.var(axis=0) + targets_N2.var(axis=0) + apart**2
    return np.asarray(2 * shared / np.where(below > 0, below, 1.0))


def judged_va(predicted_N2: np.ndarray, targets_N2: np.ndarray) -> dict[str, float]:
    """Mean CCC, and root of the mean squared error of both.

    Args:
        predicted_N2: `[N, 2]`.
        targets_N2: `[N, 2]` in [-1, 1].
    """
    return {
        "ccc": float(concordances(predicted_N2, targets_N2).mean()),
        "rmse": float(((predicted_N2 - targets_N2) ** 2).mean() ** 0.5),
        "samples": len(targets_N2),
    }
