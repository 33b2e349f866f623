"""Late fusion: strategies by definition, exact weights against brute force, no dependence on order."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ig3d_ray import metrics
from ig3d_ray.fusion import exact
from ig3d_ray.fusion.spaces import SPACES, to_space
from ig3d_ray.fusion.strategies import STRATEGIES, fuse

# Few values, so that ties, equal members and constant members come up all the time.
COARSE = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])


@st.composite
def two_members(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    samples, classes = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    # Multiples of one power of two, huge or tiny: sums of them are exact, so that a tie is one.
    unit = 2.0 ** draw(st.sampled_from([-40, -6, 0, 20]))
    elements = draw(st.sampled_from([COARSE, st.integers(-500, 500).map(lambda i: i * unit)]))
    first = draw(arrays(np.float64, (samples, classes), elements=elements))
    second = draw(st.just(first) | arrays(np.float64, (samples, classes), elements=elements))
    labels = draw(arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    return first, second, labels


def accuracy_at(first: np.ndarray, second: np.ndarray, labels: np.ndarray, weight: float) -> float:
    fused = fuse("weighted", np.stack([first, second]), np.array([1 - weight, weight]))
    return float((fused.argmax(axis=1) == labels).mean())


def test_strategies_by_hand() -> None:
    outputs = np.array([[[1.0, 4.0]], [[3.0, 2.0]]])
    assert fuse("max", outputs).tolist() == [[3.0, 4.0]]
    assert fuse("min", outputs).tolist() == [[1.0, 2.0]]
    assert fuse("mean", outputs).tolist() == [[2.0, 3.0]]
    assert fuse("weighted", outputs, np.array([0.75, 0.25])).tolist() == [[1.5, 3.5]]


@pytest.mark.parametrize(
    ("strategy", "shape", "weights", "message"),
    [
        ("max", (3, 4), None, "must be"),
        ("max", (0, 3, 4), None, "must be"),
        ("weighted", (2, 3, 4), None, "needs weights"),
        ("mean", (2, 3, 4), [0.5, 0.5], "takes no weights"),
        ("weighted", (2, 3, 4), [1.0], "2 members but weights of shape"),
        ("weighted", (2, 3, 4), [[0.5, 0.5]], "2 members but weights of shape"),
        ("median", (2, 3, 4), None, "unknown strategy 'median'; known: max, min, mean, weighted"),
    ],
)
def test_what_does_not_fit_is_refused(strategy: str, shape: tuple, weights: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fuse(strategy, np.zeros(shape), None if weights is None else np.array(weights))  # type: ignore[arg-type]


@given(
    members=st.integers(1, 4),
    samples=st.integers(1, 40),
    strategy=st.sampled_from(STRATEGIES),
    space=st.sampled_from(SPACES),
    batch=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_order_and_batch_size_change_nothing(
    members: int, samples: int, strategy: str, space: str, batch: int, seed: int
) -> None:
    """The published RAF-DB fusion took the first sample's logits for its whole batch; this is the test for it."""
    rng = np.random.default_rng(seed)
    logits, labels = 4 * rng.standard_normal((members, samples, 5)), rng.integers(0, 5, samples)
    weights = rng.dirichlet(np.ones(members)) if strategy == "weighted" else None

    def fused(rows: np.ndarray) -> np.ndarray:
        return fuse(strategy, to_space(logits[:, rows], space), weights)  # type: ignore[arg-type]

    whole = fused(np.arange(samples))
    order = rng.permutation(samples)
    in_batches = np.concatenate([fused(order[start : start + batch]) for start in range(0, samples, batch)])
    assert (in_batches == whole[order]).all()
    assert metrics.score("expression", in_batches, labels[order]) == metrics.score("expression", whole, labels)


def test_one_samples_logits_are_never_taken_for_all() -> None:
    with pytest.raises(ValueError, match="inhomogeneous"):
        fuse("mean", [np.zeros((4, 7)), np.zeros(7)])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shapes differ"):
        exact.accuracy_steps(np.zeros((4, 7)), np.zeros((1, 7)), np.zeros(4, int))


