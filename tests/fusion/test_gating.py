"""Gates: weights that depend on the members' confidences, found where there is something to find."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from ig3d_ray.fusion.combine import Fusion, log_softmax, softmax
from ig3d_ray.fusion.gate_fit import _Problem, fit_gate
from ig3d_ray.fusion.gating import Gate, confidences
from ig3d_ray.types import Task

GATE = {
    "members": (2, 0),
    "center": (1.0, 0.5),
    "scale": (2.0, 0.7),
    "knots": ((-0.5, 0.4), (-0.3, 0.6)),
    "slopes": ((0.5, -0.2, 0.1, 0.0, 0.3, -0.4), (-1.0, 0.2, 0.7, 0.1, 0.0, 0.2)),
}


def planted(seed: int, samples: int, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Logits of two members, each right in half of the samples and confidently wrong in the others; and labels."""
    rng = np.random.default_rng(seed)
    labels, region = rng.integers(0, classes, samples), rng.integers(0, 2, samples)
    members = []
    for member in (0, 1):
        competent = region == member
        right = rng.random(samples) < np.where(competent, 0.92, 0.35)
        said = np.where(right, labels, (labels + rng.integers(1, classes, samples)) % classes)
        scores = np.eye(classes)[said] * np.where(competent, 2.2, 3.2)[:, None]
        members.append(scores + 0.35 * rng.standard_normal((samples, classes)))
    return np.stack(members), labels


def noise(seed: int, samples: int, members: int, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Logits of members that are equally good everywhere; and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    return 1.8 * np.eye(classes)[labels] + rng.standard_normal((members, samples, classes)), labels


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, (2, 5, 4), elements=st.floats(-30, 30)))
def test_a_confidence_is_the_log_odds_of_the_top_class(logits: np.ndarray) -> None:
    likely = softmax(logits)
    top = likely.max(axis=2)
    others = np.sort(likely, axis=2)[..., :-1].sum(axis=2)
    assert confidences(logits) == pytest.approx(np.minimum(np.log(top / np.maximum(others, 1e-300)), 27.6311), abs=1e-3)
    single = torch.from_numpy(logits).float()
    assert confidences(single, torch).numpy() == pytest.approx(confidences(single.double().numpy()), abs=1e-4)


def test_weights_are_the_static_ones_at_mean_confidence() -> None:
    gate = Gate(**GATE)
    # Log odds of exactly the centers: of two classes they are the difference of the logits.
    logits = np.array([[[0.5, 0.0]], [[3.0, 0.0]], [[0.0, 1.0]]])
    first, second, third = gate.weights(logits, np.array([0.2, 0.3, 0.5]))
    assert first == pytest.approx(np.array([[0.2]]))
    assert second == 0.3
    assert third == pytest.approx(np.array([[0.5]]))


def test_a_fusion_applies_its_gate_sample_by_sample() -> None:
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((3, 50, 5))
    fusion = Fusion(
        strategy="weighted",
        space="logits",
        weights=(0.2, 0.3, 0.5),
        temperatures=(2.0, 1.0, 0.5),
        floors=(0.1, 0.01, 0.2),
        gate=Gate(**GATE),
    )
    fused = fusion.apply(logits, Task.EXPRESSION)
    static = fusion.model_copy(update={"gate": None})
    for row in range(50):
        alone = fusion.apply(logits[:, row : row + 1], Task.EXPRESSION)
        assert alone[0] == pytest.approx(fused[row])
        found = fusion.gate.weights(logits[:, row : row + 1], np.array(fusion.weights))  # type: ignore[union-attr]
        weights = [float(np.ravel(one)[0]) for one in found]
        by_hand = static.model_copy(update={"weights": tuple(weights)}).apply(logits[:, row : row + 1], Task.EXPRESSION)
        assert by_hand[0] == pytest.approx(fused[row])
    assert not np.allclose(fused, static.apply(logits, Task.EXPRESSION))
    assert Fusion.model_validate_json(fusion.model_dump_json()) == fusion


@pytest.mark.parametrize(
    "change",
    [
        {"members": (0,)},
        {"members": (1, 1)},
        {"members": (-1, 0)},
        {"scale": (1.0, 0.0)},
        {"knots": ((0.0,), (0.0, 1.0))},
        {"slopes": ((0.1,), (0.2,))},
        {"members": (), "center": (), "scale": (), "knots": (), "slopes": ()},
    ],
)
def test_a_gate_whose_parts_do_not_fit_is_refused(change: dict) -> None:
    with pytest.raises(ValidationError, match="gate: "):
        Gate(**(GATE | change))


def test_a_gate_belongs_to_weights() -> None:
    gate = Gate(**GATE)
    with pytest.raises(ValidationError, match="gate: its members have no weights"):
        Fusion(strategy="weighted", space="logits", weights=(0.5, 0.5), gate=gate)
    with pytest.raises(ValidationError, match="gate: its members have no weights"):
        Fusion(strategy="mean", space="logits", weights=None, gate=gate)


def test_the_gradient_is_that_of_the_loss() -> None:
    logits, labels = noise(1, 60, 4)
    weights, members = np.array([0.5, 0.3, 0.2, 0.4]), np.array([0, 2, 3])
    problem = _Problem.of(logits, logits, labels, weights, members)
    rng = np.random.default_rng(0)
    at = 0.3 * rng.standard_normal(3 * problem.basis.shape[1])
    penalty = np.full(problem.basis.shape[1], 2.0)
    _, gradient = problem._value(at, penalty)
    for place in rng.choice(len(at), 12, replace=False):
        step = np.zeros_like(at)
        step[place] = 1e-5
        slope = (problem._value(at + step, penalty)[0] - problem._value(at - step, penalty)[0]) / 2e-5
        assert gradient[place] == pytest.approx(slope, abs=1e-6)


def test_the_fitted_gate_is_what_the_fusion_applies() -> None:
    logits, labels = planted(0, 1500)
    weights = np.array([1.0, 1.0])
    found = fit_gate(logits, logits, labels, weights)
    assert found is not None
    gate, changed = found
    fresh, truth = planted(1, 6000)
    gated = Fusion(strategy="weighted", space="logits", weights=tuple(changed.tolist()), gate=gate)
    static = Fusion(strategy="weighted", space="logits", weights=(1.0, 1.0))
    ours, theirs = (one.apply(fresh, Task.EXPRESSION) for one in (gated, static))
    right = [float((one.argmax(axis=1) == truth).mean()) for one in (ours, theirs)]
    assert right[0] > right[1] + 0.2
    losses = [-float(log_softmax(one)[np.arange(6000), truth].mean()) for one in (ours, theirs)]
    assert losses[0] < losses[1] - 0.2


@pytest.mark.parametrize("members", [2, 3])
def test_where_there_is_no_gate_to_find_none_is_fitted(members: int) -> None:
    found = 0
    for seed in range(60):
        logits, labels = noise(seed, 800, members)
        # Calibrated members of equal strength: the best weights are the scores' own strength for each.
        found += fit_gate(logits, logits, labels, np.full(members, 1.8)) is not None
    assert found <= 3


def test_too_few_samples_or_one_member_have_no_gate() -> None:
    logits, labels = planted(0, 8)
    assert fit_gate(logits, logits, labels, np.ones(2)) is None
    logits, labels = planted(0, 500)
    assert fit_gate(logits[:1], logits[:1], labels, np.ones(1)) is None
