"""Copies of images are found, whatever was done to them, and are dropped or kept in one split."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from typer.testing import CliRunner

from ig3d_ray.cli.app import app
from ig3d_ray.data import datasets
from ig3d_ray.data.check import check_data
from ig3d_ray.data.duplicates import descriptors
from ig3d_ray.data.duplicates.find import connected, copies_among
from ig3d_ray.data.ingest.build import CopiesPlan, Shares, ingest
from ig3d_ray.data.ingest.folders import read_folders
from ig3d_ray.data.samples import load_samples
from ig3d_ray.storage.store import Store

PHOTOGRAPHS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "fer2013" / "faces.zip"
CLASSES = ("happy", "sad", "angry", "fear", "disgust", "surprise", "neutral")


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    """210 images whose amplitudes fall with the frequency, as those of photographs do."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    frequency[0, 0] = np.inf
    waves = np.fft.ifft2(np.fft.fft2(rng.standard_normal((210, 64, 64))) / frequency**1.2).real
    waves /= waves.std(axis=(1, 2), keepdims=True)
    return [Image.fromarray(np.clip(110 + 40 * one, 0, 255).astype(np.uint8)) for one in waves]


def saved(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def write_folder(root: Path, faces: list[Image.Image], splits: bool) -> dict[str, str]:
    """Faces in class folders with planted copies: name -> the name that it is a copy of."""
    for row, face in enumerate(faces):
        split = ("train", "train", "val", "test")[row % 4] if splits else ""
        place = root / split / CLASSES[row % 7] / f"face_{row:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(saved(face))
    planted = {  # row, folder of the copy, content
        "same": (3, "happy", saved(faces[3])),
        "jpeg": (10, "fear", saved(faces[10], "JPEG", quality=60)),
        "mirrored": (15, "sad", saved(ImageOps.mirror(faces[15]))),
        "small": (20, "neutral", saved(faces[20].resize((40, 40)))),
        "bright": (27, "neutral", saved(ImageEnhance.Brightness(faces[27]).enhance(0.7))),
    }
    for name, (_, folder, data) in planted.items():
        place = root / ("train" if splits else "") / folder / f"{name}.{'jpg' if name == 'jpeg' else 'png'}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return {name: f"face_{row:03d}" for name, (row, _, _) in planted.items()}


@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize("treatment", ["keep", "drop", "together"])
def test_copies_are_kept_dropped_or_in_one_split(
    faces: list[Image.Image], treatment: str, splits: bool, tmp_path: Path
) -> None:
    copies = write_folder(tmp_path / "faces", faces, splits)
    store, about = Store(str(tmp_path / "runs")), datasets.dataset("fer2013")
    layout = read_folders(tmp_path / "faces", about)
    plan = CopiesPlan(treatment)  # type: ignore[arg-type]
    done = ingest(store, "fer2013", layout, Shares(0.2, 0.3), 0, replace=False, copies=plan)
    samples = load_samples(store, "fer2013")
    of = dict(zip((name.rpartition("/")[2] for name in samples.ids.tolist()), samples.table.to_pylist(), strict=True))
    found = check_data(store, samples, "near")
    if treatment == "keep":
        both = zip(found.copies.copies.first, found.copies.copies.second, strict=True)
        pairs = {frozenset(samples.ids[row].rpartition("/")[2] for row in pair) for pair in both}
        assert pairs == {frozenset(pair) for pair in copies.items()}
        assert any("face_003 (Fear)" in note and "same (Happy)" in note for note in found.notes), found.notes
        return
    assert not any("duplicate" in fault for fault in found.faults)
    where = done.samples.table["split"].to_pylist()
    assert {one["split"] for one in samples.table.to_pylist()} == set(where)
    if treatment == "drop":
        # Of these two with different classes neither is kept.
        assert not {"same", copies["same"]} & set(of)
        assert all(len({name, original} & set(of)) == 1 for name, original in copies.items() if name != "same")
        if splits:
            # face_027 is of test: the copy in train goes.
            assert of["face_027"]["split"] == "test"
            assert "bright" not in of
        return
    for name, original in copies.items():
        assert of[name]["split"] == of[original]["split"], name
        assert of[name]["group"] == of[original]["group"] is not None
    if splits:
        assert of["bright"]["split"] == "test"
        assert [row["split"] for name, row in of.items() if name.startswith("face_")].count("test") == len(faces) // 4


def test_a_group_stays_together_with_its_copies(faces: list[Image.Image], tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    rows = ["path,label,person,split"]
    for row, face in enumerate(faces[:140]):
        (tmp_path / "faces" / f"{row}.png").write_bytes(saved(face))
        split = ("train", "val", "test")[row // 7 % 3]
        rows.append(f"{row}.png,{CLASSES[row % 7]},person{row // 7:02d},{split}")
    (tmp_path / "faces" / "copy.png").write_bytes(saved(ImageOps.mirror(faces[0])))
    rows.append(f"copy.png,{CLASSES[0]},person02,test")
    (tmp_path / "faces.csv").write_text("\n".join(rows))
    names = "classes: [" + ", ".join(CLASSES) + "]"
    (tmp_path / "mine.yaml").write_text(f"name: mine\n{names}\ngroup: person\n")
    storage = str(tmp_path / "runs")
    images = ["--images", str(tmp_path / "faces"), "--dataset", "mine", "--duplicates", "together"]
    for words in (["create", str(tmp_path / "mine.yaml")], ["table", str(tmp_path / "faces.csv"), *images]):
        done = CliRunner().invoke(app, ["data", *words, "--storage", storage])
        assert done.exit_code == 0, done.output
    assert "copies: 1 sets of 2 images" in done.output
    assert "7 samples moved" in done.output
    table = load_samples(Store(storage), "mine").table.to_pylist()
    people = {name: {row["split"] for row in table if row["group"] == name} for name in {r["group"] for r in table}}
    assert all(len(splits) == 1 for splits in people.values()), people
    of = {row["sample_id"]: row for row in table}
    assert of["copy"]["split"] == of["0"]["split"] == of["6"]["split"] == "test"
    assert of["copy"]["group"] == of["0"]["group"]


def test_the_list_names_every_pair_with_split_and_class(faces: list[Image.Image], tmp_path: Path) -> None:
    write_folder(tmp_path / "faces", faces, splits=True)
    words = ["--dataset", "fer2013", "--storage", str(tmp_path / "runs")]
    folder = ["data", "folder", str(tmp_path / "faces"), *words]
    refused = CliRunner().invoke(app, [*folder, "--alike", "altered"])
    assert refused.exit_code != 0
    assert "add --duplicates together, or drop" in str(refused.exception or refused.output)
    assert CliRunner().invoke(app, folder).exit_code == 0
    listed = tmp_path / "copies.csv"
    done = CliRunner().invoke(app, ["data", "check", *words, "--alike", "near", "--list-duplicates", str(listed)])
    assert done.exit_code == 1
    assert "pairs of duplicate images in two splits" in done.output.replace("\n", " ")
    lines = listed.read_text().splitlines()
    assert lines[0] == "first,first_split,first_class,second,second_split,second_class,similarity,how"
    assert len(lines) == 6
    assert any(line.endswith(",mirrored") for line in lines)
    assert any(line.endswith("1.000,same bytes") for line in lines)


def test_images_without_content_are_copies_only_if_they_are_the_same_file() -> None:
    black, gray = np.zeros((48, 48), np.uint8), np.full((48, 48), 90, np.uint8)
    gray[0, 0] = 91
    assert copies_among(np.stack([black, gray, black]), "altered") == {}
    assert copies_among(np.empty((0, 48, 48), np.uint8), "near") == {}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_images_are_enough(faces: list[Image.Image], count: int) -> None:
    small = np.stack([descriptors.thumbnail(face) for face in (*faces[:count], ImageOps.mirror(faces[0]))])
    assert list(copies_among(small, "near")) == [(0, count)]


def test_connected_parts_are_those_of_a_graph() -> None:
    parts = connected(np.array([0, 4, 2]), np.array([2, 5, 6]), 8)
    assert [part.tolist() for part in parts] == [[0, 2, 6], [4, 5]]
    assert connected(np.empty(0, np.int64), np.empty(0, np.int64), 3) == []


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason="the photographs are not here")
def test_copies_of_photographs_are_found_and_strangers_are_not() -> None:
    with zipfile.ZipFile(PHOTOGRAPHS) as content:
        names = sorted(name for name in content.namelist() if name.endswith(".jpg"))[::30]
        originals = [Image.open(io.BytesIO(content.read(name))).convert("L") for name in names]
    rng = np.random.default_rng(0)
    covered = np.array(originals[4])
    covered[5:24, 8:27] = 0
    crop = rng.uniform(0, 4, 2)
    near = [
        ImageOps.mirror(originals[0]),
        Image.open(io.BytesIO(saved(originals[1], "JPEG", quality=30))),
        originals[2].resize((30, 30)),
        ImageEnhance.Brightness(originals[3]).enhance(1.4),
    ]
    altered = [
        Image.fromarray(covered),
        originals[5].rotate(-8, Image.Resampling.BICUBIC),
        originals[6].resize((48, 48), Image.Resampling.BICUBIC, box=(*crop, *(crop + 44))),
    ]
    small = np.stack([descriptors.thumbnail(one) for one in (*originals, *near, *altered)])
    planted = {(row, len(originals) + row) for row in range(7)}
    found = {pair: about for pair, about in copies_among(small, "altered").items() if pair[1] >= len(originals)}
    assert set(found) == planted
    # A crop may be small enough to be found at once.
    assert [found[pair][1] for pair in sorted(planted)][:6] == ["mirrored", *["near"] * 3, *["altered"] * 2]
    at_once = {pair for pair in copies_among(small, "near") if pair[1] >= len(originals)}
    assert set(sorted(planted)[:4]) <= at_once <= planted
