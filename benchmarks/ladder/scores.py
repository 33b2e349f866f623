"""How fused probabilities are judged, for everybody alike."""

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
