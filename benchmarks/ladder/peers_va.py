"""What people would otherwise use on pools for valence and arousal, in an environment of its own; as `peers`."""

from collections.abc import Callable

import cma
import numpy as np
from autogluon.core.metrics import root_mean_squared_error
from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection
from printing import Fused, print_scores
from scipy.optimize import nnls
from scores import concordances, judged_va
from sklearn.linear_model import RidgeCV


def weighted(weights: np.ndarray) -> Fused:
    return lambda predicted: np.tensordot(weights / weights.sum(), predicted, 1)


def autogluon(size: int) -> Callable[[np.ndarray, np.ndarray], Fused]:
    def fit(predicted: np.ndarray, targets: np.ndarray) -> Fused:
        metric, state = root_mean_squared_error, np.random.RandomState(0)
        found = EnsembleSelection(size, "regression", metric, random_state=state)
        return weighted(np.asarray(found.fit([one.ravel() for one in predicted], targets.ravel()).weights_))

    return fit


def ridge_stacking(predicted: np.ndarray, targets: np.ndarray) -> Fused:
    """scikit-learn's StackingRegressor with its default final estimator, one for each target."""
    finals = [RidgeCV().fit(predicted[:, :, one].T, targets[:, one]) for one in (0, 1)]
    return lambda others: np.stack([final.predict(others[:, :, one].T) for one, final in enumerate(finals)], axis=1)


def non_negative(predicted: np.ndarray, targets: np.ndarray) -> Fused:
    return weighted(nnls(predicted.reshape(len(predicted), -1).T, targets.ravel())[0])


def cma_es(predicted: np.ndarray, targets: np.ndarray) -> Fused:
    """CMA-ES over the members' softmax-ed weights, for CCC."""

    def weights(x: np.ndarray) -> np.ndarray:
        return np.exp(x - x.max()) / np.exp(x - x.max()).sum()

    def loss(x: np.ndarray) -> float:
        return -float(concordances(np.tensordot(weights(x), predicted, 1), targets).mean())

    search = cma.CMAEvolutionStrategy(np.zeros(len(predicted)), 1.0, {"seed": 1, "verbose": -9, "maxfevals": 3000})
    while not search.stop():
        asked = search.ask()
        search.tell(asked, [loss(x) for x in asked])
    return weighted(weights(np.asarray(search.result.xbest)))


def alone(best: int) -> Callable[[np.ndarray, np.ndarray], Fused]:
    """The mean of the members of the highest CCC alone."""

    def fit(predicted: np.ndarray, targets: np.ndarray) -> Fused:
        scores = np.array([concordances(one, targets).mean() for one in predicted])
        chosen = np.argsort(-scores, kind="stable")[:best]
        return lambda others: others[chosen].mean(axis=0)

    return fit


PEERS: dict[str, Callable[[np.ndarray, np.ndarray], Fused]] = {
    "AutoGluon 25, RMSE": autogluon(25),
    "AutoGluon 100, RMSE": autogluon(100),
    "ridge stacking": ridge_stacking,
    "non-negative least squares": non_negative,
    "CMA-ES on the weights": cma_es,
    "mean of all": lambda predicted, targets: lambda others: others.mean(axis=0),
    "mean of the best five": alone(5),
    "best single": alone(1),
}


if __name__ == "__main__":
    print_scores(PEERS, judged_va)
