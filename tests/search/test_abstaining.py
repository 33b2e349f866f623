"""Abstention: the error among answered samples is bounded as often as promised, and predictions say where."""

from pathlib import Path

import numpy as np
import pytest
from pools import import_members
from scipy.stats import beta

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.ensembles.from_tables import fused_frame
from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion.combine import softmax
from ig3d_ray.report.sentences import about_abstention
from ig3d_ray.search.abstaining import abstention, risk_coverage, threshold_for
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.pipeline import Outcome, search_store
from ig3d_ray.workflow.progress import Reporter


def calibrated(seed: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and whether each is right, as often as the confidence says."""
    rng = np.random.default_rng(seed)
    likely = softmax(2.5 * rng.standard_normal((samples, 7)))
    confidence = likely.max(axis=1)
    return confidence, rng.random(samples) < confidence


@pytest.mark.parametrize("risk", [0.05, 0.1, 0.2])
def test_the_error_is_bounded_in_nineteen_of_twenty_selections(risk: float) -> None:
    everyone, right = calibrated(10**6, 400_000)
    broken, coverage = 0, []
    for seed in range(400):
        threshold = threshold_for(*calibrated(seed, 1000), risk)
        if threshold is None:
            continue
        answered = everyone >= threshold
        broken += (~right[answered]).mean() > risk
        coverage.append(answered.mean())
    assert broken <= 0.05 * 400 + 3 * (0.05 * 0.95 * 400) ** 0.5
    # A bound that is never met would be useless: half of what could be answered is.
    best = max((share for share, error in zip(*_curve(everyone, right), strict=True) if error <= risk), default=0.0)
    assert np.mean(coverage) > 0.5 * best > 0


def _curve(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = risk_coverage(confidence, right)
    return found.coverage, found.risk


def test_where_nothing_can_be_promised_there_is_no_threshold() -> None:
    confidence = np.random.default_rng(0).random(500)
    assert threshold_for(confidence, np.zeros(500, dtype=bool), 0.1) is None
    assert threshold_for(confidence[:20], np.ones(20, dtype=bool), 0.05) is None
    assert threshold_for(confidence, np.ones(500, dtype=bool), 0.05) == pytest.approx(confidence.min())


def test_risk_and_coverage_are_those_of_the_most_confident() -> None:
    confidence, right = calibrated(0, 150)
    found = risk_coverage(confidence, right)
    assert found.coverage[-1] == 1
    assert found.risk[-1] == pytest.approx((~right).mean())
    order = np.argsort(-confidence)
    for share, error in zip(found.coverage, found.risk, strict=True):
        first = order[: round(share * 150)]
        assert error == pytest.approx((~right[first]).mean())


def test_the_interval_of_the_error_is_exact() -> None:
    answered, right = np.arange(200) < 150, np.arange(200) % 10 != 0
    found = abstention(0.2, 0.5, answered, right)
    assert found.coverage == 0.75
    assert found.error is not None
    assert found.error.value == pytest.approx(0.1)
    assert found.error.low == pytest.approx(beta.ppf(0.025, 15, 136))
    assert found.error.high == pytest.approx(beta.ppf(0.975, 16, 135))
    assert abstention(0.1, None, np.zeros(200, dtype=bool), right).error is None


def searched(folder: Path, risk: float | None, **protocol: str) -> Outcome:
    store = Store(str(folder / "runs"))
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 7
    outputs = 1.6 * np.eye(7)[labels] + rng.standard_normal((2, 600, 7))
    content = {
        "dataset": "rafdb",
        "objective": "accuracy",
        "pool": import_members(store, outputs, labels, [f"c{i % 30}/f{i:03d}" for i in range(600)]),
        "protocol": {"kind": "cross_fitted"} | protocol,
        "search": {"budget": 5},
        "abstain_above_risk": risk,
    }
    return search_store(store, SearchSpace.model_validate(content), "abstains", Reporter())


def test_a_search_exports_its_threshold_and_predictions_abstain(tmp_path: Path) -> None:
    found = searched(tmp_path, 0.1)
    spec = found.spec
    assert spec.abstention is not None
    assert spec.abstention.threshold is not None
    assert 0.2 < spec.abstention.coverage < 1
    assert spec.abstention.error is not None
    assert spec.abstention.error.value <= 0.1
    assert f"below a probability of {spec.abstention.threshold:.4f}" in about_abstention(found.board)
    pool = found.findings.plan.report
    frame = fused_frame(spec, spec.fusion, pool.ids.tolist(), spec.predict(pool))
    confidence = frame.filter(like="probability_").max(axis=1)
    assert (frame["abstained"] == (confidence < spec.abstention.threshold)).all()
    assert 0 < frame["abstained"].mean() < 1
    other = spec.fusion.model_copy(update={"fused_temperature": 3.0})
    assert fused_frame(spec, other, pool.ids.tolist(), spec.predict(pool))["abstained"].all()
    without = searched(tmp_path, None).spec
    assert without.abstention is None
    assert without.fusion == spec.fusion
    assert "abstained" not in fused_frame(without, without.fusion, pool.ids.tolist(), without.predict(pool))
    with pytest.raises(Ig3dError, match="abstain_above_risk: rafdb test has groups"):
        searched(tmp_path, 0.1, group_by="^(.*)/")


def test_valence_and_arousal_have_no_confidence() -> None:
    content = {
        "dataset": "affectnet_va",
        "objective": "ccc_mean",
        "pool": [{"kind": "imported", "name": "a", "view": "2d"}],
        "abstain_above_risk": 0.1,
    }
    with pytest.raises(ValueError, match="abstain_above_risk: valence and arousal have no confidence"):
        SearchSpace.model_validate(content)
