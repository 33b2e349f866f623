"""What people find in their MLflow."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from trained import World

from ig3d_ray.cli.app import main
from ig3d_ray.errors import Ig3dError, without_password
from ig3d_ray.report.tracking import Tracking, flat
from ig3d_ray.storage.parquet import table_from_bytes


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def runs(uri: str, dataset: str = "faces") -> dict[str, Any]:
    """Of an experiment, by name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(f"ig3d/{dataset}")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in found}) == len(found), "something was logged twice"
    return {run.info.run_name: run for run in found}


def test_a_search_and_its_members_are_logged_once(
    world: World, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    space = tmp_path / "small.yaml"
    space.write_text(yaml.safe_dump(world.space.model_dump(mode="json")))
    words = ["ig3d", "search", str(space), "--storage", world.store.uri, "--mlflow", uri]
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
    assert f"mlflow: {uri}" in capsys.readouterr().out
    found = runs(uri)
    members = world.found.findings.plan.report
    folder = world.found.folder
    assert set(found) == {*members.names, folder.rsplit("/", 1)[-1]}
    client = MlflowClient(tracking_uri=uri)
    for name, member in zip(members.names, members.fingerprints, strict=True):
        run = found[name]
        assert run.data.tags["ig3d.of"] == member
        assert run.data.params["recipe.batch_size"] == "16"
        history = table_from_bytes(world.store.read(f"members/faces/{member}/history.parquet"))
        logged = client.get_metric_history(run.info.run_id, "loss")
        assert len(logged) == 12
        assert [point.value for point in logged] == history["loss"].to_pylist()
    search = found[folder.rsplit("/", 1)[-1]]
    report = world.found.spec.scores.report.metrics["accuracy"]
    assert search.data.metrics["report_accuracy"] == report.value
    assert search.data.metrics["report_accuracy_low"] == report.low
    assert search.data.params["objective"] == "accuracy"
    files = {file.path for file in client.list_artifacts(search.info.run_id)}
    assert files == {"best_ensemble.json", "report.html"}


def test_what_was_half_logged_is_logged_again(world: World, uri: str) -> None:
    tracking = Tracking(uri, "affectnet7")
    calls = []
    logged = tracking._client.set_terminated

    def die(run: str) -> None:
        calls.append(run)
        if len(calls) == 2:
            raise KeyboardInterrupt
        logged(run)

    tracking._client.set_terminated = die
    with pytest.raises(KeyboardInterrupt):
        tracking.log(world.store, world.found.findings, world.found.folder)
    again = Tracking(uri, "affectnet7")
    assert len(again._logged()) == 1
    again.log(world.store, world.found.findings, world.found.folder)
    assert again._logged() == {*world.found.findings.plan.report.fingerprints, world.found.folder}


def test_a_server_that_is_not_there_is_told_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(Ig3dError, match=r"^--mlflow http://\.\.\.@127\.0\.0\.1:9: ") as message:
        Tracking("http://me:secret@127.0.0.1:9", "faces")
    assert "secret" not in str(message.value)
    assert "\n" not in str(message.value)


def test_nested_fields_have_dotted_names() -> None:
    assert flat({"a": 1, "b": {"c": 2, "d": {"e": 3}}}) == {"a": 1, "b.c": 2, "b.d.e": 3}
    assert without_password("postgresql://me:p@w@host/db") == "postgresql://...@host/db"


@pytest.mark.parametrize("uri", ["sqlite:////proc/nowhere/mlflow.db", "postgresql://me:pw@127.0.0.1:9/db"])
def test_a_database_that_cannot_be_had_is_told_in_a_line(uri: str) -> None:
    with pytest.raises(Ig3dError, match=r"^--mlflow [^\n]*$") as message:
        Tracking(uri, "faces")
    assert "pw" not in str(message.value)


def search_again(world: World, patch: pytest.MonkeyPatch, place: Path, *more: str) -> None:
    """`ig3d search` of the world's space: its exit code is 0."""
    space = place / "small.yaml"
    space.write_text(yaml.safe_dump(world.space.model_dump(mode="json")))
    patch.setattr(sys, "argv", ["ig3d", "search", str(space), "--storage", world.store.uri, *more])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code


def test_a_server_that_goes_away_ends_no_search(
    world: World, uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def gone(*_: object) -> None:
        raise ConnectionError("http://me:secret@host is gone")

    monkeypatch.setattr(Tracking, "_logged", gone)
    search_again(world, monkeypatch, tmp_path, "--mlflow", uri)
    written = capsys.readouterr()
    assert "spec: " in written.out
    assert "mlflow: " not in written.out
    assert written.err.count("is gone") == 2, "it is tried again"
    assert "secret" not in written.err


def test_a_report_that_cannot_be_drawn_ends_no_search(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no fonts here")

    monkeypatch.setattr("ig3d_ray.workflow.reports.write_report", broken)
    search_again(world, monkeypatch, tmp_path)
    written = capsys.readouterr()
    assert "spec: " in written.out
    assert "report: not written (RuntimeError: no fonts here)" in " ".join(written.err.split())
