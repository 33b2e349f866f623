"""The weights of many members: global optima proved against grids and other solvers, greedy and coordinate steps."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar, nnls
from scipy.special import log_softmax, softmax

from ig3d_ray.evaluation import metrics
from ig3d_ray.fusion import stacking
from ig3d_ray.fusion.coordinate import coordinate_search
from ig3d_ray.fusion.fit import METHODS, SPACES_OF, fit_weights
from ig3d_ray.fusion.greedy import greedy
from ig3d_ray.fusion.stacking import stack_logits, stack_probabilities
from ig3d_ray.fusion.temperature import fit_temperatures
from ig3d_ray.fusion.va_weights import concordance, least_squares, most_concordant
from ig3d_ray.types import Task


def pool(members: int, samples: int, seed: int = 0, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Members of different strength and size, partly wrong together."""
    rng = np.random.default_rng([seed, members])
    labels = rng.integers(0, classes, samples)
    shared = rng.standard_normal((samples, classes))
    strength, size = rng.uniform(0.3, 1.5, members), np.exp(rng.normal(0, 0.5, members))
    own = rng.standard_normal((members, samples, classes))
    outputs = size[:, None, None] * (strength[:, None, None] * np.eye(classes)[labels] + 0.5 * shared + own)
    return outputs.astype(np.float32), labels


def log_loss(weights: np.ndarray, outputs: np.ndarray, labels: np.ndarray) -> float:
    fused = np.tensordot(weights, outputs.astype(np.float64), 1)
    return -float(log_softmax(fused, axis=1)[np.arange(len(labels)), labels].mean())


def accuracy(weights: np.ndarray, outputs: np.ndarray, labels: np.ndarray) -> float:
    return float((np.tensordot(weights, outputs, 1).argmax(axis=1) == labels).mean())


def test_a_member_that_hardly_varies_is_stacked_as_one_that_does() -> None:
    """Logits of another size, beside an offset that changes no probability, are the same member."""
    outputs, labels = pool(4, 400)
    alike = outputs.copy()
    alike[0] = 5e-4 * outputs[0] - 2
    weights, others = (stack_logits(values, labels).weights for values in (outputs, alike))
    assert log_loss(others, alike, labels) == pytest.approx(log_loss(weights, outputs, labels), abs=1e-5)
    assert others[0] * 5e-4 == pytest.approx(weights[0], rel=0.01)
    assert others[1:] == pytest.approx(weights[1:], rel=0.01)


@pytest.mark.parametrize("against", [False, True], ids=["members for the truth", "members against it"])
@given(seed=st.integers(0, 2**32 - 1), samples=st.integers(3, 60))
def test_no_point_of_a_dense_grid_has_more_concordance(against: bool, seed: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, samples)
    outputs = rng.uniform(0, 1, (3, 1)) * truth + rng.uniform(0, 0.8, (3, 1)) * rng.standard_normal((3, samples))
    outputs = (-outputs if against else outputs) + rng.normal(0, 0.2, (3, 1))
    about = concordance(outputs, truth)
    u = most_concordant(about)
    assert u.min() >= 0
    assert u.sum() == pytest.approx(1)
    both = np.tile(u @ outputs, (2, 1)).T
    assert about.at(u) == pytest.approx(metrics.score(Task.VA, both, np.tile(truth, (2, 1)).T)["ccc"], abs=1e-9)
    steps = np.linspace(0, 1, 41)
    grid = max(about.at(np.array([a, b, 1 - a - b])) for a, b in itertools.product(steps, steps) if a + b <= 1)
    assert about.at(u) >= grid - 1e-9


def test_the_best_concordance_is_a_stationary_point_of_its_simplex(rng: np.random.Generator) -> None:
    truth = rng.uniform(-1, 1, 400)
    outputs = rng.uniform(0.2, 1, (12, 1)) * truth + 0.5 * rng.standard_normal((12, 400))
    about = concordance(outputs, truth)
    u = most_concordant(about)
    for other in np.eye(12):
        for step in (1e-3, 1e-2, 0.1):
            assert about.at((1 - step) * u + step * other) <= about.at(u) + 1e-12


