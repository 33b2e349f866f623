"""Metrics against scikit-learn, scipy and a hand-computed case."""

import itertools
import json

import numpy as np
import pytest
from golden_rules import CONFUSIONS
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.types import Task


def one_hot(predicted: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[predicted]


@given(
    classes=st.integers(2, 8),
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(1, 60),
)
def test_expression_metrics_are_those_of_scikit_learn(classes: int, seed: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, classes, (2, samples))
    found = metrics.score(Task.EXPRESSION, one_hot(predicted, classes), truth)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    for name, function in (("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score)):
        for average in ("macro", "weighted"):
            expected = function(truth, predicted, average=average, zero_division=0)
            assert found[f"{average}_{name}"] == pytest.approx(expected), (average, name)
    recalls = sk.recall_score(truth, predicted, average=None, labels=np.unique(truth), zero_division=0)
    assert found["balanced_accuracy"] == pytest.approx(recalls.mean())


def test_expression_metrics_by_hand() -> None:
    # Labels 0, 0, 1; predicted 0, 1, 1: class 0 has recall 1/2, precision 1; class 1 recall 1, precision 1/2.
    found = metrics.score(Task.EXPRESSION, np.array([[2.0, 1], [0, 1], [0, 3]]), np.array([0, 0, 1]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == pytest.approx(3 / 4)
    assert found["macro_f1"] == pytest.approx(2 / 3)


def test_classes_that_tie_share_a_sample() -> None:
    assert metrics.score(Task.EXPRESSION, np.zeros((2, 3)), np.array([0, 2]))["accuracy"] == pytest.approx(1 / 3)
    # One sample is right, of the other half is: whatever the order of the classes.
    scores = np.array([[2.0, 1.0, 0.0], [0.3, 0.1, 0.3]])
    for order in itertools.permutations(range(3)):
        labels = np.array([order.index(0), order.index(2)])
        found = metrics.score(Task.EXPRESSION, scores[:, list(order)], labels)
        assert found["accuracy"] == 0.75
        assert found == pytest.approx(metrics.score(Task.EXPRESSION, scores, np.array([0, 2])))
        assert metrics.score_one(Task.EXPRESSION, scores[:, list(order)], labels, "macro_f1") == found["macro_f1"]
    # Sums in another order differ in their last bits, and tie all the same.
    assert metrics.top_shares(np.array([[0.1 + 0.2, 0.3]])).tolist() == [[0.5, 0.5]]


def test_va_metrics_against_scipy_and_their_definitions(rng: np.random.Generator) -> None:
    truth = rng.uniform(-1, 1, (200, 2))
    predicted = 0.6 * truth + 0.2 * rng.standard_normal((200, 2)) + 0.1
    found = metrics.score(Task.VA, predicted, truth)
    sets = {"": (predicted.ravel(), truth.ravel()), "_valence": (predicted[:, 0], truth[:, 0])}
    sets["_arousal"] = (predicted[:, 1], truth[:, 1])
    for suffix, (p, t) in sets.items():
        assert found[f"mse{suffix}"] == pytest.approx(sk.mean_squared_error(t, p))
        assert found[f"mae{suffix}"] == pytest.approx(sk.mean_absolute_error(t, p))
        assert found[f"rmse{suffix}"] == pytest.approx(sk.mean_squared_error(t, p) ** 0.5)
        assert found[f"pcc{suffix}"] == pytest.approx(stats.pearsonr(p, t).statistic)
        covariance = np.cov(p, t, ddof=0)
        lin = 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (p.mean() - t.mean()) ** 2)
        assert found[f"ccc{suffix}"] == pytest.approx(lin)
        assert found[f"ccc_paper{suffix}"] == pytest.approx(lin * len(p) / (len(p) - 1))
    assert found["ccc_mean"] == pytest.approx((found["ccc_valence"] + found["ccc_arousal"]) / 2)


def test_a_perfect_prediction_has_ccc_one_and_a_constant_one_zero(rng: np.random.Generator) -> None:
    truth = rng.uniform(-1, 1, (50, 2))
    assert metrics.score(Task.VA, truth, truth)["ccc"] == pytest.approx(1)
    assert metrics.score(Task.VA, np.full((50, 2), 0.3), truth)["ccc_valence"] == pytest.approx(0, abs=1e-12)
    assert metrics.score(Task.VA, np.full((50, 2), 0.3), truth)["pcc_valence"] == pytest.approx(0, abs=1e-6)


def test_summed_statistics_with_weights_are_repeated_samples(rng: np.random.Generator) -> None:
    truth, scores = rng.integers(0, 4, 30), rng.standard_normal((30, 4))
    times = rng.integers(0, 4, 30)
    weighted = metrics.from_sums(Task.EXPRESSION, times @ metrics.statistics(Task.EXPRESSION, scores, truth))
    repeated = metrics.score(Task.EXPRESSION, np.repeat(scores, times, axis=0), np.repeat(truth, times))
    assert {name: float(value) for name, value in weighted.items()} == pytest.approx(repeated)


def test_predictions_and_labels_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="3 predictions for 2 labels"):
        metrics.score(Task.EXPRESSION, np.zeros((3, 2)), np.zeros(2, int))


def test_errors_are_minimized_and_the_rest_maximized() -> None:
    assert [metrics.metric_of(m).direction for m in ("mse", "rmse_valence", "mae")] == ["minimize"] * 3
    assert [metrics.metric_of(m).direction for m in ("ccc", "accuracy", "pcc_arousal", "macro_f1")] == ["maximize"] * 4


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(Ig3dError, match=r"unknown metric 'acc'; known for expression: accuracy, .*va: mse"):
        metrics.metric_of("acc")


def test_published_confusion_matrices_give_the_published_numbers() -> None:
    content = json.loads(CONFUSIONS.read_text())
    for name, published in content.items():
        counts = np.array(published["counts_rows_actual"])
        truth, predicted = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
        found = metrics.score(Task.EXPRESSION, one_hot(predicted, len(counts)), truth)
        assert found["accuracy"] == pytest.approx(published["acc"], abs=6e-5), name
        for average in ("weighted", "macro"):
            expected = dict(zip(("f1", "precision", "recall"), published[f"{average}_f1_p_r"], strict=True))
            for metric, value in expected.items():
                assert found[f"{average}_{metric}"] == pytest.approx(value, abs=6e-5), (name, average, metric)
