"""Scores of probabilities: against scikit-learn, and on probabilities whose calibration is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from ig3d_ray.evaluation.calibration import calibration
from ig3d_ray.evaluation.probability_scores import brier_scores, ece, log_losses, reliability
from ig3d_ray.fusion.combine import Fusion, softmax
from ig3d_ray.fusion.temperature import fit_temperatures
from ig3d_ray.search.estimator import LateFusion
from ig3d_ray.types import Task


def calibrated(seed: int, samples: int = 2000, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.standard_normal((samples, classes))
    return logits, np.array([rng.choice(classes, p=row) for row in softmax(logits)])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 9))
def test_log_loss_and_brier_score_are_those_of_scikit_learn(seed: int, classes: int) -> None:
    logits, labels = calibrated(seed, 60, classes)
    likely = softmax(logits)
    named = list(range(classes))
    assert log_losses(likely, labels).mean() == pytest.approx(log_loss(labels, likely, labels=named))
    if classes > 2:
        theirs = brier_score_loss(labels, likely, labels=named, scale_by_half=False)
        assert brier_scores(likely, labels).mean() == pytest.approx(theirs)


def test_the_error_of_calibrated_probabilities_is_nothing_but_chance() -> None:
    found = []
    for seed in range(20):
        logits, labels = calibrated(seed, 1000)
        found.append(ece(reliability(softmax(logits), labels)))
    # The plain error is .04 on average.
    assert np.mean(found) < 0.018


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_the_error_of_others_is_found_and_its_interval_covers_it(temperature: float) -> None:
    logits, labels = calibrated(0, 200_000)
    truth = ece(reliability(softmax(logits / temperature), labels))
    covered = 0
    for seed in range(40):
        few, of_few = calibrated(seed + 1, 1500)
        found = calibration(softmax(few / temperature), of_few, seed).ece
        covered += found.low <= truth <= found.high
        assert found.value == pytest.approx(truth, abs=0.05)
    assert covered >= 34


def test_bins_hold_equally_many_samples() -> None:
    logits, labels = calibrated(0, 1500)
    likely = softmax(logits)
    bins = reliability(likely, labels)
    assert bins.count.tolist() == [100.0] * 15
    assert (np.diff(bins.confidence) > 0).all()
    assert (bins.accuracy * bins.count).sum() == pytest.approx((likely.argmax(axis=1) == labels).sum())


@pytest.mark.parametrize("space", ["logits", "log_probabilities", "probabilities"])
def test_a_temperature_changes_no_class_and_is_that_of_least_log_loss(space: str) -> None:
    logits, labels = calibrated(0, 3000, 5)
    members = np.stack([3 * logits, logits + np.random.default_rng(1).standard_normal(logits.shape)])
    plain = Fusion(strategy="mean", space=space, weights=None)  # type: ignore[arg-type]
    fused = plain.apply(members, Task.EXPRESSION)
    (found,) = fit_temperatures(plain.fused_logits(fused)[None], labels)
    losses = {}
    for factor in (0.9, 1.0, 1.1):
        warm = plain.model_copy(update={"fused_temperature": float(found) * factor})
        likely = warm.probabilities(fused)
        assert likely.sum(axis=1) == pytest.approx(1)
        assert (likely.argmax(axis=1) == fused.argmax(axis=1)).all()
        losses[factor] = log_losses(likely, labels).mean()
    assert min(losses, key=losses.__getitem__) == 1.0
    # One is what there is without a temperature.
    one = plain.model_copy(update={"fused_temperature": 1.0})
    assert one.probabilities(fused) == pytest.approx(plain.probabilities(fused), abs=1e-9)


def test_a_fused_pair_has_calibrated_probabilities() -> None:
    # Two views of one face: the evidence of their logits adds up, and weights that sum to one flatten it to a third.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 3000)
    members = [1.5 * np.eye(7)[labels] + rng.standard_normal((3000, 7)) for _ in range(2)]
    fusion = LateFusion("accuracy", budget=10).fit(members, labels)
    board = fusion.board_
    assert board.calibrated is not None
    before, after = board.calibrated.scores.uncalibrated, board.calibrated.scores.calibrated
    assert after.log_loss.value < before.log_loss.value
    assert before.ece.value > 0.1
    assert after.ece.value < 0.03
    assert board.calibrated.temperature == pytest.approx(1 / 3, abs=0.05)
    likely = fusion.predict_proba(members)
    assert (likely.argmax(axis=1) == fusion.predict(members)).all()
    plain = fusion.fusion_.model_copy(update={"fused_temperature": None})
    without = plain.probabilities(fusion.decision_function(members))
    assert log_losses(likely, labels).mean() < log_losses(without, labels).mean()


def test_the_calibration_error_lies_in_its_interval() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        likely = softmax(rng.normal(size=(600, 5)))
        labels = (likely.cumsum(axis=1) < rng.random(600)[:, None]).sum(axis=1)
        found = calibration(likely, labels, 0).ece
        assert found.low <= found.value <= found.high