def va_pool(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.uniform(-1, 1, (300, 2))
    own = 0.5 * rng.standard_normal((3, 300, 2))
    return np.array([0.9, 0.6, 0.4])[:, None, None] * truth + own * np.array([1, 0.5, 1.2])[:, None, None], truth


@pytest.mark.parametrize("objective", ["mse", "ccc", "ccc_valence", "ccc_mean", "mse_arousal"])
@pytest.mark.parametrize("per_column", [False, True])
def test_weights_for_valence_and_arousal_beat_every_grid_point(
    objective: str, per_column: bool, rng: np.random.Generator
) -> None:
    outputs, truth = va_pool(rng)
    method = "least_squares" if "mse" in objective else "concordance"
    weights = fit_weights(method, "logits", outputs, truth, objective, per_column)  # type: ignore[arg-type]
    assert weights.shape == ((3, 2) if per_column else (3,))
    assert weights.sum(axis=0) == pytest.approx(np.ones(2) if per_column else 1.0)

    def at(w: np.ndarray) -> float:
        fused = np.einsum("mc,mnc->nc", w if w.ndim == 2 else np.stack([w, w], axis=1), outputs)
        return metrics.score(Task.VA, fused, truth)[objective]

    steps = np.linspace(0, 1, 21)
    points = [np.array([a, b, 1 - a - b]) for a, b in itertools.product(steps, steps) if a + b <= 1 + 1e-9]
    sign = 1 if metrics.metric_of(objective).greater_is_better else -1
    if objective == "ccc_mean" and not per_column:
        # The mean of two ratios has no closed form with shared weights: the pooled optimum stands in, close by.
        assert at(weights) >= max(at(p) for p in points) - 0.02
        return
    assert sign * at(weights) >= max(sign * at(p) for p in points) - 1e-9
    if per_column:
        apart = [np.stack([a, b], axis=1) for a, b in itertools.product(points[::9], points[::9])]
        assert sign * at(weights) >= max(sign * at(p) for p in apart) - 1e-9


def test_free_scale_least_squares_is_nnls(rng: np.random.Generator) -> None:
    outputs, truth = va_pool(rng)
    flat = outputs.reshape(3, -1)
    assert least_squares(flat, truth.ravel(), None) == pytest.approx(nnls(flat.T, truth.ravel())[0], abs=1e-8)


@pytest.mark.parametrize("sum_to_one", [False, True])
def test_the_stack_is_the_optimum_of_its_convex_problem(sum_to_one: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pull towards anything, against SciPy's own optimizer."""
    monkeypatch.setattr(stacking, "STRENGTHS", ())
    outputs, labels = pool(5, 400)
    found = stack_logits(outputs, labels, sum_to_one=sum_to_one).weights
    sums = [{"type": "eq", "fun": lambda w: w.sum() - 1}] if sum_to_one else []
    start, bounds = np.full(5, 0.2), [(0, None)] * 5
    peer = minimize(log_loss, start, (outputs, labels), "SLSQP", bounds=bounds, constraints=sums, tol=1e-12)
    assert log_loss(found, outputs, labels) <= peer.fun + 1e-8
    assert found == pytest.approx(peer.x, abs=1e-3)


def test_a_mixture_of_probabilities_is_the_optimum_of_its_convex_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacking, "STRENGTHS", ())
    outputs, labels = pool(4, 300)
    likely = softmax(outputs.astype(np.float64), axis=2)
    of_label = likely[:, np.arange(300), labels]

    def loss(weights: np.ndarray) -> float:
        return -float(np.log(weights @ of_label).mean())

    found = stack_probabilities(likely, labels).weights
    sums = [{"type": "eq", "fun": lambda w: w.sum() - 1}]
    peer = minimize(loss, np.full(4, 0.25), bounds=[(0, 1)] * 4, constraints=sums, method="SLSQP", tol=1e-12)
    assert found.sum() == pytest.approx(1)
    assert loss(found) <= peer.fun + 1e-8


def test_a_large_pool_has_the_same_optimum_as_when_all_are_looked_at_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stacking, "STRENGTHS", ())
    outputs, labels = pool(60, 500)
    together = stack_logits(outputs, labels).weights
    monkeypatch.setattr(stacking, "LIMIT", 40)
    entered = stack_logits(outputs, labels).weights
    assert log_loss(entered, outputs, labels) == pytest.approx(log_loss(together, outputs, labels), abs=1e-5)


def test_few_samples_are_stacked_with_a_pull_and_many_without() -> None:
    few, labels = pool(20, 60)
    many, many_labels = pool(20, 6000)
    pulled, free = stack_logits(few, labels), stack_logits(many, many_labels)
    assert pulled.strength > free.strength
    fresh, fresh_labels = many[:, :3000], many_labels[:3000]
    loss = stacking.LogitLoss.of(few, labels, np.zeros(60, dtype=int), np.ones(20))
    at = stacking._At.of(loss, np.full(20, 0.05))
    # The fit without pull does worse on samples that it has not seen.
    alone = stacking._Problem(loss, None, np.zeros(20), 0.0).solve(at, 1e-10).weights
    assert log_loss(pulled.weights, fresh, fresh_labels) < log_loss(alone, fresh, fresh_labels)


