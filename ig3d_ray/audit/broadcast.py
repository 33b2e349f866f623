"""How one sample's logits, broadcast over a batch of class-ordered samples, inflate the reported accuracy.

The published RAF-DB fusion with EMOCA indexed the 3D network's output with [0], which on a tensor is the first sample
of the batch; and it read the test images folder by folder, class after class. So each batch of 128 was fused with one
3D prediction that was mostly right about the class of all of them.
"""

from dataclasses import dataclass

import numpy as np

from ig3d_ray.fusion import pair_weight
from ig3d_ray.fusion.combine import Strategy, fuse

CLASS_COUNTS = (329, 74, 160, 1185, 478, 162, 680)
"""RAF-DB's test set, in the order of its classes: 3,068 images."""
BATCH = 128
ACCURACY_2D, ACCURACY_3D = 2766 / 3068, 2432 / 3068
"""DDAMFN, and the paper's 3D classifier on EMOCA's parameters."""
PUBLISHED: dict[Strategy, float] = {"weighted": 0.9400, "mean": 0.9130, "max": 0.8941}
WEIGHT_3D = 0.35
SURE_3D, CORRELATION = 1.1, 0.6
"""How large the 3D member's logits are beside the 2D member's, and how much of their errors they share. The published
logits are not known; with these two numbers the faulty code approximates all three published accuracies."""


@dataclass(frozen=True)
class Study:
    """Mean accuracies over the draws, and their standard deviations.

    Attributes:
        single: accuracy of the 2D and of the 3D member alone.
        honest: by strategy: fused sample by sample; by the published code on class-ordered
            batches; by the same code on shuffled samples. Each (mean, standard deviation).
        ordered: by the published code on class-ordered samples.
        shuffled: by the published code on shuffled samples.
        solved: the best 3D weight for honest fusion and its accuracy, chosen on half of the samples and
            reported on the other half.
    """

    single: tuple[float, float]
    honest: dict[Strategy, tuple[float, float]]
    ordered: dict[Strategy, tuple[float, float]]
    shuffled: dict[Strategy, tuple[float, float]]
    solved: tuple[float, float]


def members(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits `[N, 7]` of a 2D and a 3D member of the published accuracies, and labels `[N]` in class order.

    Gaussian; each member's signal is found by bisection on the same samples.
    """
    labels = np.repeat(np.arange(7), CLASS_COUNTS)
    shared, both = rng.standard_normal((len(labels), 7)), []
    for accuracy, size in ((ACCURACY_2D, 1.0), (ACCURACY_3D, SURE_3D)):
        own = rng.standard_normal((len(labels), 7))
        noise = CORRELATION**0.5 * shared + (1 - CORRELATION) ** 0.5 * own
        low, high = 0.0, 10.0
        for _ in range(50):
            strength = 0.5 * (low + high)
            right = ((noise + strength * np.eye(7)[labels]).argmax(axis=1) == labels).mean()
            low, high = (strength, high) if right < accuracy - 1e-9 else (low, strength)
        both.append(size * (noise + high * np.eye(7)[labels]))
    return both[0], both[1], labels


def published_fusion(strategy: Strategy, first_NC: np.ndarray, second_NC: np.ndarray, batch: int = BATCH) -> np.ndarray:
    """Fusion as the published code does it: the first row of each batch of the second member is used for all.

    For this study only: everything else in this package matches rows by their id.
    """
    fused = []
    for start in range(0, len(first_NC), batch):
        rows = first_NC[start : start + batch]
        repeated = np.repeat(second_NC[start : start + 1], len(rows), axis=0)
        fused.append(_fuse(strategy, rows, repeated))
    return np.concatenate(fused)


def _fuse(strategy: Strategy, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    weights = np.array([1 - WEIGHT_3D, WEIGHT_3D]) if strategy == "weighted" else None
    return fuse(strategy, np.stack([first, second]), weights)


def broadcast_study(draws: int = 20, seed: int = 0) -> Study:
    """Run the study: members are drawn a given number of times and fused in three ways."""
    names: tuple[Strategy, ...] = ("weighted", "mean", "max")
    found: dict[str, dict[Strategy, list[float]]] = {
        how: {name: [] for name in names} for how in ("honest", "ordered", "shuffled")
    }
    single, solved = [], []
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        first, second, labels = members(rng)
        order, half = rng.permutation(len(labels)), rng.permutation(len(labels))
        single.append([float((one.argmax(axis=1) == labels).mean()) for one in (first, second)])
        for name in names:
            for how, fused, truth in (
                ("honest", _fuse(name, first, second), labels),
                ("ordered", published_fusion(name, first, second), labels),
                ("shuffled", published_fusion(name, first[order], second[order]), labels[order]),
            ):
                found[how][name].append(float((fused.argmax(axis=1) == truth).mean()))
        choose, report = np.array_split(half, 2)
        best = pair_weight.expression_steps(first[choose], second[choose], labels[choose]).best()
        fused = (1 - best.weight) * first[report] + best.weight * second[report]
        solved.append([best.weight, float((fused.argmax(axis=1) == labels[report]).mean())])

    def spread(how: str) -> dict[Strategy, tuple[float, float]]:
        return {name: (float(np.mean(values)), float(np.std(values))) for name, values in found[how].items()}

    one, other = np.mean(single, axis=0)
    weight, accuracy = np.mean(solved, axis=0)
    return Study(
        (float(one), float(other)),
        spread("honest"),
        spread("ordered"),
        spread("shuffled"),
        (float(weight), float(accuracy)),
    )
