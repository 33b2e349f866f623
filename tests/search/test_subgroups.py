"""Scores by subgroup: those of the samples alone, a planted gap is found, and none is invented."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.ensembles.bundle.card import model_card
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.metrics import expression_statistics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.importing.labels import import_labels
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.report.page import subgroups_table
from ig3d_ray.report.sentences import about_subgroups
from ig3d_ray.search.subgroups import Subgroups, by_subgroup
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Task
from ig3d_ray.workflow.pipeline import search_store
from ig3d_ray.workflow.progress import Reporter


def found_in(seed: int, gap: float, samples: int = 3000) -> Subgroups:
    """Two subgroups of one size, of which one is right less often; and one too small to be listed."""
    rng = np.random.default_rng(seed)
    labels, half = rng.integers(0, 7, samples), rng.random(samples) < 0.5
    right = rng.random(samples) < np.where(half, 0.9, 0.9 - gap)
    top = np.where(right, labels, (labels + 1) % 7)
    gender = np.where(half, "female", "male").astype("U8")
    gender[:5] = "unsure"
    outputs = np.eye(7, dtype=np.float32)[top]
    about = ("faces", "test", Task.EXPRESSION, ("m",), ("m",), ("2d",), np.array([f"{i:05d}" for i in range(samples)]))
    pool = Pool(*about, outputs[None], labels, attributes={"gender": gender})  # type: ignore[arg-type]
    statistics = expression_statistics(outputs, labels)
    (one,) = by_subgroup(pool, statistics, statistics, "accuracy", seed)
    for part in one.subgroups:
        rows = gender == part.value
        assert part.n == rows.sum()
        assert part.score.value == pytest.approx(accuracy_score(labels[rows], top[rows]))
        assert part.gain.value == part.gain.low == part.gain.high == 0
    return one


def test_a_gap_of_five_points_is_found_and_none_is_invented() -> None:
    planted = [found_in(seed, 0.05) for seed in range(20)]
    assert sum(one.p is not None and one.p < 0.05 for one in planted) >= 19
    assert all([part.value for part in one.subgroups] == ["female", "male"] for one in planted)
    none = [found_in(100 + seed, 0.0) for seed in range(20)]
    assert sum(one.p is not None and one.p < 0.05 for one in none) <= 3


def test_p_values_are_corrected_for_the_number_of_attributes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 3000)
    half = rng.random(3000) < 0.5
    right = rng.random(3000) < np.where(half, 0.9, 0.86)
    outputs = np.eye(7, dtype=np.float32)[np.where(right, labels, (labels + 1) % 7)]
    about = ("faces", "test", Task.EXPRESSION, ("m",), ("m",), ("2d",), np.array([f"{i:05d}" for i in range(3000)]))
    statistics = expression_statistics(outputs, labels)
    gender = {"gender": np.where(half, "female", "male")}
    others = {f"other{i}": np.where(rng.random(3000) < 0.5, "a", "b") for i in range(4)}
    alone_of = Pool(*about, outputs[None], labels, attributes=gender)  # type: ignore[arg-type]
    (alone,) = by_subgroup(alone_of, statistics, statistics, "accuracy", 0)
    all_of_them = Pool(*about, outputs[None], labels, attributes=gender | others)  # type: ignore[arg-type]
    together = {one.attribute: one for one in by_subgroup(all_of_them, statistics, statistics, "accuracy", 0)}
    assert alone.p is not None
    assert together["gender"].p == pytest.approx(5 * alone.p, rel=1e-4)


def test_attributes_of_imported_labels_reach_the_spec_the_card_and_the_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 7
    age = np.where(np.arange(300) < 100, "20-39", "40-69")
    store = Store(str(tmp_path / "runs"))
    ids = [f"f{i:03d}" for i in range(300)]
    for name in "ab":
        strength = np.where(age == "20-39", 2.5, 1.0)[:, None]
        scores = strength * np.eye(7)[labels] + rng.standard_normal((300, 7))
        frame = pd.DataFrame(scores, columns=[f"logit_{i}" for i in range(7)]).assign(image=ids)
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    table = pd.DataFrame({"image": ids, "label": labels, "age": age})
    table.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(Ig3dError, match=r"--attribute gender: .*labels\.csv has image, label, age"):
        import_labels(store, tmp_path / "labels.csv", "rafdb", "test", attributes=["gender"])
    import_labels(store, tmp_path / "labels.csv", "rafdb", "test", attributes=["age"])
    for name in "ab":
        spec = ImportedSpec(name=name, view="2d")
        import_predictions(store, tmp_path / f"{name}.csv", "rafdb", spec, "test")
    content = {
        "dataset": "rafdb",
        "objective": "accuracy",
        "pool": [{"kind": "imported", "name": name, "view": "2d"} for name in "ab"],
        "protocol": {"kind": "cross_fitted"},
        "search": {"budget": 5},
    }
    space = SearchSpace.model_validate(content)
    found = search_store(store, space, "groups", Reporter())
    (one,) = found.spec.subgroups
    assert (one.attribute, [part.value for part in one.subgroups]) == ("age", ["20-39", "40-69"])
    assert [part.n for part in one.subgroups] == [100, 200]
    assert one.gap > 0.2
    (sentence,) = about_subgroups(space, found.board)
    assert sentence.startswith("By age: accuracy from ")
    assert "the subgroups differ" in sentence
    assert len(subgroups_table(found.findings).rows) == 2
    assert "| age | 20-39 | 100 | " in model_card(found.spec)
