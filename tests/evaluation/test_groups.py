"""Samples that belong together stay together, and intervals are as wide as that makes them."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.bootstrap import Bootstrap, mcnemar
from ig3d_ray.evaluation.folds import stratified
from ig3d_ray.evaluation.groups import frames_of, groups_of
from ig3d_ray.evaluation.metrics import expression_statistics
from ig3d_ray.importing.labels import import_labels
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.report.sentences import verdict
from ig3d_ray.search.estimator import LateFusion
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Task
from ig3d_ray.workflow.pipeline import search_store
from ig3d_ray.workflow.progress import Reporter

IDS = np.array([f"video{v:02d}/frame_{f:04d}.jpg" for v in range(20) for f in range(10)])


def test_groups_come_from_ids_by_a_pattern_or_from_a_column() -> None:
    by_pattern = groups_of(IDS, None, "^(.*)/")
    assert by_pattern is not None
    assert by_pattern.tolist() == np.repeat(np.arange(20), 10).tolist()
    known = np.where(np.arange(200) < 10, "a", np.where(np.arange(200) < 15, "b", ""))
    by_column = groups_of(IDS, known, None)
    assert by_column is not None
    assert len(set(by_column[:10])) == 1
    assert len(set(by_column[10:15])) == 1
    # Those of no group are on their own.
    assert len(set(by_column.tolist())) == 2 + 185
    assert groups_of(IDS, None, None) is None
    assert groups_of(IDS, IDS, None) is None
    with pytest.raises(Ig3dError, match="finds nothing in sample video00/frame_0000"):
        groups_of(IDS, None, "^(image)/")


def test_ids_of_frames_are_seen_and_folders_of_classes_are_not() -> None:
    labels = np.arange(200) % 7
    assert frames_of(IDS, labels) == (20, "video00/frame")
    photographs = np.array([f"test_{i:04d}_aligned.jpg" for i in range(200)])
    assert frames_of(photographs, labels) is None
    folders = np.array([f"class{i % 12}/{i:05d}.jpg" for i in range(200)])
    assert frames_of(folders, np.arange(200) % 12) is None
    subjects = np.array([f"S{s:03d}_{e:03d}_{f:08d}" for s in range(12) for e in range(2) for f in range(8)])
    assert frames_of(subjects, np.arange(len(subjects)) % 7) is not None


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(8, 40), folds=st.integers(2, 5))
def test_a_group_is_in_one_fold_and_folds_are_even(seed: int, count: int, folds: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(count), 12))
    labels = rng.integers(0, 3, len(groups))
    fold = stratified(labels, folds, [seed], groups)
    for group in range(count):
        assert len(np.unique(fold[groups == group])) == 1
    sizes = np.bincount(fold, minlength=folds)
    assert sizes.max() - sizes.min() <= 24
    assert (sizes > 0).all()


def videos(seed: int, correlation: float, frames: int, count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and videos: whether a frame is right depends on its video."""
    rng = np.random.default_rng(seed)
    # Beta with this mean and intra-class correlation.
    size = (1 - correlation) / correlation
    share = np.repeat(rng.beta(0.6 * size, 0.4 * size, count), frames)
    labels = np.repeat(rng.integers(0, 3, count), frames)
    top = np.where(rng.random(len(labels)) < share, labels, (labels + 1) % 3)
    return labels, np.eye(3)[top], np.repeat(np.arange(count), frames)


@pytest.mark.parametrize("correlation", [0.05, 0.3])
def test_intervals_of_videos_cover_the_truth(correlation: float) -> None:
    covered, naive, trials = 0, 0, 300
    for seed in range(trials):
        labels, scores, of = videos(seed, correlation, 100)
        statistics = expression_statistics(scores, labels)
        whole = Bootstrap.of(Task.EXPRESSION, labels, seed, 400, of).intervals(statistics)["accuracy"]
        covered += whole.low <= 0.6 <= whole.high
        if seed < 60:
            single = Bootstrap.of(Task.EXPRESSION, labels, seed, 200).intervals(statistics)["accuracy"]
            naive += single.low <= 0.6 <= single.high
    assert 0.92 * trials <= covered <= 0.98 * trials
    assert naive < 0.75 * 60


