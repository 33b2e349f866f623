"""Pools that nobody drew: models of ten kinds trained on data that scikit-learn ships or makes.

Of each data set some samples are for the ensembles to be fitted on, with the predictions of models that were trained
without them (five folds), and the others are to report on, with the predictions of models trained on all of the first.
Members differ in kind, settings and in which features they see. A few are overconfident, have their probabilities
rounded to two decimals, are copies of others, or know next to nothing: as in the pools that people bring.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from sklearn import datasets
from sklearn.base import ClassifierMixin, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

FOLDS = 5
FRESH = 4000
"""At most so many samples to report on, where data are made."""
Data = tuple[np.ndarray, np.ndarray]
Make = Callable[[np.random.Generator, int], Data]


@dataclass(frozen=True)
class Rung:
    """A data set of the ladder.

    Attributes:
        name: as in the table.
        samples: to fit the ensembles on.
        make: gives so many samples `[N, F]` and their classes `[N]`, or as many as there are.
        members: of its pool.
    """

    name: str
    samples: int
    make: Make
    members: int = 28


@dataclass(frozen=True)
class LadderPool:
    """Probabilities of members on samples to fit ensembles on, and on fresh ones.

    Attributes:
        name: of the data set.
        fit: `[M, N, C]` float64, as the models output them, zeros included; of models trained without the sample.
        fit_labels: `[N]`.
        fresh: `[M, N', C]`, of models trained on all samples to fit on.
        fresh_labels: `[N']`.
        kinds: of each member.
    """

    name: str
    fit: np.ndarray
    fit_labels: np.ndarray
    fresh: np.ndarray
    fresh_labels: np.ndarray
    kinds: tuple[str, ...]


def rungs(faces: Path | None = None) -> list[Rung]:
    """The data sets: 2 to 10 classes, 300 to 20,000 samples.

    Args:
        faces: a folder with FER2013's faces and their 3D parameters; None leaves out what is made of it.
    """
    made = [
        Rung("two classes, 300", 300, _classes(2, sep=0.8)),
        Rung("two classes, noisy labels, 2,000", 2000, _classes(2, sep=0.9, noise=0.15)),
        Rung("two classes, 1 to 9, 3,000", 3000, _classes(2, sep=0.7, weights=(0.9, 0.1))),
        Rung("three classes, 600", 600, _classes(3, sep=0.8)),
        Rung("three classes, 5,000", 5000, _classes(3, sep=0.6, noise=0.05)),
        Rung("four classes, few of the last, 1,500", 1500, _classes(4, sep=0.8, weights=(0.5, 0.3, 0.15, 0.05))),
        Rung("five classes, 1,000", 1000, _classes(5, sep=0.9)),
        Rung("five classes, noisy labels, 4,000", 4000, _classes(5, sep=1.0, noise=0.2)),
        Rung(
            "seven classes, imbalanced, 4,000", 4000, _classes(7, sep=0.9, weights=(0.38, 0.2, 0.15, 0.1, 0.08, 0.06))
        ),
        Rung("seven classes, 12,000", 12000, _classes(7, sep=0.7), 24),
        Rung("eight classes, 2,400", 2400, _classes(8, sep=1.0, noise=0.05)),
        Rung("eight classes, 20,000", 20000, _classes(8, sep=0.8, noise=0.1), 24),
        Rung("ten classes, 1,000", 1000, _classes(10, sep=1.2)),
        Rung("ten classes, 8,000", 8000, _classes(10, sep=0.9), 24),
        Rung("quantiles, three classes, 800", 800, _quantiles(3)),
        Rung("quantiles, six classes, 3,000", 3000, _quantiles(6)),
        Rung("hastie, 1,000", 1000, _hastie),
        Rung("moons, 400", 400, _moons),
        Rung("circles, 1,000", 1000, _circles),
        Rung("blobs, eight classes, 1,600", 1600, _blobs),
    ]
    shipped = [
        Rung("digits", 900, _digits(64)),
        Rung("digits, 8 pixels", 900, _digits(8)),
        Rung("digits, 12 pixels, noisy labels", 900, _digits(12, noise=0.1)),
        Rung("digits, imbalanced, 10 pixels", 700, _digits(10, imbalanced=True)),
        Rung("breast cancer", 300, _cancer),
        Rung("breast cancer, three features", 300, _few_of_cancer),
        Rung("drawn faces", 2000, _drawn_faces(0.0)),
        Rung("drawn faces, noisy labels", 1000, _drawn_faces(0.1)),
    ]
    real = [
        Rung("real faces, 2,000", 2000, _real_faces(faces), 20),
        Rung("real faces, 8,000", 8000, _real_faces(faces), 20),
    ]
    return made + shipped + (real if faces is not None else [])


def _classes(classes: int, sep: float, noise: float = 0.0, weights: tuple[float, ...] | None = None) -> Make:
    def make(rng: np.random.Generator, samples: int) -> Data:
        features, labels = datasets.make_classification(
            samples,
            n_features=20,
            n_informative=8,
            n_redundant=4,
            n_classes=classes,
            weights=None if weights is None else list(weights),
            flip_y=noise,
            class_sep=sep,
            random_state=int(rng.integers(2**31)),
        )
        return features, labels

    return make


def _quantiles(classes: int) -> Make:
    def make(rng: np.random.Generator, samples: int) -> Data:
        features, labels = datasets.make_gaussian_quantiles(
            n_samples=samples, n_features=6, n_classes=classes, random_state=int(rng.integers(2**31))
        )
        return features + 0.4 * rng.standard_normal(features.shape), labels

    return make


def _hastie(rng: np.random.Generator, samples: int) -> Data:
    features, labels = datasets.make_hastie_10_2(samples, random_state=int(rng.integers(2**31)))
    return features, (labels > 0).astype(np.int64)


def _moons(rng: np.random.Generator, samples: int) -> Data:
    return datasets.make_moons(samples, noise=0.35, random_state=int(rng.integers(2**31)))


def _circles(rng: np.random.Generator, samples: int) -> Data:
    return datasets.make_circles(samples, noise=0.25, factor=0.6, random_state=int(rng.integers(2**31)))


def _blobs(rng: np.random.Generator, samples: int) -> Data:
    return datasets.make_blobs(samples, n_features=5, centers=8, cluster_std=5.0, random_state=int(rng.integers(2**31)))


def _digits(pixels: int, noise: float = 0.0, imbalanced: bool = False) -> Make:
    def make(rng: np.random.Generator, samples: int) -> Data:
        features, labels = datasets.load_digits(return_X_y=True)
        features = features[:, np.sort(rng.permutation(64)[:pixels])]
        if imbalanced:
            kept = rng.random(len(labels)) < np.linspace(1, 0.3, 10)[labels]
            features, labels = features[kept], labels[kept]
        return features, _with_noise(rng, labels, noise)

    return make


def _cancer(rng: np.random.Generator, samples: int) -> Data:
    return datasets.load_breast_cancer(return_X_y=True)


def _few_of_cancer(rng: np.random.Generator, samples: int) -> Data:
    features, labels = datasets.load_breast_cancer(return_X_y=True)
    return features[:, rng.permutation(features.shape[1])[:3]], labels


def _drawn_faces(noise: float) -> Make:
    def make(rng: np.random.Generator, samples: int) -> Data:
        from benchmarks.ladder.faces import features_of_drawn_faces

        features, labels = features_of_drawn_faces(samples, int(rng.integers(2**31)))
        return features, _with_noise(rng, labels, noise)

    return make


def _real_faces(folder: Path | None) -> Make:
    def make(rng: np.random.Generator, samples: int) -> Data:
        from benchmarks.ladder.faces import features_of_real_faces

        assert folder is not None
        return features_of_real_faces(folder, samples, int(rng.integers(2**31)))

    return make


def _with_noise(rng: np.random.Generator, labels: np.ndarray, noise: float) -> np.ndarray:
    wrong = rng.random(len(labels)) < noise
    return np.where(wrong, rng.integers(labels.max() + 1, size=len(labels)), labels)


def make_pool(rung: Rung, seed: int) -> LadderPool:
    """The pool of a data set.

    Args:
        rung: the data set.
        seed: of data, members and folds.
    """
    rng = np.random.default_rng([seed, *rung.name.encode()])
    features, labels, fit, fresh = drawn(rung, rng)
    classes = int(labels.max()) + 1
    members = _members(rng, rung.members, features.shape[1], classes)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(features[fit], labels[fit]))
    outputs = [outputs_of(member, features, labels, fit, fresh, folds, classes) for member in members]
    kinds = [member.kind for member in members]
    for copied in rng.permutation(len(members))[:2]:
        outputs.append(outputs[copied])
        kinds.append(f"{kinds[copied]}, again")
    fits, freshes = (np.stack(of) for of in zip(*outputs, strict=True))
    return LadderPool(rung.name, fits, labels[fit], freshes, labels[fresh], tuple(kinds))


def drawn(rung: Rung, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features and labels of a data set, and the samples to fit ensembles on, and to report on."""
    features, labels = rung.make(rng, rung.samples + FRESH)
    order = rng.permutation(len(labels))
    return features, labels, order[: rung.samples], order[rung.samples : rung.samples + FRESH]


