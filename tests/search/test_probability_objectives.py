"""Log-loss, Brier score and calibration error as objectives: solved, scored, resampled and exported as such."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import import_members
from scipy.optimize import minimize, minimize_scalar
from sklearn.metrics import brier_score_loss, log_loss

from ig3d_ray.audit.sources import audit_store
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.ensembles.reproduce import predict
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.bootstrap import Bootstrap
from ig3d_ray.evaluation.calibration import calibration
from ig3d_ray.evaluation.probability_scores import ece, reliability
from ig3d_ray.fusion.combine import log_softmax, softmax
from ig3d_ray.fusion.fit import fit_weights
from ig3d_ray.fusion.greedy import greedy
from ig3d_ray.fusion.pair_probabilities import weight_for_probabilities
from ig3d_ray.fusion.temperature import fit_temperatures
from ig3d_ray.search.estimator import LateFusion
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Task
from ig3d_ray.workflow.pipeline import Outcome, search_store
from ig3d_ray.workflow.progress import Reporter
from ig3d_ray.workflow.reports import findings_of, write_report

OBJECTIVES = metrics.PROBABILITY_METRICS


def members(seed: int, samples: int = 900, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[3, N, C]` of an overconfident member, a cautious one and one that knows little; and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    signal = np.eye(classes)[labels]
    found = [scale * (strength * signal + rng.standard_normal((samples, classes))) for strength, scale in SHAPES]
    return np.stack(found), labels


SHAPES = ((1.8, 3.0), (1.4, 0.4), (0.3, 1.0))


def loss(likely: np.ndarray, labels: np.ndarray) -> float:
    return float(log_loss(labels, likely, labels=range(likely.shape[1])))


def test_metrics_of_probabilities_are_those_of_scikit_learn() -> None:
    logits, labels = members(0)
    likely = softmax(logits[0])
    found = metrics.score(Task.EXPRESSION, np.log(likely), labels, of_probabilities=True)
    assert found["log_loss"] == pytest.approx(loss(likely, labels))
    assert found["brier"] == pytest.approx(brier_score_loss(labels, likely, labels=range(5), scale_by_half=False))
    assert found["ece"] == pytest.approx(float(ece(reliability(likely, labels))))
    without = metrics.score(Task.EXPRESSION, np.log(likely), labels)
    assert without == {name: value for name, value in found.items() if name not in OBJECTIVES}
    for name, value in found.items():
        assert metrics.score_one(Task.EXPRESSION, np.log(likely), labels, name) == pytest.approx(value)


def test_resamples_are_scored_as_if_they_were_samples() -> None:
    logits, labels = members(1, samples=200)
    scores = log_softmax(logits[0])
    statistics = metrics.statistics(Task.EXPRESSION, scores, labels, of_probabilities=True)
    resamples = Bootstrap.of(Task.EXPRESSION, labels, seed=3, resamples=7)
    drawn = resamples.draws(statistics)
    for place, counts in enumerate(np.concatenate(list(resamples._draw()))):
        rows = np.repeat(np.arange(200), counts)
        again = metrics.score(Task.EXPRESSION, scores[rows], labels[rows], of_probabilities=True)
        for name in ("log_loss", "brier", "accuracy", "macro_f1"):
            assert drawn[name][place] == pytest.approx(again[name])
    assert resamples.gain(statistics, statistics, "log_loss").value == 0
    sure = metrics.statistics(Task.EXPRESSION, log_softmax(3 * logits[0]), labels, of_probabilities=True)
    assert resamples.gain(statistics, sure, "log_loss").low > 0


def test_intervals_and_gains_don_t_mix_up_what_is_kept() -> None:
    logits, labels = members(2, samples=120)
    resamples = Bootstrap.of(Task.EXPRESSION, labels, seed=3, resamples=50)
    every = [metrics.statistics(Task.EXPRESSION, one * factor, labels) for one in logits for factor in (1, -1)]
    once = [Bootstrap.of(Task.EXPRESSION, labels, seed=3, resamples=50).draws(one)["accuracy"] for one in every]
    for order in ((0, 1, 2, 3, 4, 5), (5, 0, 5, 1, 0, 4, 2, 3)):
        for number in order:
            assert np.array_equal(resamples.draws(every[number])["accuracy"], once[number])


@pytest.mark.parametrize("seed", range(4))
def test_the_weight_of_a_pair_is_the_best_there_is(seed: int) -> None:
    logits, labels = members(seed)
    first, second = logits[:2]

    def at_best_temperature(weight: float) -> float:
        fused = (1 - weight) * first + weight * second
        found = minimize_scalar(lambda t: loss(softmax(fused / np.exp(t)), labels), bounds=(-4, 4), method="bounded")
        return float(found.fun)

    weight = weight_for_probabilities(first, second, labels, "logits", "log_loss")
    assert at_best_temperature(weight) <= min(map(at_best_temperature, np.linspace(0, 1, 41))) + 1e-7


@pytest.mark.parametrize(
    ("space", "metric"), [("probabilities", "log_loss"), ("probabilities", "brier"), ("logits", "brier")]
)
def test_a_weight_is_as_good_as_any_at_its_best_temperature(space: Any, metric: str) -> None:
    for seed in range(3):
        logits, labels = members(seed, samples=500)
        first, second = softmax(logits[:2]) if space == "probabilities" else logits[:2]

        def value(weight: float) -> float:
            fused = (1 - weight) * first + weight * second  # noqa: B023
            scores = np.log(fused) if space == "probabilities" else fused
            scores = scores / fit_temperatures(scores[None], labels)[0]  # noqa: B023
            return metrics.score_one(Task.EXPRESSION, log_softmax(scores), labels, metric)  # noqa: B023

        found = value(weight_for_probabilities(first, second, labels, space, metric))
        assert found <= min(map(value, np.linspace(0, 1, 41))) + 1e-5


def test_two_members_that_know_nothing_share_the_weight() -> None:
    zeros, labels = np.zeros((60, 3)), np.arange(60) % 3
    assert weight_for_probabilities(zeros, zeros, labels, "logits", "log_loss") == 0.5


def test_coordinate_search_ends_at_the_least_log_loss() -> None:
    logits, labels = members(5)
    weights = fit_weights("coordinate", "logits", logits, labels, "log_loss")
    found = minimize(
        lambda w: loss(softmax(np.tensordot(w, logits, 1)), labels), np.full(3, 0.3), bounds=[(0, None)] * 3, tol=1e-12
    )
    assert loss(softmax(np.tensordot(weights, logits, 1)), labels) <= found.fun + 1e-7


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
def test_greedy_selection_takes_the_member_that_lowers_the_loss_most(metric: str) -> None:
    logits, labels = members(6, samples=300)
    likely = softmax(logits)

    def worth(counts: np.ndarray) -> float:
        mixture = np.tensordot(counts / counts.sum(), likely, 1)
        return metrics.score_one(Task.EXPRESSION, np.log(mixture), labels, metric)

    weights = greedy(likely, labels, metric, size=12, start=1)
    counts = np.eye(3)[min(range(3), key=lambda one: worth(np.eye(3)[one]))]
    best = counts
    for _ in range(11):
        counts = min((counts + one for one in np.eye(3)), key=worth)
        best = counts if worth(counts) < worth(best) - 1e-12 else best
    assert worth(weights) == pytest.approx(worth(best), abs=1e-6)


def test_a_fusion_for_log_loss_has_better_probabilities_than_one_for_accuracy() -> None:
    fit, fresh = members(7, samples=500), members(8, samples=4000)
    found = {}
    for objective in ("accuracy", "log_loss"):
        fusion = LateFusion(objective=objective, budget=0).fit(*fit)
        assert fusion.score(*fit) == pytest.approx(
            fusion.board_.chosen.scores.selection.metrics[objective].value, abs=1e-6
        )
        found[objective] = loss(fusion.predict_proba(fresh[0]), fresh[1])
    alone = min(loss(softmax(one / t), fresh[1]) for one in fresh[0] for t in np.geomspace(0.1, 10, 60))
    assert found["log_loss"] <= found["accuracy"] + 0.01
    assert found["log_loss"] < alone - 0.1
    with pytest.raises(Ig3dError, match=r"objective 'logloss': for expression there are accuracy, .*log_loss"):
        LateFusion(objective="logloss").fit(*fit)


def searched(folder: Path, objective: str, protocol: str) -> tuple[Store, Outcome]:
    store = Store(str(folder / "runs"))
    for seed, split in enumerate(("dev", "test")):
        logits, labels = members(seed, samples=500, classes=7)
        items = import_members(store, logits, labels, [f"{split}-{i}" for i in range(500)], split)
    content = {
        "dataset": "rafdb",
        "objective": objective,
        "pool": items,
        "protocol": {"kind": protocol},
        "search": {"budget": 3},
    }
    return store, search_store(store, SearchSpace.model_validate(content), "loss", Reporter())


@pytest.mark.parametrize(("objective", "protocol"), [("log_loss", "cross_fitted"), ("brier", "dev"), ("ece", "dev")])
def test_a_search_reports_what_its_spec_predicts(tmp_path: Path, objective: str, protocol: str) -> None:
    store, found = searched(tmp_path, objective, protocol)
    spec, board = found.spec, found.board
    again = predict(spec, store, "test")
    assert again.reported == pytest.approx(again.compared_score, abs=1e-9)
    likely = spec.fusion.probabilities(again.fused)
    assert again.scores[objective] == pytest.approx(
        getattr(calibration(likely, again.pool.labels, 0), objective).value, abs=1e-9
    )
    if protocol == "dev":
        # One ensemble, one number: in the leaderboard, and among the scores of its probabilities.
        assert spec.calibration is not None
        assert getattr(spec.calibration.calibrated, objective).value == pytest.approx(again.scores[objective], abs=1e-6)
    single = board.best_single
    sums = [metrics.from_sums(Task.EXPRESSION, row.statistics.sum(axis=0))[objective] for row in board.rows]
    for row, value in zip(board.rows, sums, strict=True):
        assert row.scores.report.metrics[objective].value == pytest.approx(float(value), abs=1e-9)
        gain = single.scores.report.metrics[objective].value - row.scores.report.metrics[objective].value
        assert row.gain.value == pytest.approx(gain, abs=2e-9)
    assert single.gain.low == single.gain.high == 0
    assert all(
        single.scores.report.metrics[objective].value <= row.scores.report.metrics[objective].value
        for row in board.rows
        if row.group == "single"
    )
    # The spec's score is found again with shuffled rows; and a report is made of what the storage has.
    assert "exported ensemble" not in {one.check for one in audit_store(store, "rafdb")[0] if one.kind == "fault"}
    findings = findings_of(store, found.folder)
    assert findings.board.chosen.scores == board.chosen.scores
    if protocol == "dev":
        return
    write_report(store, findings, found.folder)
    page = store.read(f"{found.folder}/report.html").decode()
    assert f"<th>{objective}" in page or f">{objective}<" in page


def test_a_space_may_ask_for_it_with_any_method(tmp_path: Path) -> None:
    content = {
        "dataset": "affectnet_va",
        "objective": "log_loss",
        "pool": [{"kind": "imported", "name": "a", "view": "2d"}],
    }
    with pytest.raises(ValueError, match="objective 'log_loss' for affectnet_va; allowed: "):
        SearchSpace.model_validate(content)
    floor = {"protocol": {"floor": {"attribute": "gender", "metric": "log_loss", "at_least": 0.5}}}
    with pytest.raises(ValueError, match=r"protocol.floor.metric: 'log_loss'"):
        SearchSpace.model_validate(content | {"dataset": "rafdb"} | floor)
