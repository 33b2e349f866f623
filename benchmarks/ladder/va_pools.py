"""Pools for valence and arousal: regressors of seven kinds, trained like the classifiers of `pools`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.base import RegressorMixin, clone
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from benchmarks.ladder.pools import FOLDS, Data, LadderPool, Make, Rung, drawn, kept, outputs_of

KINDS = ("ridge", "neighbours", "tree", "forest", "extra trees", "boosting", "perceptron")


def va_rungs() -> list[Rung]:
    """The data sets: two targets in [-1, 1] each."""
    return [
        Rung("valence-arousal, drawn faces, 500", 500, _drawn_faces(0.0), 16),
        Rung("valence-arousal, drawn faces, 2,000", 2000, _drawn_faces(0.0), 16),
        Rung("valence-arousal, drawn faces, noisy labels, 1,000", 1000, _drawn_faces(0.3), 16),
        Rung("valence-arousal, linear, 400", 400, _linear, 16),
        Rung("valence-arousal, friedman 1 and 2, 2,000", 2000, _friedman, 16),
        Rung("valence-arousal, digits, 900", 900, _digits, 16),
    ]


def _drawn_faces(noise: float) -> Make:
    def make(rng: np.random.Generator, samples: int) -> Data:
        from benchmarks.ladder.faces import va_of_drawn_faces

        features, targets = va_of_drawn_faces(samples, int(rng.integers(2**31)))
        return features, np.clip(targets + noise * rng.standard_normal(targets.shape), -1, 1)

    return make


def _linear(rng: np.random.Generator, samples: int) -> Data:
    features, targets = datasets.make_regression(
        samples, 20, n_informative=8, n_targets=2, noise=60.0, random_state=int(rng.integers(2**31))
    )
    return features, _squashed(targets)


def _friedman(rng: np.random.Generator, samples: int) -> Data:
    features = rng.random((samples, 10))
    first = 10 * np.sin(np.pi * features[:, 0] * features[:, 1]) + 20 * (features[:, 2] - 0.5) ** 2
    first += 10 * features[:, 3] + 5 * features[:, 4]
    second = np.sqrt(features[:, 5] ** 2 + (features[:, 6] * features[:, 7] - 0.3) ** 2)
    noise = rng.standard_normal((samples, 2)) * np.array([4.0, 0.3])
    return features, _squashed(np.stack([first, second], axis=1) + noise)


def _digits(rng: np.random.Generator, samples: int) -> Data:
    """How large the digit is, and how round, from a fifth of the pixels."""
    features, labels = datasets.load_digits(return_X_y=True)
    loops = np.array([1, 0, 0, 0, 0.5, 0, 1, 0, 2, 1])[labels]
    targets = np.stack([labels / 4.5 - 1, loops - 1], axis=1) + 0.2 * rng.standard_normal((len(labels), 2))
    return features[:, np.sort(rng.permutation(64)[:12])], np.clip(targets, -1, 1)


def _squashed(targets: np.ndarray) -> np.ndarray:
    return np.tanh((targets - targets.mean(axis=0)) / targets.std(axis=0) / 1.5)


def make_va_pool(rung: Rung, seed: int) -> LadderPool:
    """The pool of a data set, of predictions `[M, N, 2]` in [-1, 1].

    Args:
        rung: the data set.
        seed: of data, members and folds.
    """
    rng = np.random.default_rng([seed, *rung.name.encode()])
    features, targets, fit, fresh = drawn(rung, rng)
    folds = list(KFold(FOLDS, shuffle=True, random_state=seed).split(fit))
    members = [_member(rng, KINDS[i % len(KINDS)], features.shape[1]) for i in range(rung.members)]
    outputs = [outputs_of(member, features, targets, fit, fresh, folds, 2) for member in members]
    fits, freshes = (np.stack(of) for of in zip(*outputs, strict=True))
    kinds = tuple(member.kind for member in members)
    return LadderPool(rung.name, fits, targets[fit], freshes, targets[fresh], kinds)


@dataclass(frozen=True)
class _Member:
    kind: str
    model: RegressorMixin
    features: np.ndarray
    factor: float
    shift: float

    def trained(self, features: np.ndarray, targets: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Predictions `[N', 2]` of other samples after training on some."""
        model = clone(self.model).fit(features[:, self.features], targets)
        return np.clip(self.factor * model.predict(others[:, self.features]) + self.shift, -1, 1)


def _member(rng: np.random.Generator, kind: str, features: int) -> _Member:
    # One in nine knows next to nothing, and some predict too little or too much of the range.
    share = 0.1 if rng.random() < 1 / 9 else rng.uniform(0.5, 1.0)
    seen = np.sort(rng.permutation(features)[: max(1, round(share * features))])
    factor, shift = float(rng.choice([1.0, 1.0, 0.6, 1.4])), float(rng.choice([0.0, 0.0, 0.15]))
    return _Member(kind, _model(rng, kind), seen, factor, shift)


def _model(rng: np.random.Generator, kind: str) -> RegressorMixin:
    seed = int(rng.integers(2**31))
    if kind == "ridge":
        return make_pipeline(StandardScaler(), Ridge(float(10 ** rng.uniform(-2, 4))))
    if kind == "neighbours":
        return make_pipeline(StandardScaler(), KNeighborsRegressor(int(rng.choice([1, 3, 7, 15, 40]))))
    if kind == "tree":
        return DecisionTreeRegressor(max_depth=int(rng.choice([3, 6, 12])), random_state=seed)
    if kind in ("forest", "extra trees"):
        forest = RandomForestRegressor if kind == "forest" else ExtraTreesRegressor
        return forest(int(rng.choice([20, 40])), min_samples_leaf=int(rng.choice([1, 3, 10])), random_state=seed)
    if kind == "boosting":
        return MultiOutputRegressor(
            HistGradientBoostingRegressor(max_iter=int(rng.choice([20, 60])), random_state=seed)
        )
    hidden = (int(rng.choice([16, 64])),)
    return make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=hidden, max_iter=60, early_stopping=True, random_state=seed)
    )


def va_stored(rung: Rung, seed: int, folder: Path) -> tuple[LadderPool, Path]:
    """The pool of a data set, from a folder where it was made before, and its file."""
    return kept(rung, seed, folder, make_va_pool)