class Member(Protocol):
    """A model that is not trained yet."""

    def trained(self, features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Outputs of other samples after training on some."""


def outputs_of(
    member: Member,
    features: np.ndarray,
    labels: np.ndarray,
    fit: np.ndarray,
    fresh: np.ndarray,
    folds: Iterable[tuple[np.ndarray, np.ndarray]],
    width: int,
) -> tuple[np.ndarray, np.ndarray]:
    """A member's outputs on the samples to fit on, trained without each, and on the fresh ones, trained on all."""
    held_out = np.zeros((len(fit), width))
    for train, rest in folds:
        held_out[rest] = member.trained(features[fit][train], labels[fit][train], features[fit][rest])
    return held_out, member.trained(features[fit], labels[fit], features[fresh])


@dataclass(frozen=True)
class _Member:
    kind: str
    model: ClassifierMixin
    features: np.ndarray
    classes: int
    power: float
    decimals: int | None

    def trained(self, features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Probabilities `[N', C]` of other samples after training on some."""
        model = clone(self.model).fit(features[:, self.features], labels)
        found = np.zeros((len(others), self.classes))
        found[:, model.classes_] = model.predict_proba(others[:, self.features])
        found = np.nan_to_num(found, nan=1.0) ** self.power
        found /= found.sum(axis=1, keepdims=True)
        if self.decimals is not None:
            found = np.round(found, self.decimals)
            found /= found.sum(axis=1, keepdims=True)
        return found


KINDS = ("logistic", "neighbours", "tree", "forest", "extra trees", "bayes", "boosting", "perceptron", "discriminant")


def _members(rng: np.random.Generator, count: int, features: int, classes: int) -> list[_Member]:
    members = []
    for i in range(count):
        kind = KINDS[i % len(KINDS)]
        # One in nine knows next to nothing; the others see half of the features or more.
        share = 0.1 if rng.random() < 1 / 9 else rng.uniform(0.5, 1.0)
        seen = np.sort(rng.permutation(features)[: max(1, round(share * features))])
        power = float(rng.choice([1.0, 1.0, 1.0, 3.0]))
        decimals = None if rng.random() < 0.85 else 2
        members.append(_Member(kind, _model(rng, kind), seen, classes, power, decimals))
    return members


def _model(rng: np.random.Generator, kind: str) -> ClassifierMixin:
    seed = int(rng.integers(2**31))
    if kind == "logistic":
        return make_pipeline(StandardScaler(), LogisticRegression(C=float(10 ** rng.uniform(-3, 2)), max_iter=300))
    if kind == "neighbours":
        return make_pipeline(StandardScaler(), KNeighborsClassifier(int(rng.choice([1, 3, 7, 15, 40]))))
    if kind == "tree":
        return DecisionTreeClassifier(max_depth=int(rng.choice([3, 6, 12, 40])), random_state=seed)
    if kind in ("forest", "extra trees"):
        forest = RandomForestClassifier if kind == "forest" else ExtraTreesClassifier
        leaf, trees = int(rng.choice([1, 1, 3, 10])), int(rng.choice([20, 60]))
        return forest(trees, min_samples_leaf=leaf, random_state=seed)
    if kind == "bayes":
        return GaussianNB(var_smoothing=float(10 ** rng.uniform(-9, -1)))
    if kind == "boosting":
        return HistGradientBoostingClassifier(
            max_iter=int(rng.choice([20, 60])), max_leaf_nodes=int(rng.choice([7, 15])), random_state=seed
        )
    if kind == "perceptron":
        hidden = (int(rng.choice([16, 64])),)
        return make_pipeline(
            StandardScaler(), MLPClassifier(hidden, max_iter=60, early_stopping=True, random_state=seed)
        )
    return make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())


def stored(rung: Rung, seed: int, folder: Path) -> tuple[LadderPool, Path]:
    """The pool of a data set, from a folder where it was made before, and its file."""
    return kept(rung, seed, folder, make_pool)


def kept(rung: Rung, seed: int, folder: Path, make: Callable[[Rung, int], LadderPool]) -> tuple[LadderPool, Path]:
    """A pool from a folder, made if it is not there, and its file.

    Args:
        rung: the data set.
        seed: of the pool.
        folder: of files.
        make: the pool of a data set and a seed.
    """
    file = folder / f"{seed}-{rung.name.replace(' ', '-').replace(',', '')}.npz"
    if not file.is_file():
        pool = make(rung, seed)
        folder.mkdir(parents=True, exist_ok=True)
        half = file.with_suffix(".partial.npz")
        np.savez(half, fit=pool.fit, fit_labels=pool.fit_labels, fresh=pool.fresh, fresh_labels=pool.fresh_labels,
                 kinds=np.array(pool.kinds))  # fmt: skip
        half.replace(file)
    with np.load(file) as arrays:
        fields = {name: arrays[name] for name in ("fit", "fit_labels", "fresh", "fresh_labels")}
        return LadderPool(rung.name, **fields, kinds=tuple(arrays["kinds"].tolist())), file
