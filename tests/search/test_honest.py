"""Whether the result says what is so: no gain from noise, a gain where a member adds something, and how optimistic."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from conftest import bring_published
from pools import MANY, make_pool, space

from ig3d_ray.config.load import load_space
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.importing.tables import read_columns
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.report.sentences import optimism, verdict
from ig3d_ray.search import optuna_mirror
from ig3d_ray.search.explorer import Explorer, run_local
from ig3d_ray.search.leaderboard import Leaderboard, Row, build_leaderboard
from ig3d_ray.search.protocol import plan
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split
from ig3d_ray.workflow import pipeline
from ig3d_ray.workflow.progress import Reporter

SPACES = Path(__file__).parents[2] / "search_spaces"


def judge(what: SearchSpace, pools: dict[Split, Pool]) -> Leaderboard:
    arranged = plan(what.protocol, pools, what.seed)
    return build_leaderboard(what, arranged, run_local(what, arranged.parts))


def noise(split: Split, seed: int) -> Pool:
    """Members that know nothing of the labels."""
    pool = make_pool(split, 200, seed)
    rng = np.random.default_rng([seed, len(split), 7])
    return replace(pool, outputs_MNC=rng.standard_normal(pool.outputs_MNC.shape).astype(np.float32))


def optimism_of(row: Row) -> float:
    """How much better an ensemble looked where it was chosen."""
    return row.scores.selection.metrics["accuracy"].value - row.scores.report.metrics["accuracy"].value


@pytest.mark.parametrize("kind", ["dev", "cross_fitted"])
def test_no_gain_is_claimed_for_members_of_pure_noise(kind: str) -> None:
    """The search tries some two hundred ensembles; the best of them looks good, and the result is not taken in."""
    claimed = looked_good = 0
    protocol = {"kind": kind, "folds": 3}
    for seed in range(20):
        fusion = {"methods": ["stack", "greedy", "coordinate"], "temperatures": ["none", "fitted"]}
        what = space(fusion=fusion, protocol=protocol, search={"budget": 0}, seed=seed)
        board = judge(what, {"dev": noise("dev", seed), "test": noise("test", seed)})
        said = verdict(what, board)
        claimed += not said.startswith(("No gain", "The ensemble is worse", "Practically the same"))
        looked_good += max(optimism_of(row) for row in board.rows) > 0.03
        assert board.optimism.expected > 0.01
    assert claimed <= 1
    assert looked_good >= 10


def test_a_real_gain_is_claimed_with_its_interval_and_the_optimism_is_told() -> None:
    what = space(fusion=MANY)
    board = judge(what, {"dev": make_pool("dev", 600), "test": make_pool("test", 600)})
    assert verdict(what, board).startswith("The gain is real: the ensemble has 0.")
    assert "McNemar p < 1e-9" in verdict(what, board)
    selection, report = (
        s.metrics["accuracy"].value for s in (board.chosen.scores.selection, board.chosen.scores.report)
    )
    assert board.optimism.measured == pytest.approx(selection - report, abs=1e-9)
    assert optimism(board).startswith("Optimism: the ensemble scored ")
    assert 0 <= board.optimism.expected < 0.05


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """A store with the two published members, and the folder of their files."""
    store, folder = bring_published(tmp_path_factory.mktemp("va"))
    return store, folder


def test_a_third_member_that_knows_more_makes_a_better_fusion_and_the_result_says_so(
    published: tuple[Store, Path], tmp_path: Path
) -> None:
    store, folder = published
    what = load_space(SPACES / "affectnet_va.yaml")
    two = pipeline.search_store(store, what, "affectnet_va", Reporter())
    over_cage = two.spec.compared_with["best_2d"]
    assert over_cage.label == "cage"
    assert 0.005 < over_cage.gain.low < over_cage.gain.value < over_cage.gain.high < 0.015
    columns = read_columns(folder / "cage.csv")
    rng = np.random.default_rng(0)
    third = {name: np.array(list(columns.each_text(name))) for name in columns}
    for predicted, truth in (("val_pred", "val_true"), ("aro_pred", "aro_true")):
        values = 0.7 * columns[truth].astype(float) + 0.25 * rng.standard_normal(len(columns[truth]))
        third[predicted] = values.round(6).astype(str)
    file = tmp_path / "third.csv"
    rows = zip(*(values.tolist() for values in third.values()), strict=True)
    file.write_text("\n".join([",".join(third), *(",".join(row) for row in rows)]) + "\n")
    spec = ImportedSpec(name="third", view="2d")
    import_predictions(store, file, "affectnet_va", spec, "test", row_order_is_id=True)
    three = pipeline.search_store(store, what, "affectnet_va", Reporter())
    assert {member.name for member in three.spec.members} == {"cage", "emoca3d", "third"}
    assert three.spec.protocol.kind == "cross_fitted"
    scores = [outcome.spec.scores.report.metrics["ccc_paper"] for outcome in (two, three)]
    assert scores[1].low > scores[0].high
    assert verdict(what, three.board).startswith("The gain is real: the ensemble has 0.")


def brought(tmp_path: Path) -> Store:
    """A store with four imported members on test."""
    store, pool = Store(str(tmp_path / "store")), make_pool("test")
    for index, (name, view) in enumerate(zip(pool.names, pool.views, strict=True)):
        file = tmp_path / f"{name}.npz"
        np.savez(file, sample_id=pool.ids, logits=pool.outputs_MNC[index], label=pool.labels)
        import_predictions(store, file, "rafdb", ImportedSpec(name=name, view=view), "test")
    return store


def test_a_killed_search_goes_on_from_its_journal_and_ends_with_the_same_spec(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    what = space(fusion=MANY, protocol={"kind": "cross_fitted", "folds": 3}, search={"budget": 30, "batch": 10})
    store = brought(tmp_path)
    outcome = pipeline.search_store(store, what, "whole", Reporter())
    whole = store.read(f"{outcome.folder}/best_ensemble.json")
    assert not [name for name in store.names(outcome.folder) if "rounds" in name]

    class Killed(Exception):
        pass

    class KillsAfterTwoRounds(Reporter):
        rounds = 0

        def searching(self, explorer: Explorer) -> None:
            self.rounds += 1
            if self.rounds == 2:
                raise Killed

    (tmp_path / "other").mkdir()
    other = brought(tmp_path / "other")
    with pytest.raises(Killed):
        pipeline.search_store(other, what, "whole", KillsAfterTwoRounds())
    assert len([name for name in other.names(outcome.folder) if "rounds" in name]) == 2
    caplog.set_level("INFO", "ig3d_ray")
    again = pipeline.search_store(other, what, "whole", Reporter())
    assert any("resumed" in line for line in caplog.messages)
    assert other.read(f"{again.folder}/best_ensemble.json") == whole
    assert not [name for name in other.names(again.folder) if "rounds" in name]


def test_optunas_study_is_copied_to_a_data_base_for_its_dashboard(tmp_path: Path) -> None:
    what = space(fusion=MANY, protocol={"kind": "cross_fitted", "folds": 3}, search={"budget": 20, "batch": 5})
    store, url = brought(tmp_path), f"sqlite:///{tmp_path}/study.db"
    outcome = pipeline.search_store(store, what, "copied", Reporter(), url)
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    assert name == outcome.folder.removeprefix("searches/")
    assert len(study.trials) == 20
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)
    assert "members" in study.trials[0].params
    best = max(result for result in (trial.value for trial in study.trials) if result is not None)
    assert 0 < best <= outcome.board.chosen.scores.selection.metrics["accuracy"].value + 0.05
    other, nowhere = space(seed=5), "sqlite:////no/such/folder/study.db"
    protocol = {"protocol": what.protocol}
    with pytest.raises(Ig3dError, match=r"--optuna-storage sqlite:////no/such/folder/study\.db: unable to open"):
        pipeline.search_store(store, other.model_copy(update=protocol), "other", Reporter(), nowhere)
    unknown = "nonsense://me:secret@host/name"
    with pytest.raises(Ig3dError, match="--optuna-storage nonsense://host/name") as refused:
        pipeline.search_store(store, other.model_copy(update=protocol), "other", Reporter(), unknown)
    assert "secret" not in str(refused.value)


def test_a_database_that_is_locked_for_a_moment_ends_no_search(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = space(fusion=MANY, protocol={"kind": "cross_fitted", "folds": 3}, search={"budget": 20, "batch": 5})
    store, url = brought(tmp_path), f"sqlite:///{tmp_path}/locked.db?timeout=0.05"
    optuna.storages.get_storage(url)
    other = sqlite3.connect(f"{tmp_path}/locked.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    caplog.set_level("INFO", "ig3d_ray")
    close = optuna_mirror.StudyCopy.close

    def closed_after_the_lock(self: optuna_mirror.StudyCopy, explorer: Explorer) -> None:
        other.execute("COMMIT")
        close(self, explorer)

    monkeypatch.setattr(optuna_mirror.StudyCopy, "close", closed_after_the_lock)
    outcome = pipeline.search_store(store, what, "locked", Reporter(), url)
    assert outcome.spec.members
    assert len([line for line in caplog.messages if "database is locked; the search goes on" in line]) == 1
    (name,) = optuna.get_all_study_names(url)
    assert len(optuna.load_study(study_name=name, storage=url).trials) == 20
