"""The spaces in which class scores are fused: raw logits, log-probabilities, probabilities."""

from typing import Literal, get_args

import numpy as np

# Its parts are loaded when they are used: every process that Ray starts imports this, and few of them fuse.
import scipy

Space = Literal["logits", "log_probabilities", "probabilities"]
SPACES: tuple[Space, ...] = get_args(Space)


def to_space(logits_MNC: np.ndarray, space: Space) -> np.ndarray:
    """Raw class scores `[..., C]` carried into a space, float64, same shape.

    A weighted sum of log-probabilities has the same top class as that of logits: they differ by one
    number per sample. Maximum and minimum do not.
    """
    logits_MNC = np.asarray(logits_MNC, dtype=np.float64)
    if space == "probabilities":
        return np.asarray(scipy.special.softmax(logits_MNC, axis=-1))
    if space == "log_probabilities":
        return np.asarray(scipy.special.log_softmax(logits_MNC, axis=-1))
    return logits_MNC
