"""What people would otherwise use, in an environment of its own: AutoGluon's ensemble selection and CMA-ES.

    .peers/bin/python benchmarks/peers.py ARRAYS.npz SECONDS_FOR_CMA

reads `fit` and `fresh` logits and labels, and prints one line of JSON: for each peer its seconds and its accuracy on
the fresh samples.
"""

import json
import sys
import time
from collections.abc import Callable

import cma
import numpy as np
from autogluon.core.metrics import accuracy, log_loss
from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection


def softmax(logits: np.ndarray) -> np.ndarray:
    likely = np.exp(logits - logits.max(axis=2, keepdims=True))
    return likely / likely.sum(axis=2, keepdims=True)


def autogluon(size: int, metric: object) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def fit(likely: np.ndarray, labels: np.ndarray) -> np.ndarray:
        found = EnsembleSelection(size, "multiclass", metric, random_state=np.random.RandomState(0))
        return np.asarray(found.fit(list(likely), labels).weights_)

    return fit


def cma_es(seconds: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """CMA-ES over the members' softmax-ed weights, for accuracy, as long as it is given."""

    def fit(likely: np.ndarray, labels: np.ndarray) -> np.ndarray:
        flat = likely.reshape(len(likely), -1)

        def weights(x: np.ndarray) -> np.ndarray:
            return np.exp(x - x.max()) / np.exp(x - x.max()).sum()

        def loss(x: np.ndarray) -> float:
            fused = (weights(x).astype(np.float32) @ flat).reshape(likely.shape[1:])
            return -float((fused.argmax(axis=1) == labels).mean())

        search = cma.CMAEvolutionStrategy(np.zeros(len(likely)), 1.0, {"seed": 1, "verbose": -9})
        started = time.perf_counter()
        while not search.stop() and time.perf_counter() - started < seconds:
            asked = search.ask()
            search.tell(asked, [loss(x) for x in asked])
        return weights(np.asarray(search.result.xbest))

    return fit


def main() -> None:
    arrays, seconds = np.load(sys.argv[1]), float(sys.argv[2])
    fit, fresh = softmax(arrays["fit"]), softmax(arrays["fresh"])
    peers = {
        "AutoGluon 25, accuracy": autogluon(25, accuracy),
        "AutoGluon 25, log-loss": autogluon(25, log_loss),
        "AutoGluon 100, accuracy": autogluon(100, accuracy),
        "AutoGluon 100, log-loss": autogluon(100, log_loss),
        "CMA-ES on the weights": cma_es(seconds),
    }
    found = {}
    for name, method in peers.items():
        started = time.perf_counter()
        weights = method(fit, arrays["labels"])
        took = time.perf_counter() - started
        top = np.tensordot(weights.astype(np.float32), fresh, 1).argmax(axis=1)
        found[name] = {"seconds": took, "accuracy": float((top == arrays["fresh_labels"]).mean())}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