@given(two_members())
def test_accuracy_at_any_weight_is_that_of_fusing(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    first, second, labels = case
    steps = exact.accuracy_steps(first, second, labels)
    edges = np.unique(np.concatenate([[0, 1], steps.starts, steps.ends]))
    # Between two steps nothing is decided by rounding; very close steps are left out.
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges) if b - a > 1e-6]
    for weight in middles:
        assert steps.score_at(np.array(weight)) == pytest.approx(accuracy_at(first, second, labels, weight))


@given(two_members())
def test_no_weight_of_a_fine_grid_beats_the_solved_one(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    first, second, labels = case
    best = exact.accuracy_steps(first, second, labels).best()
    assert 0 <= best.low <= best.weight <= best.high <= 1
    if best.high - best.low > 1e-6:
        assert accuracy_at(first, second, labels, best.weight) == pytest.approx(best.value)
    # A weight on the grid may hit an exact tie, a single point that the solution leaves to rounding.
    off_grid = np.linspace(0, 1, 98)[1:-1] + np.pi * 1e-4
    assert max(accuracy_at(first, second, labels, w) for w in off_grid) <= best.value + 1e-12


def test_a_tie_everywhere_goes_to_the_earlier_class() -> None:
    same = np.zeros((2, 3))
    steps = exact.accuracy_steps(same, same, np.array([0, 1]))
    assert steps.score_at(np.array([0.0, 0.5, 1.0])).tolist() == [0.5, 0.5, 0.5]
    best = steps.best()
    assert (best.low, best.weight, best.high, best.value) == (0.0, 0.5, 1.0, 0.5)


def test_the_middle_of_the_widest_best_interval_is_taken() -> None:
    # Right below 0.2, right from 0.5 to 1: both intervals have one correct sample, the second is wider.
    first = np.array([[0.2, 0.0], [-0.5, 0.0]])
    second = np.array([[-0.8, 0.0], [0.5, 0.0]])
    best = exact.accuracy_steps(first, second, np.array([0, 0])).best()
    assert (best.low, best.weight, best.high) == pytest.approx((0.5, 0.75, 1.0))
    within = exact.accuracy_steps(first, second, np.array([0, 0])).best(0.0, 0.4)
    assert (within.low, within.high) == pytest.approx((0.0, 0.2))


@given(seed=st.integers(0, 2**32 - 1), samples=st.integers(1, 30), low=st.floats(0, 0.5), width=st.floats(0, 0.5))
def test_solved_mse_and_ccc_weights_against_a_grid(seed: int, samples: int, low: float, width: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, (samples, 2))
    first, second = truth + 0.5 * rng.standard_normal((2, samples, 2))
    grid = np.linspace(low, low + width, 41)

    def at(weight: float, metric: str) -> float:
        return metrics.score("va", (1 - weight) * first + weight * second, truth)[metric]

    mse = exact.best_mse_weight(first, second, truth, low, low + width)
    assert mse.value == pytest.approx(at(mse.weight, "mse"))
    assert mse.value <= min(at(w, "mse") for w in grid) + 1e-12
    ccc = exact.best_ccc_weight(first, second, truth, low, low + width)
    assert ccc.value == pytest.approx(at(ccc.weight, "ccc"), abs=1e-9)
    assert ccc.value >= max(at(w, "ccc") for w in grid) - 1e-9


def test_equal_members_have_a_middle_weight() -> None:
    values = np.array([[0.1, 0.2], [0.3, -0.4]])
    assert exact.best_mse_weight(values, values, values + 0.1).weight == 0.5
    assert exact.best_ccc_weight(values, values, values + 0.1).weight == 0.5


def test_log_probabilities_and_logits_agree_on_the_top_class_of_a_weighted_sum(rng: np.random.Generator) -> None:
    logits, weights = 3 * rng.standard_normal((2, 50, 7)), np.array([0.3, 0.7])
    tops = [fuse("weighted", to_space(logits, s), weights).argmax(1).tolist() for s in ("logits", "log_probabilities")]
    assert tops[0] == tops[1]
