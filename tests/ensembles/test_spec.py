"""The exported spec: the paper's Table 7 from published predictions; the same bytes every time; read or refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import bring_published, copy_of

from ig3d_ray.config.load import load_space
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data.labels import find_labels, save_labels
from ig3d_ray.ensembles.spec import parse_ensemble, read_ensemble
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.json_files import unsealed
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.pipeline import search_store
from ig3d_ray.workflow.progress import Reporter

SPACES = Path(__file__).parents[2] / "search_spaces"


@pytest.fixture(scope="module")
def table_7(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, SearchSpace]:
    """A store with the predictions that the paper's authors published."""
    store, _ = bring_published(tmp_path_factory.mktemp("va"))
    return store, load_space(SPACES / "affectnet_va.yaml")


def test_the_papers_table_7_to_four_decimals(table_7: tuple[Store, SearchSpace]) -> None:
    store, what = table_7
    outcome = search_store(store, what, "affectnet_va", Reporter())
    rows = {row.label.split(":")[0]: row.scores.report.metrics for row in outcome.board.rows}
    published = {
        "paper, max": (0.1052, 0.2419, 0.3243, 0.7727),
        "paper, min": (0.1053, 0.2441, 0.3245, 0.7726),
        "paper, mean": (0.0956, 0.2325, 0.3092, 0.7891),
        "paper, weighted": (0.0958, 0.2316, 0.3095, 0.7901),
    }
    for label, numbers in published.items():
        found = tuple(round(rows[label][m].value, 4) for m in ("mse", "mae", "rmse", "ccc_paper"))
        assert found == numbers, label
    solved = {line.metric: line for line in outcome.board.solved}
    assert round(solved["ccc_paper"].weight, 4) == 0.3760
    assert round(solved["ccc_paper"].selection, 4) == 0.7902
    assert round(solved["mse"].weight, 4) == 0.4774
    assert round(solved["mse"].selection, 5) == 0.09556
    # Cross-fitted numbers stand beside the optimistic ones and are a little worse.
    assert solved["ccc_paper"].report < solved["ccc_paper"].selection
    assert solved["mse"].report > solved["mse"].selection
    assert outcome.missing == {spec.name: "no test predictions in the storage" for spec in what.trainable()}


@pytest.mark.parametrize(("objective", "least"), [("ccc_paper", 0.800), ("mse", 0.092)])
def test_a_linear_correction_is_better_than_the_papers_best_fusion(
    table_7: tuple[Store, SearchSpace], objective: str, least: float
) -> None:
    store, what = table_7
    content = what.model_dump(mode="json") | {"objective": objective}
    content["fusion"]["methods"] = ["least_squares", "concordance", "linear"]
    board = search_store(store, SearchSpace.model_validate(content), "linear", Reporter()).board
    assert board.chosen_family == "linear"
    report = board.chosen.scores.report.metrics[objective].value
    assert report > least if objective == "ccc_paper" else report < least
    assert board.chosen.gain.low > 0.01


def test_a_spec_round_trips_and_is_the_same_every_time(table_7: tuple[Store, SearchSpace], tmp_path: Path) -> None:
    store, what = table_7
    outcome = search_store(store, what, "affectnet_va", Reporter())
    text = store.read(f"{outcome.folder}/best_ensemble.json").decode()
    assert parse_ensemble(text, "spec") == outcome.spec
    assert parse_ensemble(text, "spec").to_json() == text
    copy = copy_of(store, tmp_path)
    copy.remove("searches")
    again = search_store(copy, what, "affectnet_va", Reporter())
    assert copy.read(f"{again.folder}/best_ensemble.json").decode() == text
    assert str(tmp_path) not in text


def with_member(content: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A spec whose first member is another."""
    first, *others = content["members"]
    return content | {"members": [first | change, *others]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"schema_version": 3}, "spec: schema_version 3; this version of ig3d reads 2"),
        (lambda c: with_member(c, {"name": "../../x"}), "spec: members.0.name: .*String should match pattern"),
        (lambda c: with_member(c, {"spec": {"kind": "mlp4d"}}), "spec: members.0: .*spec of cage: "),
        (lambda c: c | {"members": c["members"][:1]}, "2 for 1 members"),
        (lambda c: c | {"color": "red"}, "spec: color: .*unknown field.*; run the search again"),
        (
            lambda c: c | {"fusion": c["fusion"] | {"weights": None, "weights_by_column": None}},
            "spec: fusion: .*strategy 'weighted' with weights None",
        ),
    ],
)
def test_a_wrong_spec_is_refused(table_7: tuple[Store, SearchSpace], change: object, message: str) -> None:
    store, what = table_7
    outcome = search_store(store, what, "affectnet_va", Reporter())
    content = unsealed(outcome.spec.to_json())
    with pytest.raises(Ig3dError, match=message) as message:
        parse_ensemble(json.dumps(change(content)), "spec")  # type: ignore[operator]
    assert "\n" not in str(message.value)


def test_a_small_budget_and_a_fine_reference_weight_search_twice_the_same(
    table_7: tuple[Store, SearchSpace], tmp_path: Path
) -> None:
    store, what = table_7
    references = [{"name": "a third", "strategy": "weighted", "weight_3d": 1 / 3}]
    content = what.model_dump(mode="json") | {"references": references}
    content["search"]["budget"] = 1
    narrow = SearchSpace.model_validate(content)
    first, again = (search_store(store, narrow, "narrow", Reporter()) for _ in range(2))
    assert first.spec == again.spec
    assert [row.label for row in first.board.rows] == [row.label for row in again.board.rows]


def test_changed_labels_make_another_search(table_7: tuple[Store, SearchSpace], tmp_path: Path) -> None:
    store, what = table_7
    before = search_store(store, what, "affectnet_va", Reporter())
    copy = copy_of(store, tmp_path)
    labels = find_labels(store, "affectnet_va", "test")
    assert labels is not None
    save_labels(copy, replace(labels, va=labels.va[::-1].copy()))
    after = search_store(copy, what, "affectnet_va", Reporter())
    assert after.folder != before.folder
    assert after.spec.fusion != before.spec.fusion


def test_a_spec_that_is_no_json_is_refused() -> None:
    with pytest.raises(Ig3dError, match="spec: not JSON"):
        parse_ensemble('{"schema_version": 1,', "spec")


def test_a_spec_in_the_root_folder_is_looked_for_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_such_spec.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Ig3dError, match=r"^cannot read /+no_such_spec\.json: no such file"):
        read_ensemble("/no_such_spec.json")
