"""Temperatures and floors: those of least log-loss, found again where they were planted, and harmless elsewhere."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from ig3d_ray.fusion import qp
from ig3d_ray.fusion.combine import into_space, softmax, with_floors
from ig3d_ray.fusion.qp import minimize_quadratic
from ig3d_ray.fusion.robust import LEAST, MOST, fit_floors
from ig3d_ray.fusion.stacking import stack_logits
from ig3d_ray.types import Task


def planted(
    rng: np.random.Generator, samples: int, classes: int, floor: float, warm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[N, C]`, and labels drawn from their probabilities at a temperature, a share of them from anywhere."""
    logits = 2 * rng.standard_normal((samples, classes))
    likely = (1 - floor) * softmax(logits / warm) + floor / classes
    labels = (rng.random((samples, 1)) > likely.cumsum(axis=1)).sum(axis=1)
    return logits, np.minimum(labels, classes - 1)


def loss(logits: np.ndarray, labels: np.ndarray, warm: float, floor: float) -> float:
    likely = with_floors((logits / warm)[None], np.array([floor]))[0]
    return -float(likely[np.arange(len(labels)), labels].mean())


@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(2, 9),
    floor=st.sampled_from([0.0, 0.02, 0.2]),
    warm=st.sampled_from([0.4, 1.0, 3.0]),
)
def test_nothing_near_them_is_better(seed: int, classes: int, floor: float, warm: float) -> None:
    logits, labels = planted(np.random.default_rng(seed), 600, classes, floor, warm)
    (temperature,), (found,) = fit_floors(logits[None], labels)
    assert LEAST <= found <= MOST
    ours = loss(logits, labels, temperature, found)
    best = minimize(
        lambda x: loss(logits, labels, np.exp(x[0]), LEAST + (MOST - LEAST) / (1 + np.exp(-x[1]))),
        [np.log(warm), -2.0],
        method="Nelder-Mead",
        options={"maxiter": 400},
    )
    assert ours <= best.fun + 2e-3


@pytest.mark.parametrize(("floor", "warm"), [(0.1, 0.5), (0.02, 2.0)])
def test_what_was_planted_is_found(floor: float, warm: float) -> None:
    logits, labels = planted(np.random.default_rng(0), 100_000, 7, floor, warm)
    (temperature,), (found,) = fit_floors(logits[None], labels)
    # Of 4,000 of them.
    assert temperature == pytest.approx(warm, rel=0.15)
    assert found == pytest.approx(floor, abs=0.03)


def test_confident_mistakes_cost_little_and_a_stack_keeps_the_member() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(5, size=2000)
    good = 1.5 * np.eye(5)[labels] + rng.standard_normal((2000, 5))
    better = 3.0 * np.eye(5)[labels] + rng.standard_normal((2000, 5))
    # One time in fifty it says that the right class is impossible.
    sure = rng.random(2000) < 0.02
    better[sure, labels[sure]] = -27.0
    outputs = np.stack([good, better])
    temperatures, floors = fit_floors(outputs, labels)
    robust = into_space(outputs, "logits", temperatures, Task.EXPRESSION, floors)
    assert 0.005 < floors[1] < 0.1
    assert robust[1].min() >= np.log(floors[1] / 5) - 1e-9
    right = {}
    for name, some in (("as they are", outputs), ("robust", robust)):
        weights = stack_logits(some.astype(np.float32), labels).weights
        right[name] = (np.tensordot(weights, some, 1).argmax(axis=1) == labels).mean()
    assert right["robust"] > right["as they are"] + 0.02


def test_members_that_are_nearly_equal_end_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    # Rounding lets a copy of a member enter, which leaves again at zero: without end, before.
    rng = np.random.default_rng(8)
    rows = rng.standard_normal((40, 6))
    copies = np.repeat(rows, 5, axis=1) + 1e-5 * rng.standard_normal((40, 30))
    single = copies.astype(np.float32)
    hessian = (single.T @ single).astype(np.float64)
    gradient = -copies.T @ (rows @ np.array([1.0, 2.0, 0.0, 0.0, 0.5, 0.0])) + 1e-3 * rng.standard_normal((2, 30))[1]
    steps: list[int] = []

    def counted(*arguments: Any) -> Any:
        steps.append(1)
        return settle(*arguments)

    settle = qp._Program._settle
    monkeypatch.setattr(qp._Program, "_settle", counted)
    weights = minimize_quadratic(hessian, gradient, None)
    assert len(steps) < 5 * len(gradient)
    reduced = hessian @ weights + gradient
    assert weights.min() >= 0
    # As exact as a curvature in single precision.
    scale = float(np.abs(gradient).max())
    assert reduced.min() > -1e-6 * scale
    assert weights @ reduced == pytest.approx(0, abs=1e-6 * scale)


def test_the_fit_does_not_depend_on_the_members_scale() -> None:
    """Logits times a number have a temperature times that number, and the same floor."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 2000)
    logits = 1.2 * np.eye(5)[labels] + rng.normal(size=(2000, 5))
    logits[:100] = 12 * rng.normal(size=(100, 5))
    scales = np.array([1.0, 20.0, 0.05, 0.01])
    temperatures, floors = fit_floors(scales[:, None, None] * logits, labels)
    assert floors[0] > 0.02
    for scale, temperature, floor in zip(scales, temperatures, floors, strict=True):
        assert temperature == pytest.approx(scale * temperatures[0], rel=0.03)
        assert floor == pytest.approx(floors[0], abs=0.004)
