"""The solved weight of two members against brute force in exact arithmetic, for every metric."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ig3d_ray.evaluation import metrics
from ig3d_ray.fusion import pair_weight
from ig3d_ray.fusion.combine import fuse
from ig3d_ray.fusion.piecewise import SHORTEST
from ig3d_ray.types import Task

Case = tuple[np.ndarray, np.ndarray, np.ndarray]
RANGES = [(0.0, 1.0), (0.25, 0.75), (-1.0, 2.0), (0.5, 0.5), (0.0, 0.0)]


@st.composite
def two_members(draw: st.DrawFn, dtype: type = np.float64) -> Case:
    """Few values, so that ties, equal members, constant members and single classes come up all the time."""
    samples, classes = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    # Multiples of one power of two, huge or tiny: sums of them are exact, so that a tie is one.
    unit = 2.0 ** draw(st.sampled_from([-40, -6, 0, 20]))
    most = draw(st.sampled_from([1, 3, 50]))
    elements = st.integers(-most, most).map(lambda i: i * unit)
    first = draw(arrays(dtype, (samples, classes), elements=elements))
    constant = np.full_like(first, unit)
    second = draw(st.just(first) | st.just(constant) | arrays(dtype, (samples, classes), elements=elements))
    labels = draw(arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    return first, second, labels


def metric_at(case: Case, weight: Fraction, metric: str) -> float:
    """By exact arithmetic: classes that tie for the largest fused score share the sample."""
    first, second, labels = case
    sums = np.zeros((3, first.shape[1]))
    for a, b, label in zip(first.tolist(), second.tolist(), labels.tolist(), strict=True):
        fused = [(1 - weight) * Fraction(x) + weight * Fraction(y) for x, y in zip(a, b, strict=True)]
        top = [i for i, value in enumerate(fused) if value == max(fused)]
        sums[0, label] += (label in top) / len(top)
        sums[1, label] += 1
        sums[2, top] += 1 / len(top)
    return float(metrics.from_sums(Task.EXPRESSION, sums.reshape(-1))[metric])


def crossings(case: Case, low: float, high: float) -> list[Fraction]:
    """Every weight at which any two classes of any sample tie, and the ends of the range."""
    first, second, _ = case
    found = {Fraction(low), Fraction(high)}
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        for i, j in itertools.combinations(range(len(a)), 2):
            at_zero = Fraction(a[i]) - Fraction(a[j])
            slope = (Fraction(b[i]) - Fraction(b[j])) - at_zero
            if slope and low <= -at_zero / slope <= high:
                found.add(-at_zero / slope)
    return sorted(found)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"])
@given(case=two_members() | two_members(np.float32), bounds=st.sampled_from(RANGES))
def test_the_solved_weight_is_the_best_there_is(metric: str, case: Case, bounds: tuple[float, float]) -> None:
    low, high = bounds
    edges = crossings(case, low, high)
    pieces = [(a, b) for a, b in itertools.pairwise(edges) if b - a > 1e-9]
    values = [metric_at(case, (a + b) / 2, metric) for a, b in pieces]
    alone = [metric_at(case, Fraction(point), metric) for point in (0.0, 0.5, 1.0) if low <= point <= high]
    steps = pair_weight.expression_steps(*case, metric, low, high)
    for (a, b), value in zip(pieces, values, strict=True):
        assert steps.score_at(np.array(float((a + b) / 2))) == pytest.approx(value, abs=1e-12)
    best = steps.best()
    assert low <= best.low <= best.weight <= best.high <= high
    if values or alone:
        assert best.value == pytest.approx(max(values + alone), abs=1e-12)
    if best.high - best.low > 1e-9:
        # No narrower than the widest piece that is as good, no wider than the widest run of such pieces: a tie between
        # two of them that is worse on its one point ends the interval, or its middle could fall on it.
        runs, widest, length = [Fraction(0)], Fraction(0), Fraction(0)
        for (a, b), value in zip(pieces, values, strict=True):
            length = length + b - a if value >= best.value - 1e-12 else Fraction(0)
            widest = max(widest, b - a) if length else widest
            runs.append(length)
        assert float(widest) - 1e-7 <= best.high - best.low <= float(max(runs)) + 1e-7
        assert best.weight == pytest.approx((best.low + best.high) / 2)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
@given(case=two_members())
def test_no_member_alone_and_no_mean_scores_above_the_solved_weight(metric: str, case: Case) -> None:
    first, second, labels = case
    best = pair_weight.expression_steps(*case, metric).best()
    mean = fuse("mean", np.stack([first, second]))
    for fused in (first, second, mean):
        assert metrics.score_one(Task.EXPRESSION, fused, labels, metric) <= best.value + 1e-12
    fused = fuse("weighted", np.stack([first, second]), np.array([1 - best.weight, best.weight]))
    assert metrics.score_one(Task.EXPRESSION, fused, labels, metric) == pytest.approx(best.value, abs=1e-12)


@pytest.mark.parametrize("metric", metrics.CLASS_PARTS)
def test_any_number_of_weights_after_one_pass(metric: str, rng: np.random.Generator) -> None:
    labels = rng.integers(0, 7, 300)
    first, second = (1.5 * np.eye(7)[labels] + rng.standard_normal((300, 7)) for _ in range(2))
    weights = rng.uniform(-0.5, 1.5, (20, 5))
    steps = pair_weight.expression_steps(first, second, labels, metric, -0.5, 1.5)
    brute = [metrics.score(Task.EXPRESSION, (1 - w) * first + w * second, labels)[metric] for w in weights.ravel()]
    assert steps.score_at(weights) == pytest.approx(np.array(brute).reshape(20, 5))
    assert steps.best().value >= max(brute) - 1e-12


def test_a_tie_everywhere_counts_as_its_share() -> None:
    same = np.zeros((2, 3))
    steps = pair_weight.expression_steps(same, same, np.array([0, 1]))
    assert steps.score_at(np.array([0.0, 0.5, 1.0])) == pytest.approx(1 / 3)
    best = steps.best()
    assert (best.low, best.weight, best.high) == (0.0, 0.5, 1.0)
    assert best.value == pytest.approx(1 / 3)


def test_a_tie_in_the_middle_is_chosen_only_where_it_is_better_than_either_side() -> None:
    # Half of a sample is right at a weight of one half, and on one side a whole one.
    first, second = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    best = pair_weight.expression_steps(first, second, np.array([0, 0])).best()
    assert best.value == 0.5
    # Three classes meet at the mean, and the middle one is on top nowhere else.
    first, second = np.array([[1.0, 0.5, 0.0]]), np.array([[0.0, 0.5, 1.0]])
    best = pair_weight.expression_steps(first, second, np.array([1])).best()
    assert (best.low, best.weight, best.high) == (0.5, 0.5, 0.5)
    assert best.value == pytest.approx(1 / 3)
    # The first member says nothing, and any share of the second is wrong.
    best = pair_weight.expression_steps(np.zeros((1, 2)), np.array([[0.0, 1.0]]), np.array([0])).best()
    assert (best.weight, best.value) == (0.0, 0.5)


def test_rounded_pairs_have_one_score_in_every_row(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 7, 600)
    members = [np.log(np.maximum(np.round(rng.dirichlet(np.ones(7) / 2 + 2 * np.eye(7)[y]), 1), 1e-12)) for y in labels]
    others = [np.log(np.maximum(np.round(rng.dirichlet(np.ones(7) / 2 + 2 * np.eye(7)[y]), 1), 1e-12)) for y in labels]
    first, second = np.stack(members), np.stack(others)
    top = np.sort(first, axis=1)
    assert (top[:, -1] == top[:, -2]).mean() > 0.03
    for metric in ("accuracy", "macro_f1"):
        best = pair_weight.expression_steps(first, second, labels, metric).best()
        weights = np.linspace(0, 1, 101)
        scores = [metrics.score_one(Task.EXPRESSION, (1 - w) * first + w * second, labels, metric) for w in weights]
        assert max(scores) <= best.value + 1e-12


def test_the_middle_of_the_widest_best_interval_is_taken() -> None:
    # Right below 0.2, right from 0.5 to 1: both intervals have one correct sample, the second is wider.
    first = np.array([[0.2, 0.0], [-0.5, 0.0]])
    second = np.array([[-0.8, 0.0], [0.5, 0.0]])
    for metric in ("accuracy", "weighted_recall"):
        best = pair_weight.expression_steps(first, second, np.array([0, 0]), metric).best()
        assert (best.low, best.weight, best.high) == pytest.approx((0.5, 0.75, 1.0))
        within = pair_weight.expression_steps(first, second, np.array([0, 0]), metric, 0.0, 0.4).best()
        assert (within.low, within.high) == pytest.approx((0.0, 0.2))


def test_steps_shorter_than_rounding_are_no_place_for_a_weight(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 3, 50)
    first, second = rng.integers(-2, 3, (2, 50, 3)).astype(float)
    best = pair_weight.expression_steps(first, second, labels).best()
    assert best.high - best.low > SHORTEST
    fused = (1 - best.weight) * first + best.weight * second
    assert metrics.score_one(Task.EXPRESSION, fused, labels, "accuracy") == pytest.approx(best.value)


@given(
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(1, 30),
    kind=st.sampled_from(["noisy", "coarse", "constant", "equal"]),
    bounds=st.sampled_from(RANGES),
    size=st.sampled_from([1e-3, 1.0, 1e3]),
)
@settings(max_examples=150)
def test_no_weight_of_a_fine_grid_beats_the_solved_one_for_valence_and_arousal(
    seed: int, samples: int, kind: str, bounds: tuple[float, float], size: float
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, (samples, 2))
    first, second = truth + 0.5 * rng.standard_normal((2, samples, 2))
    if kind == "coarse":
        first, second, truth = (np.round(2 * x) / 2 for x in (first, second, truth))
    elif kind == "constant":
        second = np.full_like(first, 0.25)
    elif kind == "equal":
        second = first
    first, second, truth = (size * x for x in (first, second, truth))
    grid = np.linspace(*bounds, 81)
    scores = [metrics.score(Task.VA, (1 - w) * first + w * second, truth) for w in grid]
    curves = pair_weight.va_curves(first, second, truth, *bounds)
    for metric in metrics.METRICS["va"]:
        brute = np.array([score[metric] for score in scores])
        best = curves.best(metric)
        scale = max(1.0, float(np.abs(brute).max()))
        close = 1e-9 * scale
        assert bounds[0] <= best.low <= best.weight <= best.high <= bounds[1]
        assert best.value == pytest.approx(float(curves.score_at(np.array(best.weight), metric)), abs=close), metric
        if samples > 2:
            # Two samples make correlations of numbers that cancel to nothing, where rounding is all there is.
            assert curves.score_at(grid, metric) == pytest.approx(brute, abs=1e-7 * scale), metric
            sign = 1 if metrics.metric_of(metric).greater_is_better else -1
            assert sign * best.value >= (sign * brute).max() - 1e-7 * scale, metric
        if metric.startswith("mae"):
            at_ends = curves.score_at(np.array([best.low, best.high]), metric)
            assert at_ends == pytest.approx(np.full(2, best.value), abs=close), metric


@pytest.mark.parametrize("metric", metrics.METRICS["va"])
def test_between_equal_members_every_weight_is_as_good(metric: str) -> None:
    values = np.array([[0.1, 0.2], [0.3, -0.4]])
    best = pair_weight.va_curves(values, values, values + 0.1).best(metric)
    assert (best.low, best.weight, best.high) == (0.0, 0.5, 1.0)


def test_the_least_absolute_error_is_flat_between_two_medians() -> None:
    # Errors 1 - 4 w and 3 - 4 w in valence: least in sum anywhere between 1/4 and 3/4.
    first, second = np.array([[1.0, 0], [3.0, 0]]), np.array([[-3.0, 0], [-1.0, 0]])
    best = pair_weight.va_curves(first, second, np.zeros((2, 2))).best("mae_valence")
    assert (best.low, best.weight, best.high, best.value) == pytest.approx((0.25, 0.5, 0.75, 1.0))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        pair_weight.va_curves(np.zeros((4, 2)), np.zeros((1, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="shapes must all be"):
        pair_weight.va_curves(np.zeros((4, 2)), np.zeros((4, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="shapes differ"):
        pair_weight.expression_steps(np.zeros((4, 3)), np.zeros((4, 3)), np.zeros(3, int), "macro_f1")


def test_a_power_that_is_rounding_alone_costs_no_root_its_digits() -> None:
    """Found by hypothesis: the covariance of the difference with the truth is zero but for rounding."""
    rng = np.random.default_rng(299)
    truth = rng.uniform(-1, 1, (16, 2))
    first, second = truth + 0.5 * rng.standard_normal((2, 16, 2))
    first, second, truth = (1e-3 * np.round(2 * x) / 2 for x in (first, second, truth))
    best = pair_weight.va_curves(first, second, truth).best("ccc_arousal")
    assert best.value == pytest.approx(0.8591040462, abs=1e-9)
