"""Deleting members, searches and data sets, replacing wrong imports, and finding specs by name."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ig3d_ray.cli.app import main
from ig3d_ray.storage.leases import Leases
from ig3d_ray.storage.store import Store

CLASSES = 7


def ig3d(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ig3d", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def table(path: Path, ids: list[str], seed: int, labels: bool = True) -> Path:
    rng = np.random.default_rng(seed)
    truth = np.arange(len(ids)) % CLASSES
    scores = rng.normal(size=(len(ids), CLASSES)) + 2 * np.eye(CLASSES)[truth]
    frame = pd.DataFrame(scores, columns=[f"logit_{c}" for c in range(CLASSES)]).assign(sample_id=ids)
    (frame.assign(label=truth) if labels else frame).to_csv(path, index=False)
    return path


IDS = [f"face_{row:03d}" for row in range(60)]
OTHER = [f"picture-{row:03d}" for row in range(60)]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two members, and a search of them; tests work on copies."""
    folder = tmp_path_factory.mktemp("searched")
    where = ("--dataset", "rafdb", "--storage", "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed, (name, view) in enumerate([("a", "2d"), ("b", "3d")]):
            file = table(folder / f"{name}.csv", IDS, seed)
            assert ig3d(patch, "import", "predictions", file, "--member", name, "--view", view, *where) == 0
        (folder / "space.yaml").write_text(
            "dataset: rafdb\nobjective: accuracy\nprotocol: {kind: cross_fitted}\n"
            "pool: [{kind: imported, name: a, view: 2d}, {kind: imported, name: b, view: 3d}]\n"
            "fusion: {strategies: [mean], spaces: [logits]}\nsearch: {budget: 1}\n"
        )
        assert ig3d(patch, "search", "space.yaml", "--storage", "runs") == 0
    return folder


@pytest.fixture
def storage(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two members, and a search of them."""
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return "runs"


def searches(storage: str) -> list[str]:
    return [name for name in Store(storage).names("searches") if name.endswith("best_ensemble.json")]


def test_a_member_goes_with_the_searches_that_contain_it(
    storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: Store(storage).read(name) for name in Store(storage).names()}
    capsys.readouterr()
    words = ("rm", "member", "b", "--dataset", "rafdb", "--storage", storage)
    assert ig3d(monkeypatch, *words) == 2
    said = capsys.readouterr()
    assert "would delete: member b (" in said.out
    assert "would delete: search searches/rafdb/space-" in said.out
    assert said.err == "ig3d: nothing was deleted; to delete what is listed, repeat the command with --yes\n"
    assert {name: Store(storage).read(name) for name in Store(storage).names()} == before
    assert ig3d(monkeypatch, *words, "--yes") == 0
    assert searches(storage) == []
    assert len(Store(storage).names("logits")) == 1
    # The last one takes the labels along that came with it: other ids may be imported then.
    assert ig3d(monkeypatch, "rm", "member", "a", "--dataset", "rafdb", "--storage", storage, "--yes") == 0
    assert "labels-test.parquet, since rafdb has no other member" in capsys.readouterr().out
    assert [name for name in Store(storage).names() if not name.startswith(("leases", "evaluations/"))] == []


def test_a_search_and_a_data_set(
    storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (spec,) = searches(storage)
    name = spec.split("/")[2]
    assert ig3d(monkeypatch, "rm", "search", name, "--storage", storage, "--yes") == 0
    assert searches(storage) == []
    assert len(Store(storage).names("logits")) == 2
    assert ig3d(monkeypatch, "rm", "search", name, "--storage", storage, "--yes") == 2
    assert "no file, folder or search" in capsys.readouterr().err
    assert ig3d(monkeypatch, "rm", "dataset", "rafdb", "--storage", storage, "--yes") == 0
    assert [name for name in Store(storage).names() if not name.startswith(("leases", "evaluations/"))] == []
    assert ig3d(monkeypatch, "rm", "dataset", "rafdb", "--storage", storage, "--yes") == 2
    assert "has nothing of it" in capsys.readouterr().err


def test_what_a_living_run_uses_is_not_deleted(
    storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(storage)
    (spec,) = searches(storage)
    with Leases(store) as leases:
        assert leases.acquire(spec.rsplit("/", 1)[0]) is None
        before = store.names("searches") + store.names("logits")
        for words in (("search", spec.split("/")[2]), ("dataset", "rafdb")):
            assert ig3d(monkeypatch, "rm", *words, "--storage", storage, "--yes") == 2
            assert "a run uses it" in capsys.readouterr().err
        assert store.names("searches") + store.names("logits") == before


def test_an_unknown_member_is_told_which_there_are(
    storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ig3d(monkeypatch, "rm", "member", "c", "--dataset", "rafdb", "--storage", storage) == 2
    assert "c: no member of rafdb; its members: a, b" in capsys.readouterr().err
    assert ig3d(monkeypatch, "rm", "member", "c", "--dataset", "rafdb", "--storage", "runz") == 2
    assert "runz: no such folder; check --storage" in capsys.readouterr().err
    assert not Path("runz").exists()


def test_predictions_with_wrong_ids_are_replaced_by_right_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--dataset", "rafdb", "--member", "a", "--view", "2d", "--storage", str(tmp_path / "runs"))
    wrong, right = table(tmp_path / "wrong.csv", OTHER, 0), table(tmp_path / "right.csv", IDS, 0)
    assert ig3d(monkeypatch, "import", "predictions", wrong, *words) == 0
    assert ig3d(monkeypatch, "import", "predictions", right, *words) == 2
    assert ig3d(monkeypatch, "import", "predictions", right, *words, "--replace") == 0
    assert "60 samples of rafdb test" in capsys.readouterr().out
    # Beside another member the labels are shared, and a file must agree with them.
    others = ("--dataset", "rafdb", "--member", "b", "--view", "3d", "--storage", str(tmp_path / "runs"))
    assert ig3d(monkeypatch, "import", "predictions", table(tmp_path / "b.csv", IDS, 1), *others) == 0
    assert ig3d(monkeypatch, "import", "predictions", wrong, *words, "--replace") == 2
    assert "are not among the 60" in capsys.readouterr().err


def test_a_spec_is_found_by_file_folder_and_name(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (spec,) = searches(storage)
    folder, name = f"{storage}/{spec.rsplit('/', 1)[0]}", spec.split("/")[2]
    forms = [(f"{storage}/{spec}",), (folder,), (f"{folder}/",)]
    forms += [(one, "--storage", storage) for one in (name, f"rafdb/{name}", f"searches/rafdb/{name}")]
    shown = []
    for form in forms:
        capsys.readouterr()
        assert ig3d(monkeypatch, "show", *form) == 0
        shown.append(capsys.readouterr().out)
        assert ig3d(monkeypatch, "predict", *form, "--out", tmp_path / "preds.csv") == 0
        assert ig3d(monkeypatch, "report", *form) == 0
    assert len(set(shown)) == 1
    for words, message in (
        (("predict", "nothing", "--out", "x.csv"), r"nothing: no such file or folder; give a best_ensemble\.json"),
        (("report", "nothing", "--storage", storage), rf"nothing: no file, folder .* it has rafdb/{name}"),
        (("predict", storage, "--out", "x.csv"), r"runs: has no best_ensemble\.json; give a finished search's folder"),
    ):
        assert ig3d(monkeypatch, *words) == 2
        assert re.search(message, capsys.readouterr().err)
