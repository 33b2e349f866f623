"""Linear corrections: multinomial logistic regression on members' scores, as a difference from a static fusion."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from ig3d_ray.fusion import correction_fit
from ig3d_ray.fusion.combine import Fusion, log_softmax, softmax
from ig3d_ray.fusion.correction import Correction
from ig3d_ray.fusion.correction_fit import RIDGE, corrected_members, fit_correction
from ig3d_ray.types import Task

CLASSES = 4


def confused(seed: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[2, N, C]` of a member that exchanges classes 0 and 1 in most cases, and of a weak one; and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, samples)
    swapped = np.where(rng.random(samples) < 0.9, np.array([1, 0, 2, 3])[labels], labels)
    first = 3.0 * np.eye(CLASSES)[swapped] + rng.standard_normal((samples, CLASSES))
    return np.stack([first, 0.7 * np.eye(CLASSES)[labels] + rng.standard_normal((samples, CLASSES))]), labels


def loss_of(scores: np.ndarray, labels: np.ndarray) -> float:
    return -float(log_softmax(scores)[np.arange(len(labels)), labels].mean())


def test_a_member_that_exchanges_classes_is_put_right() -> None:
    (fit, labels), (fresh, truth) = confused(0, 1500), confused(1, 4000)
    static = Fusion(strategy="weighted", space="logits", weights=(0.5, 0.5))
    corrected = static.model_copy(update={"correction": fit_correction(fit, labels, np.array([0.5, 0.5]))})
    before, after = (one.apply(fresh, Task.EXPRESSION) for one in (static, corrected))
    assert (before.argmax(axis=1) == truth).mean() < 0.65
    assert (after.argmax(axis=1) == truth).mean() > 0.8
    assert loss_of(after, truth) < loss_of(before, truth) - 0.3
    assert corrected.label == "weighted of logits, corrected linearly"
    assert not corrected.is_static
    assert Fusion.model_validate_json(corrected.model_dump_json()) == corrected


def test_it_is_the_minimum_of_the_penalized_loss() -> None:
    values, labels = confused(2, 150)
    weights = np.array([0.3, 0.6])
    found = fit_correction(values, labels, weights)
    fused, inputs = np.tensordot(weights, values, 1), np.concatenate(list(values), axis=1)

    def penalized(flat: np.ndarray) -> float:
        rows, bias = flat[:-CLASSES].reshape(2 * CLASSES, CLASSES), flat[-CLASSES:]
        centered = (inputs - inputs.mean(axis=0)) @ rows + bias
        penalty = RIDGE * (rows**2).sum() + 1e-3 * (bias**2).sum()
        return 150 * loss_of(fused + centered, labels) + 0.5 * penalty

    ours = np.array(found.matrices).reshape(2 * CLASSES, CLASSES)
    bias = np.array(found.bias) + inputs.mean(axis=0) @ ours
    value = penalized(np.concatenate([ours.ravel(), bias]))
    best = minimize(penalized, np.zeros((2 * CLASSES + 1) * CLASSES), method="BFGS")
    assert value <= best.fun + 1e-5


def test_from_nothing_it_is_logistic_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = confused(3, 600)
    monkeypatch.setattr(correction_fit, "RIDGE", 1.0)
    found = fit_correction(values, labels, np.zeros(2))
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(np.concatenate(list(values), axis=1), labels)
    ours = softmax(found.added(values))
    # Theirs doesn't penalize the bias at all.
    assert ours == pytest.approx(theirs.predict_proba(np.concatenate(list(values), axis=1)), abs=2e-3)


def test_torch_adds_the_same() -> None:
    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((2, 3, 3)).round(3).tolist()
    correction = Correction(matrices=matrices, bias=(0.1, -0.2, 0.0))
    values = rng.standard_normal((2, 7, 3))
    by_hand = values[0] @ np.array(matrices[0]) + values[1] @ np.array(matrices[1]) + np.array([0.1, -0.2, 0.0])
    assert correction.added(values) == pytest.approx(by_hand)
    assert correction.added(torch.from_numpy(values).float(), torch).numpy() == pytest.approx(by_hand, abs=1e-5)


def test_of_very_many_members_those_with_weights_and_the_best_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 200)
    strengths = np.array([0.0, 2.0, 0.5, 1.0, 0.2])
    values = strengths[:, None, None] * np.eye(CLASSES)[labels] + 0.1 * rng.standard_normal((5, 200, CLASSES))
    weights = np.array([0.3, 0.0, 0.0, 0.0, 0.0])
    assert corrected_members(values, labels, weights).tolist() == [0, 1, 2, 3, 4]
    monkeypatch.setattr(correction_fit, "WIDEST", 3 * CLASSES)
    assert corrected_members(values, labels, weights).tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"matrices": ()},
        {"bias": (0.0,)},
        {"matrices": (((0.0, 1.0), (1.0, 0.0)), ((0.0,), (1.0,)))},
        {"bias": (float("nan"), 0.0)},
    ],
)
def test_a_correction_whose_parts_do_not_fit_is_refused(change: dict) -> None:
    square = ((0.0, 1.0), (1.0, 0.0))
    good = {"matrices": (square, square), "bias": (0.0, 0.0)}
    Correction(**good)
    with pytest.raises(ValidationError, match=r"correction|finite"):
        Correction(**(good | change))


def test_a_correction_belongs_to_weights() -> None:
    square = ((0.0, 1.0), (1.0, 0.0))
    correction = Correction(matrices=(square,), bias=(0.0, 0.0))
    with pytest.raises(ValidationError, match="correction: of other members"):
        Fusion(strategy="weighted", space="logits", weights=(1.0, 2.0), correction=correction)
    with pytest.raises(ValidationError, match="correction: of other members"):
        Fusion(strategy="mean", space="logits", weights=None, correction=correction)
