"""What people would otherwise use on the ladder's pools, in an environment of its own.

    .peers/bin/python benchmarks/ladder/peers.py FILE.npz ...

reads pools, and prints one line of JSON for each: the file, and for each peer its seconds, and its accuracy and mean
log-loss on the fresh samples.
"""

from collections.abc import Callable

import cma
import numpy as np
from autogluon.core.metrics import accuracy, log_loss
from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection
from printing import Fused, print_scores
from scores import SMALLEST, judged
from sklearn.linear_model import LogisticRegression


def weighted(weights: np.ndarray) -> Fused:
    return lambda likely: np.tensordot(weights / weights.sum(), likely, 1)


def autogluon(size: int, metric: object) -> Callable[[np.ndarray, np.ndarray], Fused]:
    def fit(likely: np.ndarray, labels: np.ndarray) -> Fused:
        kind = "multiclass" if likely.shape[2] > 2 else "binary"
        found = EnsembleSelection(size, kind, metric, random_state=np.random.RandomState(0))
        # Of two classes AutoGluon takes the probability of the second.
        given = list(likely) if kind == "multiclass" else [member[:, 1] for member in likely]
        return weighted(np.asarray(found.fit(given, labels).weights_))

    return fit


def alone(scores: Callable[[np.ndarray, np.ndarray], np.ndarray], best: int) -> Callable[..., Fused]:
    """The mean of the members that are best alone."""

    def fit(likely: np.ndarray, labels: np.ndarray) -> Fused:
        chosen = np.argsort(-scores(likely, labels), kind="stable")[:best]
        return lambda outputs: outputs[chosen].mean(axis=0)

    return fit


def accuracies(likely: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return (likely.argmax(axis=2) == labels).mean(axis=1)


def log_likelihoods(likely: np.ndarray, labels: np.ndarray) -> np.ndarray:
    of_label = likely[:, np.arange(len(labels)), labels]
    return np.log(np.maximum(of_label, SMALLEST)).mean(axis=1)


def logistic_stacking(likely: np.ndarray, labels: np.ndarray) -> Fused:
    """scikit-learn's StackingClassifier with its default final estimator, on predictions that are there."""

    def features(outputs: np.ndarray) -> np.ndarray:
        kept = outputs if outputs.shape[2] > 2 else outputs[:, :, 1:]
        return kept.transpose(1, 0, 2).reshape(outputs.shape[1], -1)

    final = LogisticRegression(max_iter=1000).fit(features(likely), labels)

    def fused(outputs: np.ndarray) -> np.ndarray:
        whole = np.zeros(outputs.shape[1:])
        whole[:, final.classes_] = final.predict_proba(features(outputs))
        return whole

    return fused


def hill_climbing(likely: np.ndarray, labels: np.ndarray) -> Fused:
    """From the best member, repeatedly the member and the weight from -0.5 to 0.5 in steps of 0.01 that add most
    accuracy, as notebooks do it."""
    steps = np.round(np.arange(-0.5, 0.51, 0.01), 2)
    weights = np.zeros(len(likely))
    weights[accuracies(likely, labels).argmax()] = 1.0
    fused = np.tensordot(weights, likely, 1)
    best = float((fused.argmax(axis=1) == labels).mean())
    while True:
        found = (best, -1, 0.0)
        for member in range(len(likely)):
            for step in steps:
                score = float((((1 - step) * fused + step * likely[member]).argmax(axis=1) == labels).mean())
                if score > found[0] + 1e-9:
                    found = (score, member, step)
        best, member, step = found
        if member < 0:
            break
        weights *= 1 - step
        weights[member] += step
        fused = (1 - step) * fused + step * likely[member]

    def apply(outputs: np.ndarray) -> np.ndarray:
        mixed = np.maximum(np.tensordot(weights, outputs, 1), SMALLEST)
        return mixed / mixed.sum(axis=1, keepdims=True)

    return apply


def cma_es(likely: np.ndarray, labels: np.ndarray) -> Fused:
    """CMA-ES over the members' softmax-ed weights, for accuracy."""
    flat = likely.reshape(len(likely), -1).astype(np.float32)

    def weights(x: np.ndarray) -> np.ndarray:
        return np.exp(x - x.max()) / np.exp(x - x.max()).sum()

    def loss(x: np.ndarray) -> float:
        fused = (weights(x).astype(np.float32) @ flat).reshape(likely.shape[1:])
        return -float((fused.argmax(axis=1) == labels).mean())

    # As many evaluations as a small budget gives, the same on any machine.
    search = cma.CMAEvolutionStrategy(np.zeros(len(likely)), 1.0, {"seed": 1, "verbose": -9, "maxfevals": 3000})
    while not search.stop():
        asked = search.ask()
        search.tell(asked, [loss(x) for x in asked])
    return weighted(weights(np.asarray(search.result.xbest)))


PEERS: dict[str, Callable[[np.ndarray, np.ndarray], Fused]] = {
    "AutoGluon 25, accuracy": autogluon(25, accuracy),
    "AutoGluon 25, log-loss": autogluon(25, log_loss),
    "AutoGluon 100, accuracy": autogluon(100, accuracy),
    "AutoGluon 100, log-loss": autogluon(100, log_loss),
    "logistic stacking": logistic_stacking,
    "hill climbing": hill_climbing,
    "CMA-ES on the weights": cma_es,
    "mean of all": lambda likely, labels: lambda outputs: outputs.mean(axis=0),
    "mean of the best five": alone(accuracies, 5),
    "best single, accuracy": alone(accuracies, 1),
    "best single, log-loss": alone(log_likelihoods, 1),
}


if __name__ == "__main__":
    print_scores(PEERS, judged)
