"""What no weights exceed: never below any weights' accuracy, and tight where the best weights are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import OptimizeResult

from ig3d_ray.evaluation import metrics
from ig3d_ray.fusion.pair_weight import best_weight
from ig3d_ray.fusion.three import best_of_three
from ig3d_ray.fusion.upper_bound import upper_bound
from ig3d_ray.types import Task


def drawn(seed: int, members: int, samples: int = 120, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    return rng.standard_normal((members, samples, classes)) + 1.0 * np.eye(classes)[labels], labels


def accuracy(weights: np.ndarray, outputs: np.ndarray, labels: np.ndarray) -> float:
    return metrics.score_one(Task.EXPRESSION, np.tensordot(weights, outputs, 1), labels, "accuracy")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.booleans())
def test_no_weights_exceed_it(seed: int, members: int, is_rounded: bool) -> None:
    outputs, labels = drawn(seed, members, 60)
    if is_rounded:
        # With many ties.
        outputs = np.round(outputs)
    rng = np.random.default_rng(seed)
    tried = [*np.eye(members), *rng.dirichlet(np.full(members, 0.5), 200), np.ones(members)]
    bound = upper_bound(outputs, labels, np.ones(members)).accuracy
    assert max(accuracy(weights, outputs, labels) for weights in tried) <= bound + 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_of_two_members_it_is_what_the_best_weights_score(seed: int) -> None:
    outputs, labels = drawn(seed, 2, 300)
    weight = best_weight(Task.EXPRESSION, outputs[0], outputs[1], labels, "accuracy").weight
    weights = np.array([1 - weight, weight])
    assert upper_bound(outputs, labels, weights).accuracy == pytest.approx(accuracy(weights, outputs, labels))


def test_of_three_members_it_is_near_the_optimum() -> None:
    outputs, labels = drawn(0, 3, 400)
    best = best_of_three(outputs, labels)
    found = upper_bound(outputs, labels, best.weights)
    assert best.right / 400 <= found.accuracy <= best.right / 400 + 0.08
    # Without the sets it says much less.
    assert 1 - found.hopeless / 400 > found.accuracy + 0.05


def test_a_sample_is_hopeless_where_no_weights_get_it_right() -> None:
    # The first: each member alone prefers another class, and no mixture its own. The second: the mixture does.
    outputs = np.array([[[0.0, 1.0, -1.0], [1.0, 1.5, -3.0], [1.0, 0.0, 0.0]]] * 2)
    outputs[1] = [[0.0, -0.5, 0.6], [1.0, -3.0, 1.5], [1.0, 0.0, 0.0]]
    labels = np.zeros(3, dtype=int)
    # Also where both are wrong at the given weights.
    for weights in (np.array([0.5, 0.5]), np.array([0.99, 0.01])):
        found = upper_bound(outputs, labels, weights)
        assert (found.hopeless, found.sets, found.accuracy) == (1, 0, pytest.approx(2 / 3))


def test_what_a_solver_finds_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, labels = drawn(0, 3)

    def wrong(costs: np.ndarray, **given: object) -> OptimizeResult:
        return OptimizeResult(x=np.full(len(costs), 0.1))

    monkeypatch.setattr("scipy.optimize.linprog", wrong)
    assert upper_bound(outputs, labels, np.ones(3)).accuracy > 0.9


def test_samples_that_exclude_each_other_cost_one() -> None:
    # One needs more than .6 of the weight for the first member, the other one more than .6 for the second.
    outputs = np.array([[[0.4, 0.0], [0.0, 0.6]], [[0.0, 0.6], [0.4, 0.0]]])
    found = upper_bound(outputs, np.array([0, 0]), np.array([0.7, 0.3]))
    assert (found.hopeless, found.sets, found.accuracy) == (0, 1, 0.5)


def test_ties_are_not_taken_for_wrong() -> None:
    # Both are half right at equal weights, which is as much as one of them right.
    outputs = np.array([[[1.0, 0.0]] * 3, [[0.0, 1.0]] * 3])
    found = upper_bound(outputs, np.array([0, 1, 0]), np.array([0.5, 0.5]))
    assert found.accuracy >= 2 / 3
    same = np.zeros((2, 4, 3))
    assert upper_bound(same, np.array([0, 1, 2, 0]), np.ones(2)).accuracy == 1.0
