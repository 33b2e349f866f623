"""Linear corrections of valence and arousal: ridge regression, and for concordance the labels' spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge

from ig3d_ray.evaluation import metrics
from ig3d_ray.fusion import va_correction
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.fusion.va_correction import _cross_fitted, _ridge, fit_va_correction, va_corrected_members
from ig3d_ray.types import Task

MEMBERS = 3


def shrunk(seed: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Members that predict too little of the range, and whose arousal depends on the valence; and labels."""
    rng = np.random.default_rng(seed)
    labels = np.tanh(rng.standard_normal((samples, 2)))
    noise = 0.4 * rng.standard_normal((MEMBERS, samples, 2))
    outputs = 0.5 * (labels + noise)
    outputs[:, :, 1] += 0.3 * labels[:, 0] + 0.1
    return np.clip(outputs, -1, 1), labels


def fused(outputs: np.ndarray, weights: np.ndarray, labels: np.ndarray, objective: str) -> Fusion:
    correction = fit_va_correction(outputs, labels, weights, objective)
    return Fusion(strategy="weighted", space="logits", weights=tuple(weights.tolist()), correction=correction)


def score(predicted: np.ndarray, labels: np.ndarray, metric: str) -> float:
    return metrics.score_one(Task.VA, predicted, labels, metric)


@pytest.mark.parametrize("metric", ["ccc_mean", "ccc", "ccc_arousal", "rmse"])
def test_what_weights_leave_is_put_right(metric: str) -> None:
    (outputs, labels), (fresh, truth) = shrunk(0, 800), shrunk(1, 4000)
    weights = np.full(MEMBERS, 1 / MEMBERS)
    corrected = fused(outputs, weights, labels, metric)
    static = corrected.static.apply(fresh, Task.VA)
    found = corrected.apply(fresh, Task.VA)
    sign = metrics.metric_of(metric).sign
    assert sign * score(found, truth, metric) > sign * score(static, truth, metric) + 0.1
    assert np.abs(found).max() <= 1
    if metric == "ccc":
        # The pooled coefficient has one spread for both dimensions.
        other = fused(outputs, weights, labels, "ccc_mean").apply(fresh, Task.VA)
        assert score(found, truth, "ccc") > score(other, truth, "ccc")
    # As good as any linear function of the same predictions.
    inputs = np.concatenate(list(outputs), axis=1), np.concatenate(list(fresh), axis=1)
    linear = LinearRegression().fit(inputs[0], labels).predict(inputs[1])
    assert sign * score(found, truth, metric) > sign * score(linear, truth, metric) - 0.002
    assert Fusion.model_validate_json(corrected.model_dump_json()) == corrected


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1e-5, 1e-2, 1.0, 100.0]))
def test_it_is_ridge_regression(seed: int, penalty: float) -> None:
    rng = np.random.default_rng(seed)
    inputs, targets = rng.standard_normal((50, 6)), rng.standard_normal((50, 2))
    rows, bias = _ridge(inputs, targets, [penalty])[0]
    around = inputs - inputs.mean(axis=0)
    theirs = Ridge(penalty * (around**2).sum() / 6).fit(inputs, targets)
    assert rows == pytest.approx(theirs.coef_.T, abs=1e-8)
    assert bias == pytest.approx(theirs.intercept_, abs=1e-8)


def test_inputs_that_are_equal_or_constant_have_a_solution() -> None:
    outputs, labels = shrunk(0, 100)
    outputs[1] = outputs[0]
    outputs[2] = 0.25
    found = fused(outputs, np.full(MEMBERS, 1 / MEMBERS), labels, "ccc_mean").apply(outputs, Task.VA)
    assert np.isfinite(found).all()
    still = fused(np.full((2, 30, 2), 0.5), np.full(2, 0.5), labels[:30], "ccc_mean")
    assert still.apply(np.full((2, 5, 2), 0.5), Task.VA) == pytest.approx(np.tile(labels[:30].mean(axis=0), (5, 1)))


def test_for_concordance_held_out_predictions_have_the_mean_and_the_spread_of_the_labels() -> None:
    outputs, labels = shrunk(0, 500)
    weights = np.full(MEMBERS, 1 / MEMBERS)
    error, concordance = (fit_va_correction(outputs, labels, weights, metric) for metric in ("mse", "ccc_mean"))
    static = np.tensordot(weights, outputs, 1)
    plain, spread = (static + one.added(outputs) for one in (error, concordance))
    inputs = np.concatenate(list(outputs), axis=1)
    _, held_out = _cross_fitted(inputs, static, labels, 0)
    factor = labels.std(axis=0) / held_out.std(axis=0)
    assert (factor > 1.01).all()
    # The same predictions, further apart by that factor.
    assert spread.std(axis=0) == pytest.approx(factor * plain.std(axis=0), rel=1e-4)
    assert score(plain, labels, "mse") < score(spread, labels, "mse")
    assert score(plain, labels, "ccc_mean") < score(spread, labels, "ccc_mean")


def test_where_nothing_is_left_the_penalty_is_large() -> None:
    rng = np.random.default_rng(0)
    labels = np.tanh(rng.standard_normal((300, 2)))
    outputs = np.stack([labels + 0.1 * rng.standard_normal((300, 2)), rng.standard_normal((300, 2))])
    # Weights of the least squared error, and a residual that no output explains.
    penalty, _ = _cross_fitted(np.concatenate(list(outputs), axis=1), labels, labels + rng.standard_normal((300, 2)), 0)
    assert penalty >= 10


def test_of_very_many_members_those_with_weights_and_the_best_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(va_correction, "MOST", 3)
    labels = np.zeros((10, 2))
    outputs = np.stack([np.full((10, 2), size) for size in (0.9, 0.1, 0.5, 0.2, 0.3)])
    assert va_corrected_members(outputs, labels, np.array([0.0, 0.0, 1.0, 0.0, 0.0])).tolist() == [1, 2, 3]
