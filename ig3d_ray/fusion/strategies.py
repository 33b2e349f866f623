"""Late fusion: the outputs of several members on the same samples, combined sample by sample."""

from typing import Literal, get_args

import numpy as np

Strategy = Literal["max", "min", "mean", "weighted"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def fuse(strategy: Strategy, outputs_MNC: np.ndarray, weights_M: np.ndarray | None = None) -> np.ndarray:
    """Combine members' outputs.

    Args:
        strategy: `max` and `min` take each column's extreme over the members, `mean` averages,
            `weighted` sums with weights: the late fusions of Ig3D.
        outputs_MNC: `[M, N, C]` class scores in one space, or `[M, N, 2]` valence and arousal.
        weights_M: `[M]`, or `[M, C]` where each column has weights of its own; for `weighted` only.

    Returns:
        `[N, C]` float64. Each row depends on that row of the members alone.

    Raises:
        ValueError: the outputs are not three-dimensional, or weights are missing, superfluous or of
            another length. Nothing is ever broadcast: the paper's code took one sample's logits for
            a whole batch that way.
    """
    outputs_MNC = np.asarray(outputs_MNC, dtype=np.float64)
    if outputs_MNC.ndim != 3 or outputs_MNC.shape[0] == 0:
        raise ValueError(f"outputs must be [members, samples, columns], got shape {outputs_MNC.shape}")
    if (strategy == "weighted") != (weights_M is not None):
        raise ValueError(f"strategy {strategy!r} {'needs' if weights_M is None else 'takes no'} weights")
    if strategy == "max":
        return outputs_MNC.max(axis=0)
    if strategy == "min":
        return outputs_MNC.min(axis=0)
    if strategy == "mean":
        weights_M = np.full(outputs_MNC.shape[0], 1.0 / outputs_MNC.shape[0])
    elif strategy != "weighted":
        raise ValueError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    weights_M = np.asarray(weights_M, dtype=np.float64)
    if weights_M.shape not in (outputs_MNC.shape[:1], outputs_MNC.shape[::2]):
        raise ValueError(f"{outputs_MNC.shape[0]} members but weights of shape {weights_M.shape}")
    fused = weights_M[0] * outputs_MNC[0]
    for weight, output in zip(weights_M[1:], outputs_MNC[1:], strict=True):
        fused += weight * output
    return np.asarray(fused)
