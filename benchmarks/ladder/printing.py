"""The scores of peers on pools, as lines of JSON; in the peers' environment."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Fused = Callable[[np.ndarray], np.ndarray]
"""Outputs of members `[M, N, C]` -> fused ones `[N, C]`."""


def print_scores(
    peers: Mapping[str, Callable[[np.ndarray, np.ndarray], Fused]],
    judged: Callable[[np.ndarray, np.ndarray], dict[str, float]],
) -> None:
    """A line for each pool that the command names: the file, and each peer's seconds and scores on the fresh samples.

    Args:
        peers: name -> its fit, of members' outputs and labels.
        judged: the scores of fused outputs and labels.
    """
    for file in map(Path, sys.argv[1:]):
        with np.load(file) as arrays:
            fit, labels, fresh, fresh_labels = (arrays[name] for name in ("fit", "fit_labels", "fresh", "fresh_labels"))
        found = {}
        for name, method in peers.items():
            started = time.perf_counter()
            apply = method(fit, labels)
            took = time.perf_counter() - started
            found[name] = {"seconds": took} | judged(apply(fresh), fresh_labels)
        print(json.dumps({"file": str(file), "methods": found}), flush=True)
