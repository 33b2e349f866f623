"""A neutral comparison of tools: the same faces and classes, intervals, pairwise verdicts, and their best fusion."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ig3d_ray.data.ids import match_ids, unlike
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.bootstrap import Bootstrap, Interval, mcnemar
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.importing.labels import Truth
from ig3d_ray.importing.reading import Predictions, Reading
from ig3d_ray.importing.tables import read_predictions
from ig3d_ray.search.estimator import LateFusion
from ig3d_ray.types import Task

METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
LEVEL = 0.05
FEWEST_FOR_FUSION = 40


@dataclass(frozen=True)
class ToolScores:
    """One tool's scores.

    Attributes:
        name: of the tool's file.
        found: labeled faces for which it has a prediction.
        on_common: metric -> score on the faces that every tool found.
        on_all: metric -> score on all labeled faces; a face that was not found counts as wrong.
        notes: on reading the file.
    """

    name: str
    found: int
    on_common: dict[str, Interval]
    on_all: dict[str, Interval]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PairVerdict:
    """Whether one tool is better than another on the faces that every tool found.

    Attributes:
        better: the tool with the higher accuracy.
        worse: the other one.
        gain: paired difference of the accuracies.
        p: McNemar's exact test, adjusted for the number of pairs (Holm 1979).
    """

    better: str
    worse: str
    gain: Interval
    p: float

    @property
    def is_certain(self) -> bool:
        """Whether the interval and the adjusted test both exclude that there is no difference."""
        return self.gain.low > 0 and self.p < LEVEL


@dataclass(frozen=True)
class Comparison:
    """Tools compared on the same faces.

    Attributes:
        classes: that every tool and the labels have.
        faces: labeled faces of these classes.
        common: of them, those that every tool found.
        dropped: faces of other classes, by class.
        tools: best first, by accuracy on the common faces.
        pairs: of the best tool and each other one, then of the others.
        fusion: cross-fitted accuracy of the best fusion, and its paired gain over the best tool; None if too few faces.
        members: of the fusion.
    """

    classes: tuple[str, ...]
    faces: int
    common: int
    dropped: dict[str, int]
    tools: tuple[ToolScores, ...]
    pairs: tuple[PairVerdict, ...]
    fusion: tuple[Interval, Interval] | None
    members: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Which tool is best, and whether that is certain."""
        best = self.tools[0]
        against = [pair for pair in self.pairs if best.name in (pair.better, pair.worse)]
        unsure = [pair.worse if pair.better == best.name else pair.better for pair in against if not pair.is_certain]
        score = f"{best.on_common['accuracy'].value:.4f} accuracy on the {self.common} faces that all found"
        if not against:
            return f"{best.name} has {score}; there is nothing to compare it with."
        if not unsure:
            return f"{best.name} is the best, with {score}; that is certain (each p < {LEVEL}, adjusted)."
        return f"{best.name} has the highest score, {score}; that it is better than {', '.join(unsure)} is not certain."


def compare(files: Mapping[str, Path], truth: Truth, reading: Reading | None = None, seed: int = 0) -> Comparison:
    """Compare tools on the same labeled faces.

    Args:
        files: tool -> its output.
        truth: the true classes.
        reading: what can't be found out about the files.
        seed: of the bootstrap and the folds.

    Raises:
        Ig3dError: a file can't be read, none of its ids is known, or no face is common to all.
    """
    read = {name: read_predictions(file, truth.about, reading or Reading()) for name, file in files.items()}
    for name, one in read.items():
        if one.logits is None:
            raise Ig3dError(f"{files[name]}: has no class scores; expressions are compared")
    kept = [i for i in range(truth.about.width) if not any(i in one.absent for one in read.values())]
    if len(kept) < 2:
        raise Ig3dError(f"the tools have fewer than two classes in common of {', '.join(truth.about.class_names)}")
    inside = np.isin(truth.labels, kept)
    ids, labels = truth.ids[inside], np.searchsorted(kept, truth.labels[inside])
    scores = {name: _scores_of(one, ids, kept, files[name]) for name, one in read.items()}
    there = {name: ~np.isnan(values).any(axis=1) for name, values in scores.items()}
    common = np.all(list(there.values()), axis=0)
    if common.sum() < 2:
        raise Ig3dError(f"{int(common.sum())} labeled faces are common to all {len(files)} files; check their ids")
    tools = _tools(read, scores, there, common, labels, seed)
    dropped = {
        truth.about.class_names[i]: int((truth.labels == i).sum())
        for i in range(truth.about.width)
        if i not in kept and (truth.labels == i).any()
    }
    pairs = _pairs([tool.name for tool in tools], scores, common, labels, seed)
    fusion, members = _fusion(scores, ids, common, labels, seed)
    return Comparison(
        classes=tuple(truth.about.class_names[i] for i in kept),
        faces=len(ids),
        common=int(common.sum()),
        dropped=dropped,
        tools=tuple(tools),
        pairs=tuple(pairs),
        fusion=fusion,
        members=members,
    )


