"""Gates and linear corrections in the contest of families: chosen where there is something to gain, and only there."""

from pathlib import Path

import numpy as np
import pytest
from pools import import_members

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.ensembles.reproduce import predict
from ig3d_ray.ensembles.spec import EnsembleSpec, parse_ensemble
from ig3d_ray.fusion.combine import into_space
from ig3d_ray.fusion.fit import RICHER
from ig3d_ray.fusion.stacking import stack_logits
from ig3d_ray.report.sentences import about_proof, chosen_by
from ig3d_ray.search.arrays import pool_of_arrays
from ig3d_ray.search.candidates import of_many
from ig3d_ray.search.explorer import run_local
from ig3d_ray.search.held_out import fused_scores
from ig3d_ray.search.protocol import plan
from ig3d_ray.search.results import results_from_bytes, results_to_bytes
from ig3d_ray.search.scoring import Result, Scorer
from ig3d_ray.search.selection import Families
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Task
from ig3d_ray.workflow.pipeline import search_store
from ig3d_ray.workflow.progress import Reporter
from ig3d_ray.workflow.reports import findings_of

CLASSES = 7


def regions(seed: int, samples: int, scales: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of two members, each competent in a region of its own; labels; and the regions.

    Args:
        scales: how large the top logit is where a member is competent, and elsewhere, where it is mostly wrong.
    """
    rng = np.random.default_rng(seed)
    labels, region = rng.integers(0, CLASSES, samples), rng.integers(0, 2, samples)
    members = []
    for member in (0, 1):
        right = rng.random(samples) < np.where(region == member, 0.92, 0.35)
        said = np.where(right, labels, (labels + rng.integers(1, CLASSES, samples)) % CLASSES)
        top = np.where(region == member, *scales)
        if scales[0] == scales[1]:
            # Twice as sure, or half as sure, where it is not competent.
            top = np.where(region == member, top, top + rng.choice([-1.1, 1.1], samples))
        members.append(np.eye(CLASSES)[said] * top[:, None] + 0.35 * rng.standard_normal((samples, CLASSES)))
    return np.stack(members), labels, region


def contest(logits: np.ndarray, labels: np.ndarray) -> Families:
    pool = pool_of_arrays(logits, labels)
    members = [{"kind": "imported", "name": name, "view": "2d"} for name in pool.names]
    content = {"dataset": pool.dataset, "objective": "accuracy", "pool": members, "search": {"budget": 0}}
    space = SearchSpace.model_validate(content)
    arranged = plan(space.protocol, {"dev": pool, "test": pool}, 0)
    return Families(arranged, run_local(space, arranged.parts), "accuracy")


def without_richer(families: Families) -> Result:
    """What is chosen of all other families."""
    static = {name: value for name, value in families.cross_fitted(0).items() if name not in RICHER}
    return families.best[0][families._best_name(0, static)]


@pytest.mark.parametrize("scales", [(2.2, 3.2), (3.0, 3.0)], ids=["surer where wrong", "sure or unsure where wrong"])
def test_a_gate_reaches_four_fifths_of_what_an_oracle_gains(scales: tuple[float, float]) -> None:
    logits, labels, _ = regions(0, 1500, scales)
    fresh, truth, region = regions(1, 8000, scales)
    families, pool = contest(logits, labels), pool_of_arrays(fresh, truth)
    chosen = families.choose(0)
    assert chosen.candidate.method == "gate"

    def accuracy(fused: np.ndarray) -> float:
        return float((fused.argmax(axis=1) == truth).mean())

    static, gated = (accuracy(fused_scores(one, pool)) for one in (without_richer(families), chosen))
    # The oracle knows the region of each sample, and the labels that its weights for it are fitted to.
    values = into_space(fresh, "logits", chosen.fusion.temperatures, Task.EXPRESSION, chosen.fusion.floors)
    oracle = np.zeros_like(values[0])
    for one in (0, 1):
        rows = region == one
        oracle[rows] = np.tensordot(stack_logits(values[:, rows], truth[rows]).weights, values[:, rows], 1)
    assert accuracy(oracle) > static + 0.15
    assert gated - static >= 0.8 * (accuracy(oracle) - static)


def test_where_members_are_equally_good_everywhere_no_gate_is_chosen() -> None:
    gates, worst = 0, 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, CLASSES, 3000)
        logits = 1.5 * (1.8 * np.eye(CLASSES)[labels] + rng.standard_normal((2, 3000, CLASSES)))
        families, pool = contest(logits[:, :600], labels[:600]), pool_of_arrays(logits[:, 600:], labels[600:])
        chosen = families.choose(0)
        gates += chosen.candidate.method in RICHER
        right = [
            (fused_scores(one, pool).argmax(axis=1) == labels[600:]).mean()
            for one in (without_richer(families), chosen)
        ]
        worst = max(worst, float(right[0] - right[1]))
    assert gates <= 1
    assert worst <= 0.002


def test_a_correction_is_held_against_its_own_weights_too() -> None:
    # Of two members that are sure of everything and wrong in 4 or 6 of 10: max, mean and the weights of the best
    # accuracy have a much larger log-loss than weights of least log-loss, and there is nothing to correct.
    gates = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, CLASSES, 1500)
        right = rng.random((2, 1500)) < np.array([[0.6], [0.62]])
        said = np.where(right, labels, (labels + rng.integers(1, CLASSES, (2, 1500))) % CLASSES)
        logits = 3 * np.eye(CLASSES)[said] + rng.standard_normal((2, 1500, CLASSES))
        gates += contest(logits, labels).choose(0).candidate.method in RICHER
    assert gates <= 1


def confused(seed: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a member that exchanges classes 0 and 1 in most cases, and of a weak one; and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, samples)
    swapped = np.where(rng.random(samples) < 0.9, np.array([1, 0, *range(2, CLASSES)])[labels], labels)
    first = 3.0 * np.eye(CLASSES)[swapped] + rng.standard_normal((samples, CLASSES))
    return np.stack([first, 0.7 * np.eye(CLASSES)[labels] + rng.standard_normal((samples, CLASSES))]), labels


@pytest.mark.parametrize("kind", ["gate", "linear"])
def test_it_is_exported_predicted_and_resumed(kind: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "runs"))
    logits, labels = regions(0, 900, (2.2, 3.2))[:2] if kind == "gate" else confused(0, 900)
    content = {
        "dataset": "rafdb",
        "objective": "accuracy",
        "pool": import_members(store, logits, labels, [f"x{i:04d}" for i in range(900)]),
        "protocol": {"kind": "cross_fitted"},
        "search": {"budget": 0, "proof": "exact"},
    }
    found = search_store(store, SearchSpace.model_validate(content), "gates", Reporter())
    spec, board = found.spec, found.board
    assert board.chosen.result.candidate.method == kind
    ending = {"gate": "by confidence", "linear": "corrected linearly"}[kind]
    assert spec.fusion.label == f"weighted of logits with floors, {ending}"
    assert parse_ensemble(spec.to_json(), "spec") == spec
    assert board.chosen.gain.low > 0.1
    besides = {"gate": "weights as they are at mean confidence", "linear": "to these weights a linear correction"}[kind]
    assert besides in chosen_by(found.findings.space, board)
    assert "only for one weight of each member; this ensemble is" in about_proof(board)
    again = predict(spec, store, "test")
    assert again.reported == pytest.approx(again.compared_score, abs=1e-9)
    # What a killed search remembers, and what a report is made of, has the gate.
    results = found.findings.results
    back = results_from_bytes(results_to_bytes(results), "results")
    assert [one for _, one in back] == [one for part in results for one in part]
    assert findings_of(store, found.folder).board.chosen.scores == board.chosen.scores
    damages = {"gate": {"members": (0, 7)}, "linear": {"bias": (0.0,)}}
    part = {"gate": "gate", "linear": "correction"}[kind]
    fusion = spec.fusion.model_dump()
    with pytest.raises(ValueError, match=part):
        EnsembleSpec.model_validate(spec.model_dump() | {"fusion": fusion | {part: fusion[part] | damages[kind]}})


def test_a_correction_takes_members_without_a_weight_unless_few_are_asked_for() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 900)
    good = 1.5 * np.eye(CLASSES)[labels] + rng.standard_normal((2, 900, CLASSES))
    # Less than a copy of the first, so the stack has no use for it.
    pool = pool_of_arrays([*good, good[0] + 3 * rng.standard_normal((900, CLASSES))], labels)
    candidate = of_many(pool.names, "linear", "logits", False)
    free = Scorer(pool, "accuracy").score(candidate)
    assert free.members == pool.names
    assert free.fusion.weights is not None
    assert free.fusion.weights[2] == 0
    few = Scorer(pool, "accuracy", max_members=2).score(candidate)
    assert few.members == pool.names[:2]