def test_members_that_are_right_about_everything_get_finite_weights() -> None:
    """The log-loss of separable samples has no minimum; and what is scored must not depend on luck."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 4, 30)
        outputs = (rng.uniform(4, 12, (3, 1, 1)) * np.eye(4)[labels] + rng.standard_normal((3, 30, 4))).astype(
            np.float32
        )
        for per_column in (False, True):
            weights = fit_weights("stack", "logits", outputs, labels, "accuracy", per_column)
            assert np.isfinite(weights).all()
            fused = np.einsum("mc,mnc->nc", weights, outputs) if per_column else np.tensordot(weights, outputs, 1)
            assert (fused.argmax(axis=1) == labels).mean() == 1


def test_members_in_the_wrong_order_of_classes_get_weights_per_class_all_the_same() -> None:
    outputs, labels = pool(3, 200)
    weights = fit_weights("stack", "logits", -outputs, labels, "accuracy", per_column=True)
    assert weights.shape == (3, 4)
    assert weights.max() > 0


def test_a_pool_that_knows_nothing_still_gets_weights(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 4, 200)
    for outputs in (rng.standard_normal((6, 200, 4)), np.zeros((3, 200, 4)), -5 * np.eye(4)[labels][None].repeat(3, 0)):
        for method in METHODS["expression"]:
            for space in SPACES_OF[method]:
                values = softmax(outputs, axis=2) if space == "probabilities" else outputs
                weights = fit_weights(method, space, values.astype(np.float32), labels, "accuracy")
                assert np.isfinite(weights).all()
                assert weights.max() > 0


@given(factor=st.sampled_from([1e-6, 1e6]))
def test_the_size_of_a_members_logits_does_not_decide_its_share(factor: float) -> None:
    outputs, labels = pool(4, 300)
    other = outputs.copy()
    other[1] *= factor
    weights, scaled = (fit_weights("stack", "logits", x, labels, "accuracy") for x in (outputs, other))
    assert scaled[1] * factor == pytest.approx(weights[1], rel=1e-3)
    assert scaled[0] == pytest.approx(weights[0], rel=1e-3)


def reference_greedy(probabilities: np.ndarray, labels: np.ndarray, metric: str, size: int) -> list[float]:
    """Caruana's loop as he wrote it, a member at a time: the metric after each step, whatever breaks the ties."""
    best = {(): np.zeros(probabilities.shape[1:], dtype=np.float32)}
    scores: list[float] = []
    for _ in range(size):
        tried = {
            tuple(sorted((*taken, i))): fused + one
            for taken, fused in best.items()
            for i, one in enumerate(probabilities.astype(np.float32))
        }
        judged = {taken: metrics.score(Task.EXPRESSION, fused, labels)[metric] for taken, fused in tried.items()}
        scores.append(max(judged.values()))
        best = {taken: tried[taken] for taken, score in judged.items() if score == scores[-1]}
    return scores


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_greedy_takes_the_best_step_each_time(metric: str) -> None:
    outputs, labels = pool(6, 400)
    likely = softmax(outputs.astype(np.float64), axis=2)
    by_hand = reference_greedy(likely, labels, metric, 4)
    for size in (1, 2, 3, 4):
        weights = greedy(likely, labels, metric, size=size, start=1)
        assert weights.sum() == pytest.approx(1)
        fused = np.tensordot(weights, likely.astype(np.float32), 1)
        # The best size on the way is kept.
        assert metrics.score(Task.EXPRESSION, fused, labels)[metric] == pytest.approx(max(by_hand[:size]), abs=1e-9)


def test_where_classes_tie_they_share_the_sample_in_greedy_steps_too() -> None:
    """A member that says the same of all classes is no good one, and neither are votes that tie."""
    outputs, labels = pool(2, 300)
    likely = softmax(outputs.astype(np.float64), axis=2)
    silent = np.full((1, 300, 4), 0.25)
    assert greedy(np.concatenate([likely, silent]), labels)[2] < 0.5
    votes = np.eye(4)[np.random.default_rng(0).integers(0, 4, (3, 300))]
    weights = greedy(votes, labels, size=2, start=1)
    fused = np.tensordot(weights, votes, 1)
    alone = max(metrics.score(Task.EXPRESSION, one, labels)["accuracy"] for one in votes)
    assert metrics.score(Task.EXPRESSION, fused, labels)["accuracy"] >= alone


