"""Which of very many members are kept, and that the samples that they are selected by are not used again."""

from pathlib import Path

import numpy as np
import pytest

from ig3d_ray import LateFusion, screen
from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion.combine import softmax
from ig3d_ray.search.screening import _most_useful

CLASSES = 5


def drawn(seed: int, members: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Members of noise, but for the first four, which share no errors."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, samples)
    outputs = rng.standard_normal((members, samples, CLASSES))
    outputs[:4] += 1.2 * np.eye(CLASSES)[labels]
    return outputs, labels


def test_the_members_that_know_something_are_kept() -> None:
    outputs, labels = drawn(0, 60, 2000)
    kept = screen(outputs, labels, 8)
    assert len(kept.members) == 8
    assert {0, 1, 2, 3} <= set(kept.members.tolist())
    assert len(kept.rows) == 1600
    # Each class has its share among the samples that were used.
    used = np.setdiff1d(np.arange(2000), kept.rows)
    assert np.abs(np.bincount(labels[used]) / 400 - np.bincount(labels) / 2000).max() < 0.005


def test_a_member_that_adds_something_is_kept_before_copies_of_the_best() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 3000)
    # Twenty near copies of one good member, and one that is worse, but right where they are wrong.
    good = 1.6 * np.eye(CLASSES)[labels] + rng.standard_normal((3000, CLASSES))
    copies = good + 0.05 * rng.standard_normal((20, 3000, CLASSES))
    other = 1.2 * np.eye(CLASSES)[labels] + rng.standard_normal((3000, CLASSES))
    outputs = np.concatenate([copies, other[None], rng.standard_normal((9, 3000, CLASSES))])
    assert 20 in screen(outputs, labels, 6).members


def test_a_file_on_disk_gives_what_arrays_give(tmp_path: Path) -> None:
    outputs, labels = drawn(1, 30, 500)
    half = outputs.astype(np.float16)
    np.save(tmp_path / "pool.npy", half)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    kept = screen(mapped, labels, 10)
    again = screen(list(half), labels, 10)
    assert np.array_equal(kept.members, again.members)
    assert np.array_equal(kept.rows, again.rows)
    chosen = {str(member): np.asarray(mapped[member][kept.rows], np.float32) for member in kept.members}
    fusion = LateFusion(budget=0).fit(chosen, labels[kept.rows])
    assert {"0", "1", "2", "3"} <= set(fusion.members_)


def test_no_score_is_claimed_for_noise_that_was_selected() -> None:
    rng = np.random.default_rng(0)
    labels, outputs = rng.integers(0, CLASSES, 1500), rng.standard_normal((400, 1500, CLASSES))
    kept = screen(outputs, labels, 10)
    accuracies = [(outputs[member][kept.rows].argmax(axis=1) == labels[kept.rows]).mean() for member in kept.members]
    assert abs(float(np.mean(accuracies)) - 1 / CLASSES) < 0.01


def test_groups_are_used_as_a_whole() -> None:
    outputs, labels = drawn(0, 20, 1000)
    groups = np.repeat(np.arange(100), 10)
    kept = screen(outputs, labels, 5, groups=groups)
    assert 0 < len(kept.rows) < 1000
    assert not set(groups[kept.rows]) & set(np.delete(groups, kept.rows))


def test_the_selection_is_the_greedy_one() -> None:
    outputs, labels = drawn(2, 12, 300)
    likely = softmax(outputs.astype(np.float32)).reshape(12, -1)
    truth = np.eye(CLASSES, dtype=np.float32)[labels].ravel()
    taken: list[int] = []
    while len(set(taken)) < 5 and len(taken) < 20:
        errors = [((likely[[*taken, one]].mean(axis=0) - truth) ** 2).sum() for one in range(12)]
        taken.append(int(np.argmin(errors)))
    squares = (likely.astype(np.float64) ** 2).sum(axis=1)
    found = _most_useful(likely, (likely @ truth).astype(np.float64), squares, 5)
    assert found.tolist() == sorted(set(taken))


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (np.zeros((3, 50, 2)), np.zeros(50, int), "50 samples are too few; give 100 or more"),
        ([np.zeros((200, 2)), np.zeros((200, 3))], np.zeros(200, int), r"member 1 is \(200, 3\); give \[200, C\]"),
        (np.zeros((3, 200, 2)), np.full(200, 2), "labels from 2 to 2; of 2 classes give 0 to 1"),
        (np.zeros((3, 200)), np.zeros(200, int), r"member 0 is \(200,\); give"),
        (np.full((3, 200, 2), np.nan), np.zeros(200, int), "member 0 has an output that is not finite"),
    ],
)
def test_what_cannot_be_screened_is_refused(outputs: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(Ig3dError, match=message):
        screen(outputs, labels, 1)


def test_a_pool_that_is_no_larger_is_left_as_it_is() -> None:
    outputs, labels = drawn(0, 5, 200)
    kept = screen(outputs, labels, 5)
    assert kept.members.tolist() == [0, 1, 2, 3, 4]
    assert len(kept.rows) == 200
