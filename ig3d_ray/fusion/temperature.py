"""Temperature scaling: calibrates the confidence of each member's scores."""

import numpy as np

_ROUNDS = 40
_LOW, _HIGH = -np.log(1000.0), np.log(1000.0)  # of log(1 / T)


def fit_temperatures(logits_MNC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Each member's temperature `[M]`: dividing its logits by it gives the least log-loss on these samples.

    Args:
        logits_MNC: `[M, N, C]`.
        labels_N: `[N]` int.

    Source: Guo et al. 2017, section 4.2. The log-loss is convex in 1 / T; Newton's method, bracketed by bisection.
    Members that are always correct, or uninformative, end at the bounds of 1/1000 and 1000.
    """
    return np.array([_fit_one(np.asarray(member, dtype=np.float64), labels_N) for member in logits_MNC])


def _fit_one(logits_NC: np.ndarray, labels_N: np.ndarray) -> float:
    logits = np.ascontiguousarray((logits_NC - logits_NC.max(axis=1, keepdims=True)).T)
    of_label = float(logits[labels_N, np.arange(len(labels_N))].mean())
    low, high, log_beta = _LOW, _HIGH, 0.0
    for _ in range(_ROUNDS):
        beta = np.exp(log_beta)
        weights = np.exp(beta * logits)
        weights /= weights.sum(axis=0)
        mean = (weights * logits).sum(axis=0)
        slope = float(mean.mean()) - of_label
        curvature = float(((weights * logits * logits).sum(axis=0) - mean * mean).mean())
        low, high = (log_beta, high) if slope < 0 else (low, log_beta)
        # Newton in log(1 / T): the derivative there is beta * slope, its own beta * slope + beta^2 * curvature.
        bend = slope + beta * curvature
        step = log_beta - slope / bend if bend > 0 else np.inf
        step = step if low < step < high else 0.5 * (low + high)
        if abs(step - log_beta) < 1e-8:
            break
        log_beta = step
    return float(np.exp(-log_beta))
