"""What the study compares, from the cached logits: every number of the page, with its interval."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.real_faces.trainings import PARAMETERS, SHARES, Study
from ig3d_ray.config.load import load_space
from ig3d_ray.data.samples import load_samples
from ig3d_ray.evaluation.bootstrap import Bootstrap, Interval, mcnemar
from ig3d_ray.evaluation.metrics import expression_statistics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion.combine import fuse, softmax
from ig3d_ray.fusion.pair_weight import best_weight
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split, Task
from ig3d_ray.workflow.inventory import load_pools, take_inventory

MLP = f"mlp3d-{PARAMETERS}-{{}}-ce-w256-s{{}}"
CNN = "cnn-w{}-ce-s{}"
INTERMEDIATE = f"intermediate-cnn-w32-{PARAMETERS}-full-ce-s{{}}"
TIMM = "timm-resnet10t-ce-i48-s{}"
YAWS = (0, 15, 30, 91)
"""Degrees that the head is turned to a side."""


@dataclass(frozen=True)
class Compared:
    """A fusion or member on the test faces.

    Attributes:
        name: in tables.
        accuracy: with its interval.
        gain: over the 2D member; None for it itself.
        weight: of the 3D member, solved on dev; None where there is none.
    """

    name: str
    accuracy: Interval
    gain: Interval | None = None
    weight: float | None = None


@dataclass(frozen=True)
class Pair:
    """A 2D and a 3D member on the test faces, and their fusions.

    Attributes:
        scores: name -> `[N, C]` class scores of the test faces.
        weight: of the 3D member in the weighted sum of logits, solved on dev.
    """

    scores: dict[str, np.ndarray]
    weight: float


@dataclass(frozen=True)
class Faces:
    """The dev and test faces of a data set with all members' outputs.

    Attributes:
        pools: dev and test.
        storage: where they are from.
    """

    pools: dict[Split, Pool]
    storage: Path

    @classmethod
    def of(cls, storage: Path, space_file: Path) -> "Faces":
        """Read a storage after its run.

        Args:
            storage: with the members.
            space_file: the search space of the run.
        """
        store, space = Store(str(storage)), load_space(space_file)
        pools, _ = load_pools(store, space, take_inventory(store, space).usable(space.protocol.splits))
        return cls(pools, storage)

    @property
    def test(self) -> Pool:
        """The faces that are reported on."""
        return self.pools["test"]

    def bootstrap(self, seed: int = 0) -> Bootstrap:
        """Resamples of the test faces, copies of one photograph together."""
        return Bootstrap.of(Task.EXPRESSION, self.test.labels, seed, groups=self.test.groups)

    def pair(self, member_2d: str, member_3d: str) -> Pair:
        """Fuse two members: maximum, mean, and the weighted sum whose weight is best on dev."""
        dev, test = (self.pools[split].outputs_of([member_2d, member_3d]) for split in ("dev", "test"))
        weight = best_weight(Task.EXPRESSION, dev[0], dev[1], self.pools["dev"].labels, "accuracy").weight
        likely = softmax(test.astype(np.float64))
        fusions = {
            "2D": test[0],
            "3D": test[1],
            "max": fuse("max", test),
            "mean": fuse("mean", test),
            "mean of probabilities": fuse("mean", likely),
            "weighted": fuse("weighted", test, np.array([1 - weight, weight])),
        }
        return Pair(fusions, weight)

    def hits(self, scores: np.ndarray) -> np.ndarray:
        """Per-sample statistics, `[N, S]`."""
        return expression_statistics(scores, self.test.labels)


def compare(faces: Faces, pairs: Sequence[Pair], others: dict[str, Sequence[np.ndarray]]) -> list[Compared]:
    """Members and fusions, each averaged over the seeds, against the 2D members of the same seeds.

    Args:
        faces: of the test set.
        pairs: one per seed.
        others: name -> scores `[N, C]` per seed.
    """
    bootstrap = faces.bootstrap()
    scores = {name: [pair.scores[name] for pair in pairs] for name in pairs[0].scores} | others
    mean = {name: np.mean([faces.hits(one) for one in some], axis=0) for name, some in scores.items()}
    weight = float(np.mean([pair.weight for pair in pairs]))
    return [
        Compared(
            name,
            bootstrap.intervals(statistics)["accuracy"],
            None if name == "2D" else bootstrap.gain(statistics, mean["2D"], "accuracy"),
            weight if name == "weighted" else None,
        )
        for name, statistics in mean.items()
    ]


@dataclass(frozen=True)
class Point:
    """A 2D member with and without a 3D member.

    Attributes:
        name: of the 2D member, or of the share of training faces.
        faces: training faces.
        alone: accuracy of the 2D member.
        face3d: accuracy of the 3D member.
        fused: accuracy of their weighted sum.
        gain: over the 2D member.
        weight: of the 3D member.
    """

    name: str
    faces: int
    alone: Interval
    face3d: Interval
    fused: Interval
    gain: Interval
    weight: float


def point(faces: Faces, member_2d: str, member_3d: str, name: str) -> Point:
    """One 2D member with one 3D member."""
    pair, bootstrap = faces.pair(member_2d, member_3d), faces.bootstrap()
    alone, face3d, fused = (faces.hits(pair.scores[one]) for one in ("2D", "3D", "weighted"))
    of = (bootstrap.intervals(one)["accuracy"] for one in (alone, face3d, fused))
    trained = load_samples(Store(str(faces.storage)), "fer2013", only=()).in_split("train")
    return Point(name, len(trained), *of, bootstrap.gain(fused, alone, "accuracy"), pair.weight)


def by_strength(faces: Faces, seeds: Sequence[int]) -> list[Point]:
    """Every 2D member with the 3D classifier on all parameters, the weakest first."""
    members = [CNN.format(width, seed) for width in (16, 32) for seed in seeds] + [TIMM.format(seeds[0])]
    of_seed = [*seeds, *seeds, seeds[0]]
    found = [point(faces, name, MLP.format("full", seed), name) for name, seed in zip(members, of_seed, strict=True)]
    return sorted(found, key=lambda one: one.alone.value)


def by_faces(study: Study, faces: Faces, small: Path, seed: int) -> list[Point]:
    """The same two members trained on shares of the training faces and on all."""
    names = CNN.format(32, seed), MLP.format("full", seed)
    parts = [point(Faces.of(study.part(share), small), *names, f"{share:.0%}") for share in SHARES]
    return [*parts, point(faces, *names, "100 %")]


@dataclass(frozen=True)
class Change:
    """Of some test faces: which ones fusion fixes, and which it breaks.

    Attributes:
        name: of the faces.
        n: how many.
        alone: accuracy of the 2D member.
        face3d: accuracy of the 3D member.
        fused: accuracy of the weighted sum.
        fixed: wrong in 2D, right after fusion.
        broken: right in 2D, wrong after fusion.
    """

    name: str
    n: int
    alone: float
    face3d: float
    fused: float
    fixed: int
    broken: int


def changes(faces: Faces, pair: Pair, parts: dict[str, np.ndarray]) -> list[Change]:
    """What fusion changes on parts of the test faces.

    Args:
        faces: of the test set.
        pair: whose fusion.
        parts: name -> `[N]` bool.
    """
    right = {name: scores.argmax(axis=1) == faces.test.labels for name, scores in pair.scores.items()}
    alone, face3d, fused = right["2D"], right["3D"], right["weighted"]
    return [
        Change(
            name,
            int(rows.sum()),
            *(float(one[rows].mean()) for one in (alone, face3d, fused)),
            int((~alone & fused)[rows].sum()),
            int((alone & ~fused)[rows].sum()),
        )
        for name, rows in parts.items()
        if rows.any()
    ]


def yaw_parts(faces: Faces) -> dict[str, np.ndarray]:
    """The test faces by how far the head is turned to a side, by 3DDFA_V2's rotation, which it gives scaled."""
    samples = load_samples(Store(str(faces.storage)), "fer2013").in_split("test")
    rows = {sample_id: row for row, sample_id in enumerate(samples.ids.tolist())}
    pose = samples.params(PARAMETERS)[[rows[one] for one in faces.test.ids.tolist()], :12].reshape(-1, 3, 4)
    third = np.cross(pose[:, 0, :3], pose[:, 1, :3])
    yaw = np.degrees(np.arcsin(np.abs(third[:, 0]) / np.linalg.norm(third, axis=1)))
    return {f"{low} to {high}": (yaw >= low) & (yaw < high) for low, high in itertools.pairwise(YAWS)}


