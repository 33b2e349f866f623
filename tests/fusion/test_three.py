"""The exact optimum of three members' weights, against dense grids and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ig3d_ray.evaluation.metrics import score_one
from ig3d_ray.fusion.pair_weight import best_weight
from ig3d_ray.fusion.three import best_of_three
from ig3d_ray.types import Task


def accuracy(outputs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    return score_one(Task.EXPRESSION, np.einsum("m,mnc->nc", weights, outputs), labels, "accuracy")


def best_on_a_grid(outputs: np.ndarray, labels: np.ndarray, steps: int) -> float:
    points = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    return max(accuracy(outputs, labels, np.array(point) / steps) for point in points)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 5), st.sampled_from([None, 0, 1]))
def test_no_weights_of_a_grid_are_better(seed: int, samples: int, classes: int, decimals: int | None) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    outputs = rng.normal(size=(3, samples, classes)) + rng.uniform(0, 1.5, (3, 1, 1)) * np.eye(classes)[labels]
    if decimals is not None:
        outputs = outputs.round(decimals)
    found = best_of_three(outputs, labels)
    assert found.proven
    assert found.weights.min() >= 0
    assert found.weights.sum() == pytest.approx(1)
    assert accuracy(outputs, labels, found.weights) * samples == pytest.approx(found.right)
    assert found.right >= best_on_a_grid(outputs, labels, 25) * samples - 1e-9


def test_it_is_at_least_the_exact_optimum_of_each_pair_and_finds_a_small_region() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 7, 800)
    outputs = rng.normal(size=(3, 800, 7)) + 1.2 * np.eye(7)[labels]
    found = best_of_three(outputs, labels)
    assert found.proven
    for first, second in ((0, 1), (0, 2), (1, 2)):
        pair = best_weight(Task.EXPRESSION, outputs[first], outputs[second], labels, "accuracy")
        weights = np.zeros(3)
        weights[[first, second]] = 1 - pair.weight, pair.weight
        assert found.right / 800 >= accuracy(outputs, labels, weights) - 1e-9
    assert found.right / 800 > best_on_a_grid(outputs, labels, 20)


def test_a_search_that_is_cut_short_gives_a_bound() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 500)
    outputs = rng.normal(size=(3, 500, 7)) + np.eye(7)[labels]
    whole, short = best_of_three(outputs, labels), best_of_three(outputs, labels, at_most=3)
    assert whole.proven
    assert not short.proven
    assert short.right <= whole.right <= short.bound