def _scores_of(read: Predictions, ids: np.ndarray, kept: Sequence[int], file: Path) -> np.ndarray:
    """A tool's scores of the labeled faces, `[N, K]`; NaN where it has none."""
    match = match_ids(read.ids, ids)
    if (match.place < 0).all():
        raise Ig3dError(f"{file}: none of its ids is among the labels': {unlike(ids, read.ids)}; check --id-column")
    scores = np.full((len(ids), len(kept)), np.nan)
    found = match.place >= 0
    if read.logits is not None:
        scores[found] = read.logits[match.place[found]][:, kept]
    return scores


def _statistics(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Per-sample statistics; a face without a prediction, or without any preference, counts as wrong."""
    classes = scores.shape[1]
    filled = np.nan_to_num(scores)
    statistics = metrics.expression_statistics(filled, labels)
    none = np.isnan(scores).any(axis=1) | (filled.max(axis=1) == filled.min(axis=1))
    statistics[none, :classes] = 0.0
    statistics[none, 2 * classes :] = 0.0
    return statistics


def _tools(
    read: Mapping[str, Predictions],
    scores: Mapping[str, np.ndarray],
    there: Mapping[str, np.ndarray],
    common: np.ndarray,
    labels: np.ndarray,
    seed: int,
) -> list[ToolScores]:
    on_common = Bootstrap.of(Task.EXPRESSION, labels[common], seed)
    on_all = Bootstrap.of(Task.EXPRESSION, labels, seed)
    tools = []
    for name, values in scores.items():
        both = (
            on_common.intervals(_statistics(values[common], labels[common])),
            on_all.intervals(_statistics(values, labels)),
        )
        some, every = ({metric: found[metric] for metric in METRICS} for found in both)
        tools.append(ToolScores(name, int(there[name].sum()), some, every, read[name].notes))
    return sorted(tools, key=lambda tool: -tool.on_common["accuracy"].value)


def _pairs(
    names: Sequence[str], scores: Mapping[str, np.ndarray], common: np.ndarray, labels: np.ndarray, seed: int
) -> list[PairVerdict]:
    bootstrap, classes = Bootstrap.of(Task.EXPRESSION, labels[common], seed), next(iter(scores.values())).shape[1]
    statistics = {name: _statistics(scores[name][common], labels[common]) for name in names}
    right = {name: one[:, :classes].sum(axis=1) > 0 for name, one in statistics.items()}
    found = []
    for better, worse in itertools.combinations(names, 2):
        gain = bootstrap.gain(statistics[better], statistics[worse], "accuracy")
        found.append(PairVerdict(better, worse, gain, mcnemar(right[better], right[worse]).p))
    return _holm(found)


def _holm(pairs: list[PairVerdict]) -> list[PairVerdict]:
    """Adjusted for the number of pairs (Holm 1979): the smallest p times their number, the next times one less."""
    order = sorted(range(len(pairs)), key=lambda i: pairs[i].p)
    adjusted, largest = {}, 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, pairs[index].p * (len(pairs) - rank)))
        adjusted[index] = largest
    return [replace(pair, p=adjusted[index]) for index, pair in enumerate(pairs)]


def _fusion(
    scores: Mapping[str, np.ndarray], ids: np.ndarray, common: np.ndarray, labels: np.ndarray, seed: int
) -> tuple[tuple[Interval, Interval] | None, tuple[str, ...]]:
    """The best fusion of the tools, cross-fitted on the faces that all found."""
    counts = np.bincount(labels[common])
    if len(scores) < 2 or common.sum() < FEWEST_FOR_FUSION or (counts[counts > 0] < 2).any():
        return None, ()
    names = tuple(scores)
    pool = Pool(
        dataset="faces",
        split="test",
        task=Task.EXPRESSION,
        names=names,
        fingerprints=names,
        views=("2d",) * len(names),
        ids=ids[common],
        outputs_MNC=np.stack([scores[name][common] for name in names]).astype(np.float32),
        labels=labels[common],
    )
    fitted = LateFusion("accuracy", budget=100, seed=seed).fit(pool)
    return (fitted.score_, fitted.gain_), fitted.members_
