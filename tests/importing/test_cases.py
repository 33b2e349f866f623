"""Inputs of kinds that failed, as a script of the shared data makes them; skipped where it isn't there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SHARED

from ig3d_ray.config.load import load_space
from ig3d_ray.data import datasets
from ig3d_ray.data.images import UnreadableImageError, decode_image
from ig3d_ray.data.ingest.affectnet import read_affectnet
from ig3d_ray.data.ingest.features import read_parameters
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.predictions import Imported, import_predictions
from ig3d_ray.importing.reading import Reading
from ig3d_ray.importing.tables import read_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.storage.store import Store

RAFDB = datasets.dataset("rafdb")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = SHARED / "cases" / "make_cases.py"
    if not script.is_file():
        pytest.skip("the shared cases are not here")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


def bring(store: Store, file: Path, dataset: str = "rafdb") -> Imported:
    return import_predictions(store, file, dataset, ImportedSpec(name=file.stem, view="2d"), "test")


def test_a_tools_percentages_score_as_pandas_has_it(cases: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(cases / "tool_percent.csv")
    columns = [name for name in frame.columns if name.startswith("pred_")]
    right = frame[columns].idxmax(axis=1).str.removeprefix("pred_") == frame["true_label"]
    done = bring(Store(str(tmp_path)), cases / "tool_percent.csv")
    assert done.scores["accuracy"] == pytest.approx(right.mean(), abs=2e-3)


@pytest.mark.parametrize("name", ["half.csv", "two_decimals.csv", "zeros.csv"])
def test_rounded_tables_are_read_and_finite(cases: Path, tmp_path: Path, name: str) -> None:
    frame = pd.read_csv(cases / name)
    done = bring(Store(str(tmp_path)), cases / name)
    assert done.table.logits is not None
    assert np.isfinite(done.table.logits).all()
    predicted = frame[list(RAFDB.class_names)].to_numpy().argmax(axis=1)
    assert done.scores["accuracy"] == pytest.approx((predicted == frame["label"]).mean(), abs=2e-3)
    if name != "zeros.csv":
        assert any("did not sum to 1" in note for note in done.notes)


def test_ids_that_lost_their_zeros_are_refused_and_excels_twin_is_the_same(cases: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first = bring(store, cases / "ids_text.csv")
    with pytest.raises(Ig3dError, match="'0' here, '00000' there: were leading zeros lost"):
        bring(store, cases / "ids_numbers.csv")
    excel = bring(store, cases / "excel.csv")
    assert excel.table.logits is not None
    assert first.table.logits is not None
    assert (excel.table.logits == first.table.logits).all()


def test_values_that_mean_not_annotated_are_counted(cases: Path, tmp_path: Path) -> None:
    done = bring(Store(str(tmp_path)), cases / "va_not_annotated.csv", "affectnet_va")
    assert any(note.startswith("41 samples are not annotated") for note in done.notes)
    read = read_predictions(cases / "va_not_annotated.csv", datasets.dataset("affectnet_va"), Reading())
    assert int(np.isnan(read.va_true).any(axis=1).sum()) == 41


def test_publishers_files_and_encoders_folders(cases: Path) -> None:
    layout = read_affectnet(cases / "affectnet2021", {}, datasets.dataset("affectnet8"))
    assert [sum(e.split == split for e in layout.entries) for split in ("train", "test")] == [40, 16]
    assert {(e.valence, e.arousal) for e in layout.entries} == {(0.25, -0.5)}
    places, vectors, _ = read_parameters(cases / "emoca_numbered", "emoca", None)
    assert sorted(places) == [f"test_{i:05d}_aligned" for i in range(6)]
    assert vectors.shape == (6, 334)


def test_images(cases: Path) -> None:
    upright, turned = (decode_image((cases / n).read_bytes(), 64, n) for n in ("upright.png", "turned.jpg"))
    # JPEG blurs the colors of noise.
    assert (
        np.corrcoef(upright.ravel(), turned.ravel())[0, 1]
        > 0.6
        > np.corrcoef(upright.ravel(), turned.ravel()[::-1])[0, 1]
    )
    with pytest.raises(UnreadableImageError, match="cut short"):
        decode_image((cases / "truncated.jpg").read_bytes(), 64, "truncated.jpg")


@pytest.mark.parametrize("name", ["bomb.yaml", "self.yaml", "twice.yaml"])
def test_yaml_that_grows_or_repeats_is_one_line(cases: Path, name: str) -> None:
    with pytest.raises(Ig3dError) as refused:
        load_space(cases / name)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value).replace(str(cases), "")) <= 300


@pytest.mark.parametrize("name", ["deep.json", "numbers.json"])
def test_json_that_is_no_table_or_holds_no_numbers(cases: Path, name: str, tmp_path: Path) -> None:
    with pytest.raises(Ig3dError) as refused:
        read_predictions(cases / name, RAFDB)
    assert len(str(refused.value).replace(str(cases), "")) <= 300
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "a.json").write_text((cases / name).read_text())
    _, vectors, skipped = read_parameters(tmp_path / "json", "emoca", None)
    assert len(vectors) == 0
    assert len(skipped) == 1