def test_greedy_stops_early_and_bags_spread_the_weight() -> None:
    outputs, labels = pool(12, 300)
    likely = softmax(outputs.astype(np.float64), axis=2)
    perfect = np.concatenate([likely, np.eye(4)[labels][None]])
    assert greedy(perfect, labels).tolist() == [0.0] * 12 + [1.0]
    plain, bagged = greedy(likely, labels), greedy(likely, labels, bags=10)
    assert bagged.sum() == pytest.approx(1)
    assert (bagged > 0).sum() > (plain > 0).sum()
    assert (greedy(likely, labels, bags=10, seed=1) != bagged).any()


@pytest.mark.parametrize("start", [(0.25, 0.25, 0.25, 0.25), (0.91, 0.03, 0.03, 0.03)], ids=["uniform", "one rules"])
@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_no_single_weight_can_be_bettered_after_the_coordinate_search(metric: str, start: tuple[float, ...]) -> None:
    for seed in range(5):
        outputs, labels = pool(4, 60, seed)
        weights = coordinate_search(outputs, labels, [np.array(start)], metric, restarts=0)

        def at(w: np.ndarray, outputs: np.ndarray = outputs, labels: np.ndarray = labels) -> float:
            return metrics.score(Task.EXPRESSION, np.tensordot(w, outputs.astype(np.float64), 1), labels)[metric]

        assert weights.sum() == pytest.approx(1)
        assert at(weights) >= at(np.array(start))
        # Shares off the grid of crossings, from nothing to nearly everything.
        for member, share in itertools.product(range(4), np.linspace(0, 0.999, 83) + np.pi * 1e-5):
            changed = weights * (1 - share) / max(1 - weights[member], 1e-12)
            changed[member] = share
            assert at(changed) <= at(weights) + 1e-9
        more = coordinate_search(outputs, labels, [np.array(start)], metric, restarts=3)
        assert at(more) >= at(weights) - 1e-12
    alone = coordinate_search(outputs[:1], labels, [np.array([3.0])], metric)
    assert alone.tolist() == [1.0]


def test_temperatures_are_those_of_a_line_search() -> None:
    outputs, labels = pool(3, 400)
    scaled = outputs * np.array([0.05, 1.0, 40.0])[:, None, None]
    found = fit_temperatures(scaled, labels)
    for one, temperature in zip(scaled, found, strict=True):

        def loss(log_t: float, member: np.ndarray = one) -> float:
            return log_loss(np.array([np.exp(-log_t)]), member[None], labels)

        peer = minimize_scalar(loss, bounds=(-5, 6), method="bounded", options={"xatol": 1e-9})
        assert np.log(temperature) == pytest.approx(peer.x, abs=1e-4)
    assert fit_temperatures(outputs[:1] * 1e6, labels)[0] == pytest.approx(1000, rel=0.01)


def test_per_class_weights_help_where_members_know_different_classes(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 4, 4000)
    truth = np.eye(4)[labels]
    outputs = rng.standard_normal((2, 4000, 4))
    outputs[0, :, :2] += 3 * truth[:, :2]
    outputs[1, :, 2:] += 3 * truth[:, 2:]
    chosen, fresh = outputs[:, :2000], outputs[:, 2000:]
    shared = fit_weights("stack", "logits", chosen, labels[:2000], "accuracy")
    apart = fit_weights("stack", "logits", chosen, labels[:2000], "accuracy", per_column=True)
    assert apart.shape == (2, 4)
    assert (apart[0, :2] > apart[1, :2]).all()
    assert (apart[1, 2:] > apart[0, 2:]).all()
    by_class = (np.einsum("mc,mnc->nc", apart, fresh).argmax(axis=1) == labels[2000:]).mean()
    assert by_class > accuracy(shared, fresh, labels[2000:]) + 0.03


def test_a_limit_keeps_the_members_that_matter() -> None:
    outputs, labels = pool(10, 800)
    for method in METHODS["expression"]:
        space = SPACES_OF[method][0]
        values = softmax(outputs, axis=2) if space == "probabilities" else outputs
        weights = fit_weights(method, space, values, labels, "accuracy", max_members=3)
        assert 1 <= (weights > 0).sum() <= 3
    best = max(accuracy(one, outputs, labels) for one in np.eye(10))
    assert accuracy(fit_weights("stack", "logits", outputs, labels, "accuracy", max_members=3), outputs, labels) > best
    with pytest.raises(ValueError, match="method 'greedy' in space 'logits'"):
        fit_weights("greedy", "logits", outputs, labels, "accuracy")
