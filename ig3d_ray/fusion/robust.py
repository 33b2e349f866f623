"""Robust members: each one's probabilities at a fitted temperature, mixed with a fitted share of the uniform ones.

A member that is sure of a wrong class, or says that the right one is impossible, costs a stack of logits as much as
hundreds of samples. The share is how often that was seen: so much, and no more, is a confident output believed.
"""

import numpy as np

LEAST, MOST = 1e-6, 0.5
"""Bounds of the share."""
SAMPLES = 4000
"""Two numbers are fitted to each member, to at most so many of the samples, drawn at random."""
_LOW, _HIGH = -np.log(1000.0), np.log(1000.0)  # of log(1 / T)
_ROUNDS, _SHARES, _STEP, _CLOSE = 100, 10, 1.0, 1e-5


def fit_floors(logits_MNC: np.ndarray, labels_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each member's temperature `[M]` and floor `[M]` of least log-loss on these samples.

    Args:
        logits_MNC: `[M, N, C]`.
        labels_N: `[N]` int.

    Source: maximum likelihood of (1 - floor) * softmax(logits / T) + floor / C by expectation maximization: whether a
    sample's label came from the member or from the uniform distribution is the hidden variable; the step for T is
    Newton's, of temperature scaling (Guo et al. 2017) with the samples' weights.
    """
    some = np.sort(np.random.default_rng(len(labels_N)).permutation(len(labels_N))[:SAMPLES])
    fitted = [_fit_one(np.asarray(member[some], dtype=np.float64), labels_N[some]) for member in logits_MNC]
    temperatures, floors = np.array(fitted).T
    return temperatures, floors


def _fit_one(logits_NC: np.ndarray, labels_N: np.ndarray) -> tuple[float, float]:
    rows, classes = np.arange(len(labels_N)), logits_NC.shape[1]
    logits = np.ascontiguousarray((logits_NC - logits_NC.max(axis=1, keepdims=True)).T)
    of_label = logits[labels_N, rows]
    log_beta, floor, before, step = 0.0, 0.01, np.inf, 0.0
    for _ in range(_ROUNDS):
        beta = np.exp(log_beta)
        likely = np.exp(beta * logits)
        likely /= likely.sum(axis=0)
        right = likely[labels_N, rows]
        over_uniform = right * classes
        # Not while the temperature is far too high, when the uniform distribution explains what the member could.
        for _ in range(_SHARES if step < _STEP else 0):
            from_uniform = (1 - floor) * over_uniform
            from_uniform += floor
            np.divide(floor, from_uniform, out=from_uniform)
            floor = min(max(float(from_uniform.sum()) / len(rows), LEAST), MOST)
        mixed = (1 - floor) * right + floor / classes
        loss = -float(np.log(mixed).mean())
        if before - loss < _CLOSE and step < _STEP:
            break
        before, believed = loss, 1 - floor / classes / mixed
        likely *= logits
        mean = likely.sum(axis=0)
        likely *= logits
        spread = likely.sum(axis=0) - mean * mean
        slope, curvature = float(believed @ (mean - of_label)), float(believed @ spread)
        # Newton in log(1 / T), as in `fit_temperatures`; a step at a time, since the weights change with it.
        bend = slope + beta * curvature
        step = -slope / bend if bend > 0 else -np.sign(slope) * _STEP
        log_beta = float(np.clip(log_beta + np.clip(step, -_STEP, _STEP), _LOW, _HIGH))
    return float(np.exp(-log_beta)), floor
