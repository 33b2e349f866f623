"""Rates of the audit: right files of many kinds raise no alarm, and small exchanges of classes are found."""

from dataclasses import replace

import numpy as np
import pytest

from ig3d_ray.audit.chance import FALSE_ALARM, better_order, repeats
from ig3d_ray.audit.checks import Audited, check_all, check_one
from ig3d_ray.types import Task

NAMES = ("Surprise", "Fear", "Disgust", "Happy", "Sad", "Anger", "Neutral")
SHARES = np.array([329, 74, 160, 1185, 478, 162, 680]) / 3068
"""RAF-DB's test set."""


def drawn(seed: int, samples: int, strength: float = 1.6, order: str = "random") -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of a model."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, samples, p=SHARES)
    labels = np.sort(labels) if order == "sorted" else labels
    if order == "videos":
        labels = np.repeat(rng.choice(7, samples // 20 + 1, p=SHARES), 20)[:samples]
    return labels, strength * np.eye(7)[labels] + rng.standard_normal((samples, 7))


def softmax(logits: np.ndarray) -> np.ndarray:
    likely = np.exp(logits - logits.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)


def audited(labels: np.ndarray, outputs: np.ndarray) -> Audited:
    ids = np.array([f"f{i:05d}" for i in range(len(labels))])
    return Audited("m", Task.EXPRESSION, ids, False, outputs, labels, NAMES)


def logarithms(likely: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(likely, 1e-12))


def votes(seed: int, raters: int, samples: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = drawn(seed, samples)
    rng = np.random.default_rng(seed)
    return labels, logarithms(np.stack([rng.multinomial(raters, row) for row in softmax(3 * logits)]) / raters)


def rounded(seed: int, digits: int, order: str = "random", strength: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = drawn(seed, 1500, order=order)
    return labels, logarithms(np.round(softmax(strength * logits), digits))


def few_classes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = drawn(seed, 1500)
    # Only two classes have labels, and one is often taken for a third.
    kept = np.isin(labels, (3, 4))
    logits[:, 6] += 2.5 * (labels == 4)
    return labels[kept], logits[kept]


def one_class_too_often(seed: int) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = drawn(seed, 1500, strength=0.3)
    logits[:, 1] += 3.0
    return labels, logits


CLEAN = {
    "percentages of two decimals": lambda seed: rounded(seed, 4),
    "two decimals": lambda seed: rounded(seed, 2),
    "one decimal, sorted by class": lambda seed: rounded(seed, 1, "sorted"),
    "three raters": lambda seed: votes(seed, 3),
    "ten raters": lambda seed: votes(seed, 10),
    "half precision": lambda seed: (lambda y, x: (y, x.astype(np.float16).astype(np.float32)))(*drawn(seed, 1500)),
    "sorted by class": lambda seed: drawn(seed, 1500, order="sorted"),
    "videos": lambda seed: drawn(seed, 1500, order="videos"),
    "near chance": lambda seed: drawn(seed, 1500, 0.05),
    "few classes": few_classes,
    "one class too often": one_class_too_often,
    "few samples": lambda seed: drawn(seed, 25),
}


@pytest.mark.parametrize("kind", CLEAN)
def test_a_right_file_raises_no_alarm(kind: str) -> None:
    found = [finding for seed in range(200) for finding in check_one(audited(*CLEAN[kind](seed)))]
    assert [finding for finding in found if finding.kind == "fault"] == []
    # Warnings may be false in one file of fifty, for each of the checks.
    assert len(found) <= 8


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (2, 5), (1, 5), (3, 6)])
def test_an_exchange_that_costs_two_standard_errors_is_found(first: int, second: int) -> None:
    found = 0
    for seed in range(20):
        labels, outputs = drawn(seed, 4000, 2.0)
        right = float((outputs.argmax(axis=1) == labels).mean())
        wrong = outputs.copy()
        wrong[:, [first, second]] = outputs[:, [second, first]]
        cost = right - float((wrong.argmax(axis=1) == labels).mean())
        assert cost > 2 * (right * (1 - right) / 4000) ** 0.5
        (order,) = [finding for finding in check_one(audited(labels, wrong)) if finding.kind == "fault"] or [None]
        expected = list(range(7))
        expected[first], expected[second] = second, first
        found += order is not None and f"in the order {', '.join(map(str, expected))} for" in order.what
    assert found == 20


def test_a_class_without_labels_stays_where_it_is() -> None:
    labels = np.repeat([0, 1], 50)
    # Most of class 0 is predicted as class 2, which has no labels.
    top = np.concatenate([np.repeat([2, 0], [40, 10]), np.repeat(1, 50)])
    assert better_order(labels, top, 3) is None


@pytest.mark.parametrize("size", [2, 16, 128])
@pytest.mark.parametrize("digits", [2, 12])
def test_one_sample_broadcast_over_its_batch_is_found_in_rounded_files_too(size: int, digits: int) -> None:
    for seed in range(10):
        labels, outputs = rounded(seed, digits, strength=1.5)
        spread = outputs[np.arange(len(outputs)) // size * size]
        kinds = {(finding.kind, finding.check) for finding in check_one(audited(labels, spread))}
        assert ("fault", "constant within runs") in kinds


def test_unanimous_votes_of_two_members_are_no_fusion() -> None:
    labels, logits = drawn(0, 1500)
    rng = np.random.default_rng(0)
    members = []
    for name in "ab":
        shares = np.stack([rng.multinomial(10, row) for row in softmax(logits * 20)]) / 10
        assert (shares.max(axis=1) == 1).mean() > 0.8
        members.append(replace(audited(labels, logarithms(shares)), name=name))
    assert [finding for finding in check_all(members) if finding.kind == "fault"] == []


def test_frames_of_videos_that_repeat_are_a_warning() -> None:
    labels, outputs = drawn(0, 1500, order="videos")
    rng = np.random.default_rng(0)
    frames = outputs[np.maximum.accumulate(np.where(rng.random(1500) < 0.6, np.arange(1500), 0))]
    (finding,) = [f for f in check_one(audited(labels, frames)) if f.check != "misaligned rows"]
    assert (finding.kind, finding.check) == ("warning", "repeated outputs")
    assert "frames of a video" in finding.what


def test_the_expected_share_of_repeats_is_that_of_shuffled_rows() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.multinomial(3, [0.6, 0.3, 0.1], 4000).astype(float)
    labels = np.zeros(4000, dtype=int)
    found = repeats(outputs, labels)
    shuffled = [repeats(rng.permutation(outputs), labels).share for _ in range(50)]
    assert found.expected == pytest.approx(np.mean(shuffled), abs=0.01)
    assert found.p > FALSE_ALARM