def test_the_test_of_videos_is_right_where_mcnemars_is_not() -> None:
    with_groups = without = 0
    for seed in range(200):
        _, first, of = videos(2 * seed, 0.3, 50)
        labels, second, _ = videos(2 * seed, 0.3, 50)
        rng = np.random.default_rng(seed)
        # The second is better in one half of the videos and worse in the other: no difference on average.
        flip = np.repeat(rng.random(60) < 0.5, 50) & (rng.random(3000) < 0.3)
        a = (first.argmax(axis=1) == labels) & ~flip
        flip = np.repeat(rng.random(60) < 0.5, 50) & (rng.random(3000) < 0.3)
        b = (second.argmax(axis=1) == labels) & ~flip
        with_groups += mcnemar(a, b, of).p < 0.05
        without += mcnemar(a, b).p < 0.05
    assert with_groups <= 20
    assert without > 60


def test_a_search_keeps_videos_in_one_fold_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 7
    store = Store(str(tmp_path / "runs"))
    for name, view in (("a", "2d"), ("b", "3d")):
        scores = 1.5 * np.eye(7)[labels] + rng.standard_normal((200, 7))
        frame = pd.DataFrame(scores, columns=[f"logit_{i}" for i in range(7)]).assign(image=IDS, label=labels)
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        import_predictions(store, tmp_path / f"{name}.csv", "rafdb", ImportedSpec(name=name, view=view), "test")
    content = {
        "dataset": "rafdb",
        "objective": "accuracy",
        "pool": [{"kind": "imported", "name": "a", "view": "2d"}, {"kind": "imported", "name": "b", "view": "3d"}],
        "protocol": {"kind": "cross_fitted"},
        "search": {"budget": 5},
    }
    with caplog.at_level(logging.WARNING, "ig3d_ray"):
        without = search_store(store, SearchSpace.model_validate(content), "without", Reporter())
    assert "200 samples look like frames of 20 videos, such as video00/frame" in caplog.text
    caplog.clear()
    content["protocol"] = {"kind": "cross_fitted", "group_by": "^(.*)/"}
    space = SearchSpace.model_validate(content)
    with caplog.at_level(logging.WARNING, "ig3d_ray"):
        found = search_store(store, space, "with", Reporter())
    assert caplog.text == ""
    assert (without.spec.scores.report.groups, found.spec.scores.report.groups) == (None, 20)
    for part, rows in found.findings.plan.held_out[0]:
        chosen_on = set(found.findings.plan.parts[part].ids.tolist())
        videos_of = {one.split("/")[0] for one in found.findings.plan.report.ids[rows].tolist()}
        assert not videos_of & {one.split("/")[0] for one in chosen_on}
    assert "by whole groups (20)" in verdict(space, found.board)
    assert "t test of groups" in verdict(space, found.board)
    # The same groups by a column of the labels.
    frame = pd.DataFrame({"image": IDS, "label": labels, "clip": [one.split("/")[0] for one in IDS]})
    frame.to_csv(tmp_path / "labels.csv", index=False)
    import_labels(store, tmp_path / "labels.csv", "rafdb", "test", group_column="clip")
    content["protocol"] = {"kind": "cross_fitted"}
    again = search_store(store, SearchSpace.model_validate(content), "column", Reporter())
    assert again.spec.scores == found.spec.scores
    with pytest.raises(Ig3dError, match=r"--group-column nobody: .*labels\.csv has image, label, clip"):
        import_labels(store, tmp_path / "labels.csv", "rafdb", "test", group_column="nobody")


def test_a_pattern_without_a_group_is_refused() -> None:
    content = {"dataset": "rafdb", "objective": "accuracy", "pool": [{"kind": "imported", "name": "a", "view": "2d"}]}
    for wrong, message in (("^video", "has no group"), ("((", "is no regular expression")):
        with pytest.raises(ValueError, match=message):
            SearchSpace.model_validate(content | {"protocol": {"group_by": wrong}})


def test_arrays_take_groups() -> None:
    labels, first, of = videos(0, 0.3, 10, 30)
    rng = np.random.default_rng(0)
    members = [first + 0.1 * rng.standard_normal(first.shape) for _ in range(2)]
    fitted = LateFusion("accuracy", budget=5).fit(members, labels, groups=of)
    assert fitted.board_.chosen.scores.report.groups == 30
    with pytest.raises(Ig3dError, match="give one for each of 300 rows"):
        LateFusion("accuracy").fit(members, labels, groups=of[:5])
