"""Intervals, paired gains, McNemar's test, and what choosing the best of many adds."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.bootstrap import Bootstrap, mcnemar
from ig3d_ray.types import Task


def predicted(labels: np.ndarray, share: float, rng: np.random.Generator, classes: int = 3) -> np.ndarray:
    """Statistics of predictions that are right on about this share of the samples."""
    top = np.where(rng.random(len(labels)) < share, labels, (labels + 1) % classes)
    return metrics.statistics(Task.EXPRESSION, np.eye(classes)[top], labels)


def test_bootstrap_intervals_hold_the_normal_approximation_and_pair_what_is_compared() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 1000)
    right = np.eye(3)[np.where(rng.random(1000) < 0.8, labels, (labels + 1) % 3)]
    statistics = metrics.statistics(Task.EXPRESSION, right, labels)
    bootstrap = Bootstrap.of(Task.EXPRESSION, labels, seed=3)
    interval = bootstrap.intervals(statistics)["accuracy"]
    error = 1.96 * (interval.value * (1 - interval.value) / 1000) ** 0.5
    assert interval.low == pytest.approx(interval.value - error, abs=0.004)
    assert interval.high == pytest.approx(interval.value + error, abs=0.004)
    same = bootstrap.gain(statistics, statistics, "accuracy")
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert Bootstrap.of(Task.EXPRESSION, labels, seed=3).intervals(statistics) == bootstrap.intervals(statistics)


def test_a_gain_in_an_error_is_positive_when_the_error_is_smaller() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, (300, 2))
    good, bad = (metrics.statistics(Task.VA, truth + s * rng.standard_normal((300, 2)), truth) for s in (0.1, 0.4))
    gain = Bootstrap.of(Task.VA, truth, seed=0).gain(good, bad, "mse")
    assert 0 < gain.low < gain.value < gain.high


def test_resamples_keep_the_classes_counts_and_the_samples_number() -> None:
    labels = np.repeat([0, 1, 2], [5, 50, 200])
    bootstrap = Bootstrap.of(Task.EXPRESSION, labels, seed=0, resamples=450)
    drawn = bootstrap.sums(np.eye(3)[labels])
    assert (drawn == [5, 50, 200]).all()
    assert drawn.shape == (450, 3)
    # Each sample is drawn once on average, with the variance of n draws out of n.
    often = bootstrap.sums(np.eye(len(labels)))
    assert often.mean(axis=0) == pytest.approx(np.ones(len(labels)), abs=0.25)
    assert often[:, 5:].var() == pytest.approx(1, abs=0.05)


def test_blocks_that_are_not_kept_are_drawn_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 100)
    statistics = predicted(labels, 0.7, rng)
    kept = Bootstrap.of(Task.EXPRESSION, labels, seed=0).intervals(statistics)
    monkeypatch.setattr("ig3d_ray.evaluation.bootstrap._KEEP_BYTES", 0)
    streamed = Bootstrap.of(Task.EXPRESSION, labels, seed=0)
    assert streamed.intervals(statistics) == streamed.intervals(statistics) == kept


def test_mcnemar_is_the_binomial_test_of_the_disagreements() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(200) < 0.8, rng.random(200) < 0.7
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (int((first & ~second).sum()), int((second & ~first).sum()))
    expected = binomtest(found.only_first, found.only_first + found.only_second).pvalue
    assert found.p == pytest.approx(expected, rel=1e-5)
    assert mcnemar(first, first).p == 1


def test_the_best_of_many_equals_looks_better_than_it_is_by_what_the_maximum_adds() -> None:
    """A hundred classifiers of the same true accuracy: the largest of the observed ones is known to be too high."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    many = [predicted(labels, 0.7, rng) for _ in range(100)]
    bootstrap = Bootstrap.of(Task.EXPRESSION, labels, seed=0, resamples=200)
    found = bootstrap.optimism_of_best(many, "accuracy")
    # Expected maximum of 100 normal deviates: about 2.5 standard errors; the bootstrap centers on spread-out values
    # and finds more than half of it.
    error = (0.7 * 0.3 / 500) ** 0.5
    assert 1.2 * error < found < 3 * error
    alone = bootstrap.optimism_of_best(many[:1], "accuracy")
    assert abs(alone) < 0.2 * error
