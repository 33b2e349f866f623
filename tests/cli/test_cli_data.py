"""`ig3d data ...` as a person types it: from publishers' files to a data set that a space can be planned on."""

from pathlib import Path

import numpy as np
import pytest
from parameter_files import as_json, vectors
from publisher_files import affectnet, rafdb
from typer.testing import CliRunner

from ig3d_ray.cli.app import app
from ig3d_ray.data.samples import load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.leases import Leases
from ig3d_ray.storage.store import Store

SPACES = Path(__file__).parents[2] / "search_spaces"


def ig3d(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def fails(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, Ig3dError), (done.output, done.exception)
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_from_rafdbs_files_to_a_plan(tmp_path: Path) -> None:
    labels, out = rafdb(tmp_path / "files"), tmp_path / "runs"
    message = ig3d(
        "data", "rafdb", "--images", tmp_path / "files", "--labels", labels, "--storage", out, "--dev-share", 0.34
    )
    assert "35 samples, fingerprint" in message
    assert "train: 14 samples; per class 2 2 2 2 2 2 2" in message
    assert "test: 14 samples" in message
    json_folder = tmp_path / "emoca"
    json_folder.mkdir()
    samples = load_samples(Store(str(out)), "rafdb")
    for sample, vector in zip(samples.ids.tolist(), vectors("emoca", 35), strict=True):
        (json_folder / f"{sample}_aligned.json").write_text(as_json("emoca", vector))
    (json_folder / "train_0001_aligned.json").write_text("{")
    message = ig3d(
        "data", "features", "--dataset", "rafdb", "--representation", "emoca", "--from", json_folder, "--storage", out
    )
    assert "emoca: 34 of 35 samples have parameters from" in message
    assert "excluded: 1 x not JSON, such as train_0001_aligned.json" in message
    assert "excluded: 1 x no parameters found, such as train_0001" in message
    assert f"all of them: {out}/datasets/rafdb/skipped.csv" in message
    message = ig3d("data", "check", "--dataset", "rafdb", "--storage", out)
    assert "0 Surprise" in message
    assert "published test" in message
    assert "without emoca: 1 " in message
    assert "note: sample ids are such as train_0" in message
    plan = ig3d("plan", SPACES / "rafdb.yaml", "--storage", out)
    assert "mlp3d-emoca-full" in plan


def test_from_affectnets_files(tmp_path: Path) -> None:
    files, out = affectnet(tmp_path / "files"), tmp_path / "runs"
    both = [word for file in files.values() for word in ("--annotations", file)]
    images = ("--images", tmp_path / "files", "--storage", out, "--dev-share", 0.34)
    for dataset, count in (("affectnet8", 40), ("affectnet7", 35), ("affectnet_va", 40)):
        message = ig3d("data", "affectnet", "--dataset", dataset, *images, *both)
        assert f"{count} samples, fingerprint" in message
        samples = load_samples(Store(str(out)), dataset)
        assert not np.isnan(samples.va).any()
        assert len(samples.with_feature("image")) == count
    assert "excluded: 5 x expression 7 is outside 0..6" in ig3d(
        "data", "affectnet", "--dataset", "affectnet7", *images, *both, "--replace"
    )


def test_a_image_in_two_splits_is_a_fault(tmp_path: Path) -> None:
    labels, out = rafdb(tmp_path / "files"), tmp_path / "runs"
    twice = tmp_path / "files" / "test_0003_aligned.jpg"
    twice.write_bytes((tmp_path / "files" / "train_0003_aligned.jpg").read_bytes())
    ig3d("data", "rafdb", "--images", tmp_path / "files", "--labels", labels, "--storage", out)
    message = ig3d("data", "check", "--dataset", "rafdb", "--storage", out, code=1)
    assert "FAULT: 1 duplicate images in two splits, such as test_0003 (test) and train_0003" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rafdb", "--images", "none"], "--images none: no such folder"),
        (["affectnet", "--images", ".", "--dataset", "affectnet_va"], "--images .: has none of the folders train_set"),
        (
            ["features", "--dataset", "rafdb", "--representation", "emoca", "--from", "x"],
            "dataset rafdb has no samples table; see",
        ),
        (["check", "--dataset", "rafdb"], "dataset rafdb has no samples table; see"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    assert message in fails("data", *words, "--storage", tmp_path / "runs")


def test_nobody_else_writes_the_table_while_features_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, out = rafdb(tmp_path / "files"), str(tmp_path / "store")
    ig3d("data", "rafdb", "--images", tmp_path / "files", "--labels", labels, "--storage", out, "--dev-share", 0.34)
    owners = []

    def look(*_: object) -> None:
        with Leases(Store(out)) as leases:
            owners.append(leases.acquire("samples/rafdb"))
        raise Ig3dError("seen")

    monkeypatch.setattr("ig3d_ray.data.ingest.features.import_features", look)
    CliRunner().invoke(
        app,
        [
            "data",
            "features",
            "--dataset",
            "rafdb",
            "--representation",
            "smirk",
            "--from",
            str(tmp_path),
            "--storage",
            out,
        ],
    )
    assert owners[0] is not None, "another could have had the table"