def confidence_parts(pair: Pair) -> dict[str, np.ndarray]:
    """Quarters of the test faces by the highest probability of the 2D member."""
    top = softmax(pair.scores["2D"].astype(np.float64)).max(axis=1)
    edges = np.quantile(top, [0.25, 0.5, 0.75])
    quarter = np.searchsorted(edges, top)
    ends = [0.0, *edges.tolist(), 1.0]
    return {f"{ends[k]:.2f} to {ends[k + 1]:.2f}": quarter == k for k in range(4)}


def confusion_change(faces: Faces, pair: Pair) -> np.ndarray:
    """Predictions of the weighted sum less those of the 2D member, `[C, C]` int: label, prediction."""
    labels, classes = faces.test.labels, pair.scores["2D"].shape[1]
    counts = np.zeros((2, classes, classes), dtype=np.int64)
    for which, name in enumerate(("2D", "weighted")):
        np.add.at(counts[which], (labels, pair.scores[name].argmax(axis=1)), 1)
    return np.asarray(counts[1] - counts[0])


@dataclass(frozen=True)
class Flattery:
    """What duplicates do to the numbers of one data set.

    Attributes:
        treatment: of the duplicates.
        point: the two members on its test faces.
        leaked: test faces with a copy among the training faces.
        on_leaked: accuracy of the 2D member, the 3D member and their fusion on these.
        on_others: the same on the other test faces.
    """

    treatment: str
    point: Point
    leaked: int
    on_leaked: tuple[float, float, float]
    on_others: tuple[float, float, float]


