"""Evaluations on a report set: each search is recorded once, and verdicts are corrected for their number."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation.bootstrap import Interval, mcnemar
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.report.sentences import corrected_for, evaluation_number, verdict
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.pipeline import Outcome, search_store
from ig3d_ray.workflow.progress import Reporter
from ig3d_ray.workflow.removal import carry_out, remove_search
from ig3d_ray.workflow.reports import findings_of

LABELS = np.arange(210) % 7


def imported(store: Store, folder: Path, split: str = "test", shift: int = 0, names: str = "abc") -> None:
    rng = np.random.default_rng(1)
    for name in names:
        labels = (LABELS + shift) % 7
        scores = 1.2 * np.eye(7)[labels] + rng.standard_normal((210, 7))
        frame = pd.DataFrame(scores, columns=[f"logit_{i}" for i in range(7)])
        frame.assign(image=[f"f{i:03d}" for i in range(210)], label=labels).to_csv(folder / f"{name}.csv", index=False)
        import_predictions(store, folder / f"{name}.csv", "rafdb", ImportedSpec(name=name, view="2d"), split)  # type: ignore[arg-type]


def searched(store: Store, seed: int, names: str = "abc") -> Outcome:
    content = {
        "dataset": "rafdb",
        "objective": "accuracy",
        "pool": [{"kind": "imported", "name": name, "view": "2d"} for name in names],
        "protocol": {"kind": "cross_fitted"},
        "search": {"budget": 5},
        "seed": seed,
    }
    return search_store(store, SearchSpace.model_validate(content), "evaluations", Reporter())


def test_each_search_is_one_evaluation_and_the_records_stay(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "runs"))
    imported(store, tmp_path)
    found = [searched(store, seed, "ab") for seed in (0, 1, 2)]
    assert [one.board.evaluations for one in found] == [1, 2, 3]
    again = searched(store, 1, "ab")
    assert again.board.evaluations == 2
    assert again.spec.to_json() == found[1].spec.to_json()
    assert findings_of(store, found[2].folder).board.evaluations == 3
    # Other members are another pool on the same samples.
    assert searched(store, 0, "ac").board.evaluations == 4
    assert len(store.names("evaluations")) == 4
    assert "this is the 3rd search that reports on these samples" in verdict(found[2].findings.space, found[2].board)
    assert "search that reports" not in verdict(found[0].findings.space, found[0].board)
    carry_out(store, remove_search(store, found[0].folder))
    assert len(store.names("evaluations")) == 4
    assert searched(store, 3, "ab").board.evaluations == 5


def test_other_labels_are_other_samples(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "runs"))
    imported(store, tmp_path)
    assert searched(store, 0, "ab").board.evaluations == 1
    other = Store(str(tmp_path / "other"))
    imported(other, tmp_path, shift=1)
    assert searched(other, 0, "ab").board.evaluations == 1
    folders = {name.split("/")[2] for one in (store, other) for name in one.names("evaluations")}
    assert len(folders) == 2


@pytest.mark.parametrize("word", ["1st", "2nd", "3rd", "4th", "11th", "12th", "22nd", "113th"])
def test_evaluations_are_numbered_in_words(word: str) -> None:
    board: Any = SimpleNamespace(evaluations=int(word[:-2]))
    assert f"the {word} search" in evaluation_number(board)


def test_an_interval_is_corrected_as_bonferroni_says() -> None:
    gain = Interval(value=0.03, low=0.01, high=0.05)
    assert corrected_for(gain, 1).low == pytest.approx(gain.low)
    wider = corrected_for(gain, 10)
    assert (wider.high - wider.value) / 0.02 == pytest.approx(norm.isf(0.0025) / norm.isf(0.025))


def test_a_hundred_searches_that_keep_what_looked_best_claim_nothing_on_noise() -> None:
    claimed = plain = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels, outputs = rng.integers(0, 7, 1000), rng.standard_normal((8, 1000, 7))
        single = max((one.argmax(axis=1) == labels for one in outputs), key=lambda right: right.mean())
        weights, best = np.ones(8), 0.0
        with_all, without = False, False
        for number in range(1, 101):
            tried = weights * rng.gamma(2.0, 0.5, 8)
            right = np.tensordot(tried, outputs, 1).argmax(axis=1) == labels
            if right.mean() > best:
                weights, best = tried, right.mean()
            differences = right.astype(float) - single
            width = 1.96 * differences.std() / 1000**0.5
            gain = Interval(value=differences.mean(), low=differences.mean() - width, high=differences.mean() + width)
            p = mcnemar(right, single).p
            without |= gain.low > 0 and p < 0.05
            with_all |= corrected_for(gain, number).low > 0 and p * number < 0.05
        claimed, plain = claimed + with_all, plain + without
    assert claimed <= 2
    assert plain >= claimed
