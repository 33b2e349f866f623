"""`search.proof`: what no weights of the chosen members exceed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.report.sentences import about_proof
from ig3d_ray.search.candidates import Candidate
from ig3d_ray.search.proof import prove
from ig3d_ray.search.scoring import Result, Scorer
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Task
from ig3d_ray.workflow.pipeline import search_store
from ig3d_ray.workflow.progress import Reporter


def drawn(members: int) -> Pool:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 400)
    outputs = rng.normal(size=(members, 400, 7)) + 1.2 * np.eye(7)[labels]
    names = tuple("abcd"[:members])
    about = ("rafdb", "dev", Task.EXPRESSION, names, names, ("2d",) * members)
    return Pool(*about, np.array([f"s{i:03d}" for i in range(400)]), outputs, labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("members", [2, 3])
@pytest.mark.parametrize("space", ["logits", "probabilities"])
def test_no_method_scores_above_the_proof(members: int, space: str) -> None:
    pool = drawn(members)
    scorer = Scorer(pool, "accuracy")
    for method in ("stack", "coordinate" if space == "logits" else "greedy"):
        result = scorer.score(Candidate(pool.names, "weighted", space, method=method))  # type: ignore[arg-type]
        if len(result.members) < members:
            continue
        proof = prove(result, pool)
        assert proof.best == proof.bound
        assert proof.chosen == result.score <= proof.best
        best = Fusion(**(vars(result.fusion) | {"weights": proof.weights}))
        fused = best.apply(pool.outputs_of(proof.members), pool.task)
        assert metrics.score_one(pool.task, fused, pool.labels, "accuracy") == pytest.approx(proof.best)


def test_the_search_says_it_where_it_was_asked_for(tmp_path: Path) -> None:
    pool, store = drawn(3), Store(str(tmp_path / "store"))
    for name, outputs in zip(pool.names, pool.outputs_MNC, strict=True):
        frame = pd.DataFrame(outputs, columns=[f"logit_{c}" for c in range(7)])
        frame.assign(sample_id=pool.ids, label=pool.labels).to_csv(tmp_path / "t.csv", index=False)
        for split in ("dev", "test"):
            import_predictions(store, tmp_path / "t.csv", "rafdb", ImportedSpec(name=name, view="2d"), split)  # type: ignore[arg-type]
    content = {"dataset": "rafdb", "objective": "accuracy", "search": {"budget": 0, "proof": "exact"}}
    content["pool"] = [{"kind": "imported", "name": name, "view": "2d"} for name in pool.names]
    found = search_store(store, SearchSpace.model_validate(content), "x", Reporter())
    assert len(found.spec.members) == 3
    assert about_proof(found.board).startswith("Proof: no weights of a + b + c score above 0.")
    content["search"] = {"budget": 0}
    without = SearchSpace.model_validate(content)
    assert without.hash == found.findings.space.hash
    assert about_proof(search_store(store, without, "x", Reporter()).board) == ""


def test_of_four_members_there_is_a_bound() -> None:
    pool = drawn(4)
    scorer = Scorer(pool, "accuracy")
    for method in (None, "stack", "coordinate"):
        strategy = "mean" if method is None else "weighted"
        result = scorer.score(Candidate(pool.names, strategy, "logits", method=method))  # type: ignore[arg-type]
        proof = prove(result, pool)
        assert proof.best is None
        assert proof.wrong is not None
        assert proof.bound is not None
        assert result.score <= proof.bound < 1 - proof.wrong.hopeless / len(pool)


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion(strategy="max", space="logits", weights=None),
        Fusion(strategy="weighted", space="logits", weights=None, weights_by_column=((1.0,) * 7, (0.5,) * 7)),
        Fusion(strategy=None, space="logits", weights=None),
    ],
    ids=lambda fusion: fusion.label,
)
def test_what_is_no_weight_of_each_member_has_no_proof(fusion: Fusion) -> None:
    pool = drawn(2)
    names = pool.names[: 1 if fusion.strategy is None else 2]
    proof = prove(Result(Candidate(names), names, fusion, 0.0), pool)
    assert proof.best is None
    assert proof.bound is None
