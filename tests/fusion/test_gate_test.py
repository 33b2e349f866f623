"""The test whether weights depend on the sample: how often it finds what is not there, and what is."""

import numpy as np
import pytest

from ig3d_ray.fusion.combine import softmax
from ig3d_ray.fusion.gate_test import Derivatives, _information

CLASSES, SAMPLES = 4, 500
BASIS = 3


def drawn(seed: int, dependence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs `[2, N, C]` times weights, one-hot labels drawn from their fused probabilities, and a basis `[N, 3]`
    on whose second column the true weight of the first member depends."""
    rng = np.random.default_rng(seed)
    basis = np.column_stack([np.ones(SAMPLES), rng.standard_normal((SAMPLES, BASIS - 1))])
    outputs = 1.5 * rng.standard_normal((2, SAMPLES, CLASSES))
    true = outputs[0] * np.exp(dependence * basis[:, 1])[:, None] + outputs[1]
    labels = [rng.choice(CLASSES, p=row) for row in softmax(true)]
    return outputs, np.eye(CLASSES)[labels], basis


def p_value(seed: int, dependence: float, weights: tuple[float, float] = (1.0, 1.0)) -> float:
    outputs, truth, basis = drawn(seed, dependence)
    parts = np.array(weights)[:, None, None] * outputs
    tested = np.ones((2, BASIS), dtype=bool)
    tested[:, 0] = False
    return Derivatives.of(parts, softmax(parts.sum(axis=0)), truth).p_value(basis, tested)


def test_the_slopes_are_the_derivatives_of_the_log_loss() -> None:
    outputs, truth, _ = drawn(0, 0.0)
    slope = Derivatives.of(outputs, softmax(outputs.sum(axis=0)), truth).slope

    def losses(factors: tuple[float, float]) -> np.ndarray:
        likely = softmax(np.exp(factors[0]) * outputs[0] + np.exp(factors[1]) * outputs[1])
        return np.asarray(-np.log((likely * truth).sum(axis=1)))

    step = 1e-5
    numeric = [
        (losses((step, 0.0)) - losses((-step, 0.0))) / (2 * step),
        (losses((0.0, step)) - losses((0.0, -step))) / (2 * step),
    ]
    assert slope == pytest.approx(np.stack(numeric, axis=1), abs=1e-6)


def test_the_information_is_the_covariance_of_the_scores() -> None:
    outputs, _, basis = drawn(0, 0.0)
    likely, rng = softmax(outputs.sum(axis=0)), np.random.default_rng(1)
    drawings = []
    for _ in range(4000):
        labels = (rng.random(SAMPLES)[:, None] > likely.cumsum(axis=1)).sum(axis=1)
        drawings.append((Derivatives.of(outputs, likely, np.eye(CLASSES)[labels]).slope.T @ basis).ravel())
    expected = _information(Derivatives.of(outputs, likely, np.eye(CLASSES)[labels]).spread, basis)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.cov(np.array(drawings).T) / scale == pytest.approx(expected / scale, abs=0.08)


def test_p_values_are_uniform_where_nothing_depends_on_the_sample() -> None:
    found = np.array([p_value(seed, 0.0) for seed in range(400)])
    # Binomial bounds of four standard errors.
    for level in (0.05, 0.2, 0.5):
        assert abs((found < level).mean() - level) < 4 * (level * (1 - level) / 400) ** 0.5
    assert (found < 0.001).sum() <= 4


def test_constant_weights_that_are_not_the_best_are_no_dependence() -> None:
    found = np.array([p_value(seed, 0.0, (1.2, 0.9)) for seed in range(400)])
    assert (found < 0.05).mean() < 0.1


def test_a_weight_that_depends_on_the_sample_is_found() -> None:
    assert max(p_value(seed, 0.8) for seed in range(20)) < 1e-3


def test_a_function_that_is_constant_or_twice_there_counts_once() -> None:
    outputs, truth, basis = drawn(0, 0.3)
    derivatives = Derivatives.of(outputs, softmax(outputs.sum(axis=0)), truth)
    alone = np.array([[False, True], [False, True]])
    once = derivatives.p_value(basis[:, :2], alone)
    twice = np.column_stack([basis[:, :2], basis[:, 1], np.ones(SAMPLES)])
    more = np.column_stack([alone, alone[:, 1], alone[:, 1]])
    assert derivatives.p_value(twice, more) == pytest.approx(once, rel=1e-6)
    nothing = np.column_stack([basis[:, 0], basis[:, 0]])
    assert derivatives.p_value(nothing, alone) == 1.0
