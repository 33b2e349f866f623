"""Late fusion: strategies by definition, exact weights against brute force, no dependence on order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from ig3d_ray.evaluation import metrics
from ig3d_ray.fusion import pair_weight
from ig3d_ray.fusion.combine import (
    SPACES,
    STRATEGIES,
    Fusion,
    Space,
    Strategy,
    combine,
    fuse,
    log_softmax,
    softmax,
    to_space,
)
from ig3d_ray.types import Task


def test_strategies_by_hand() -> None:
    outputs = np.array([[[1.0, 4.0]], [[3.0, 2.0]]])
    assert fuse("max", outputs).tolist() == [[3.0, 4.0]]
    assert fuse("min", outputs).tolist() == [[1.0, 2.0]]
    assert fuse("mean", outputs).tolist() == [[2.0, 3.0]]
    assert fuse("weighted", outputs, np.array([0.75, 0.25])).tolist() == [[1.5, 3.5]]
    assert fuse("weighted", outputs, np.array([[0.75, 0.0], [0.25, 1.0]])).tolist() == [[1.5, 2.0]]


@pytest.mark.parametrize(
    ("strategy", "shape", "weights", "message"),
    [
        ("max", (3, 4), None, "must be"),
        ("max", (0, 3, 4), None, "must be"),
        ("weighted", (2, 3, 4), None, "needs weights"),
        ("mean", (2, 3, 4), [0.5, 0.5], "takes no weights"),
        ("weighted", (2, 3, 4), [1.0], "2 members but weights of shape"),
        ("weighted", (2, 3, 4), [[0.5, 0.5]], "2 members but weights of shape"),
        ("median", (2, 3, 4), None, "unknown strategy 'median'; known: max, min, mean, weighted"),
    ],
)
def test_what_does_not_fit_is_refused(strategy: str, shape: tuple, weights: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fuse(strategy, np.zeros(shape), None if weights is None else np.array(weights))  # type: ignore[arg-type]


@given(
    members=st.integers(1, 4),
    samples=st.integers(1, 40),
    strategy=st.sampled_from(STRATEGIES),
    space=st.sampled_from(SPACES),
    batch=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_order_and_batch_size_change_nothing(
    members: int, samples: int, strategy: str, space: str, batch: int, seed: int
) -> None:
    """The published RAF-DB fusion took the first sample's logits for its whole batch; this is the test for it."""
    rng = np.random.default_rng(seed)
    logits, labels = 4 * rng.standard_normal((members, samples, 5)), rng.integers(0, 5, samples)
    weights = rng.dirichlet(np.ones(members)) if strategy == "weighted" else None

    def fused(rows: np.ndarray) -> np.ndarray:
        return fuse(strategy, to_space(logits[:, rows], space), weights)  # type: ignore[arg-type]

    whole = fused(np.arange(samples))
    order = rng.permutation(samples)
    in_batches = np.concatenate([fused(order[start : start + batch]) for start in range(0, samples, batch)])
    assert (in_batches == whole[order]).all()
    assert metrics.score(Task.EXPRESSION, in_batches, labels[order]) == metrics.score(Task.EXPRESSION, whole, labels)


def test_one_samples_logits_are_never_taken_for_all() -> None:
    with pytest.raises(ValueError, match="inhomogeneous"):
        fuse("mean", [np.zeros((4, 7)), np.zeros(7)])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shapes differ"):
        pair_weight.expression_steps(np.zeros((4, 7)), np.zeros((1, 7)), np.zeros(4, int))


def test_log_probabilities_and_logits_agree_on_the_top_class_of_a_weighted_sum(rng: np.random.Generator) -> None:
    logits, weights = 3 * rng.standard_normal((2, 50, 7)), np.array([0.3, 0.7])
    tops = [fuse("weighted", to_space(logits, s), weights).argmax(1).tolist() for s in ("logits", "log_probabilities")]
    assert tops[0] == tops[1]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(STRATEGIES),
    st.sampled_from(SPACES),
    st.integers(1, 4),
    st.integers(2, 6),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_numpy_and_torch_give_the_same_fusion_and_probabilities(
    strategy: Strategy, space: Space, members: int, classes: int, per_class: bool, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    logits = 3 * draw.standard_normal((members, 5, classes))
    weights = draw.uniform(-0.2, 1, (members, classes) if per_class else members)
    given = weights if strategy == "weighted" else None
    fused = combine(strategy, to_space(logits, space), given)
    tensors = to_space(torch.from_numpy(logits), space, torch)
    again = combine(strategy, tensors, None if given is None else torch.from_numpy(given), torch)
    assert again.numpy() == pytest.approx(fused, abs=1e-12)
    assert fused == pytest.approx(fuse(strategy, to_space(logits, space), given), abs=1e-12)
    key = "weights_by_column" if per_class else "weights"
    rows = tuple(map(tuple, weights.tolist())) if per_class else tuple(weights.tolist())
    about = {"weights": None, key: rows if strategy == "weighted" else None}
    fusion = Fusion(strategy=strategy, space=space, **about)  # type: ignore[arg-type]
    likely = fusion.probabilities(fused)
    assert fusion.probabilities(again, torch).numpy() == pytest.approx(likely, abs=1e-12)
    assert (likely >= 0).all()
    assert likely.sum(axis=1) == pytest.approx(np.where((likely > 0).any(axis=1), 1.0, 0.0))


def test_the_softmax_is_scipys() -> None:
    scores = 20 * np.random.default_rng(0).standard_normal((50, 7))
    assert softmax(scores) == pytest.approx(special.softmax(scores, axis=1), abs=1e-15)
    assert log_softmax(scores) == pytest.approx(special.log_softmax(scores, axis=1), abs=1e-13)


def test_weights_are_shown_in_one_way() -> None:
    one = Fusion(strategy="weighted", space="logits", weights=(0.25, 0.75))
    rows = Fusion(strategy="weighted", space="logits", weights=None, weights_by_column=((0.1, 0.2), (0.9, 0.8)))
    mean = Fusion(strategy="mean", space="logits", weights=None)
    assert one.weight_texts(2) == ("0.2500", "0.7500")
    assert rows.weight_texts(2) == ("(0.100 0.200)", "(0.900 0.800)")
    assert mean.weight_texts(2) == ("", "")