def flattery(study: Study, small: Path, treatment: str, copies: Sequence[tuple[str, str]], seed: int) -> Flattery:
    """The data set with its duplicates, treated in one way.

    Args:
        study: of which.
        small: the search space of its two members.
        treatment: keep or together.
        copies: pairs of sample ids that are copies.
        seed: of the members.
    """
    faces = Faces.of(study.copies(treatment), small)
    names = CNN.format(32, seed), MLP.format("full", seed)
    trained = set(load_samples(Store(str(faces.storage)), "fer2013", only=()).in_split("train").ids.tolist())
    leaked_ids = {a for a, b in copies if b in trained} | {b for a, b in copies if a in trained}
    leaked = np.isin(faces.test.ids, list(leaked_ids))
    pair = faces.pair(*names)
    right = [pair.scores[name].argmax(axis=1) == faces.test.labels for name in ("2D", "3D", "weighted")]

    def accuracies(rows: np.ndarray) -> tuple[float, float, float]:
        two, three, fused = (float(one[rows].mean()) if rows.any() else float("nan") for one in right)
        return two, three, fused

    return Flattery(
        treatment, point(faces, *names, treatment), int(leaked.sum()), accuracies(leaked), accuracies(~leaked)
    )


def verdict(faces: Faces, pair: Pair) -> float:
    """McNemar's p of the weighted sum against the 2D member."""
    right = [pair.scores[name].argmax(axis=1) == faces.test.labels for name in ("weighted", "2D")]
    return mcnemar(right[0], right[1], faces.test.groups).p
