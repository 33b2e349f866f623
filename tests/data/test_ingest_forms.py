"""Every form in which AffectNet, RAF-DB, class folders and tables are handed out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ig3d_ray.data import datasets
from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.ingest.affectnet import read_affectnet
from ig3d_ray.data.ingest.build import Shares, ingest
from ig3d_ray.data.ingest.features import import_features
from ig3d_ray.data.ingest.folders import read_folders
from ig3d_ray.data.ingest.rafdb import read_rafdb
from ig3d_ray.data.ingest.sheets import read_sheet
from ig3d_ray.data.samples import load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.store import Store

AFFECTNET, RAFDB = datasets.dataset("affectnet8"), datasets.dataset("rafdb")


def draw(file: Path, number: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 6, 3), number % 256, np.uint8)).save(file)
    return file


def numbers(root: Path) -> dict[str, tuple[int | None, float]]:
    return {entry.sample_id: (entry.expression, entry.valence) for entry in read_affectnet(root, {}, AFFECTNET).entries}


def test_affectnet_of_2021_has_an_array_per_label(tmp_path: Path) -> None:
    for part, count in (("train_set", 9), ("val_set", 8)):
        for i in range(count):
            draw(tmp_path / part / "images" / f"{i}.jpg", i)
            folder = tmp_path / part / "annotations"
            folder.mkdir(exist_ok=True)
            for key, value in (("exp", str(i % 8)), ("val", "-2" if i == 1 else "0.25"), ("aro", "-0.5")):
                np.save(folder / f"{i}_{key}.npy", np.array(value))
    (tmp_path / "train_set" / "annotations" / "8_aro.npy").unlink()
    layout = read_affectnet(tmp_path, {}, AFFECTNET)
    found = {entry.sample_id: entry for entry in layout.entries}
    assert len(found) == 16
    assert (found["train/7"].expression, found["val/0"].split, found["val/3"].valence) == (7, "test", 0.25)
    assert np.isnan(found["train/1"].valence)
    assert ("8", "its annotation cannot be read") in [(what, why[:29]) for what, why in layout.skipped]


@pytest.mark.parametrize("at_once", [True, False])
def test_affectnet_of_2017_has_hashed_names_in_numbered_folders(tmp_path: Path, at_once: bool) -> None:
    files = {}
    for word, part in (("train", "training"), ("val", "validation")):
        rows = []
        for i in range(10):
            place = f"{689 + i}/{word}{i:032x}.jpg"
            draw(tmp_path / ("Manually_Annotated_Images" if at_once else word) / place, i)
            rows.append((place, 1, 2, 99, 99, "1;2", i % 11, 0.1, -0.2))
        names = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks")
        frame = pd.DataFrame(rows, columns=[*names, "expression", "valence", "arousal"])
        files[word] = tmp_path / f"{part}.csv"
        frame.to_csv(files[word], index=False)
    root = tmp_path / "Manually_Annotated_Images" if at_once else tmp_path
    layout = read_affectnet(root, files, AFFECTNET)
    assert len(layout.entries) == 16
    assert all(entry.file is not None for entry in layout.entries)
    assert {entry.sample_id.split("/")[0] for entry in layout.entries} == {"train", "val"}
    why = [reason for _, reason in layout.skipped if reason.startswith("annotated as")]
    assert (
        sorted(why) == ["annotated as none, which is no class"] * 2 + ["annotated as uncertain, which is no class"] * 2
    )


def test_later_csv_files_of_affectnet_name_classes(tmp_path: Path) -> None:
    files = {}
    for word in ("train", "val"):
        rows = [(f"{name.lower()}/image{i:07d}.jpg", name.lower()) for i, name in enumerate(AFFECTNET.class_names)]
        for place, _ in rows:
            draw(tmp_path / word / place, 1)
        files[word] = tmp_path / f"{word}_labels.csv"
        pd.DataFrame(rows, columns=["pth", "label"]).to_csv(files[word])
    layout = read_affectnet(tmp_path, files, AFFECTNET)
    assert layout.skipped == []
    assert [e.expression for e in layout.entries if e.split == "train"] == list(range(8))


def test_affectnet_in_folders_named_by_class(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for i, name in enumerate(AFFECTNET.class_names):
            draw(tmp_path / part / name.lower() / f"{i}.jpg", i)
    assert numbers(tmp_path)["val/6"][0] == 6
    assert len(numbers(tmp_path)) == 16


@pytest.mark.parametrize(
    "line",
    [
        "{name}.jpg {label}",
        "{name} {label}",
        "{name}.jpg {label} 0.93",
        "{name}_aligned.jpg,{label}",
        "{name}\t{label}",
    ],
)
def test_label_lists_of_rafdb(tmp_path: Path, line: str) -> None:
    names = [f"train_{i:05d}" for i in range(1, 15)] + [f"test_{i:04d}" for i in range(1, 8)]
    for i, name in enumerate(names):
        draw(tmp_path / "aligned" / f"{name}_aligned.jpg", i)
    lines = [line.format(name=name, label=i % 7 + 1) for i, name in enumerate(names)]
    (tmp_path / "labels.txt").write_text("\n".join(lines) + "\n")
    layout = read_rafdb(tmp_path / "aligned", [tmp_path / "labels.txt"], RAFDB)
    assert layout.skipped == []
    assert [entry.expression for entry in layout.entries] == [i % 7 for i in range(21)]


def test_kaggles_two_files_of_rafdb(tmp_path: Path) -> None:
    labels = []
    for part, count in (("train", 14), ("test", 7)):
        rows = [(f"{part}_{i:05d}_aligned.jpg", i % 7 + 1) for i in range(count)]
        for i, (name, label) in enumerate(rows):
            draw(tmp_path / "DATASET" / part / str(label) / name, i)
        labels.append(tmp_path / f"{part}_labels.csv")
        pd.DataFrame(rows, columns=["image", "label"]).to_csv(labels[-1], index=False)
    by_file = read_rafdb(tmp_path / "DATASET", labels, RAFDB)
    by_folder = read_rafdb(tmp_path / "DATASET", [], RAFDB)
    assert by_file.skipped == by_folder.skipped == []
    wanted = {entry.sample_id: (entry.expression, entry.split) for entry in by_file.entries}
    assert {entry.sample_id: (entry.expression, entry.split) for entry in by_folder.entries} == wanted


def test_rafdb_in_folders_by_name_with_its_manual_attributes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for i, name in enumerate(RAFDB.class_names):
            stem = f"{part}_{i:05d}"
            draw(tmp_path / "Image" / part / name / f"{stem}_aligned.jpg", i)
            note = tmp_path / "Annotation" / "manual" / f"{stem}_manu_attri.txt"
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text("1.5\t2.5\n" * 5 + f"{i % 3}\n{(i + 1) % 3}\n{i % 5}\n")
    (tmp_path / "Annotation" / "manual" / "train_00003_manu_attri.txt").write_text("1 2\n9\n9\n9\n")
    layout = read_rafdb(tmp_path / "Image", [], RAFDB)
    found = {entry.sample_id: entry.attributes for entry in layout.entries}
    assert found["train_00001"] == {"gender": "female", "race": "Asian", "age": "4-19"}
    assert found["train_00003"] == {}
    assert layout.skipped == [("train_00003_manu_attri.txt", "not gender, race and age as numbers after the landmarks")]
    done = ingest(Store(str(tmp_path / "s")), "rafdb", layout, Shares(), 0, False)
    assert set(done.samples.table["gender"].to_pylist()) == {"male", "female", "unsure", None}


@pytest.mark.parametrize(
    ("folders", "reported"),
    [(("train", "test"), "test"), (("train", "val"), "test"), (("Training", "PublicTest", "PrivateTest"), None)],
)
def test_split_folders_are_the_publishers_splits(
    tmp_path: Path, folders: tuple[str, ...], reported: str | None
) -> None:
    for part in folders:
        for index, name in enumerate(RAFDB.class_names):
            for i in range(3):
                draw(tmp_path / part / name / f"{index}{i}.png", i)
    layout = read_folders(tmp_path, RAFDB)
    splits = {entry.sample_id.split("/")[0]: entry.split for entry in layout.entries}
    if reported is None:
        assert splits == {"Training": "train", "PublicTest": "dev", "PrivateTest": "test"}
    else:
        assert splits == {"train": "train", folders[1]: reported}
    done = ingest(Store(str(tmp_path / "s")), "rafdb", layout, Shares(0.4), 0, False)
    assert {len(done.samples.in_split(split)) for split in ("train", "dev", "test")} <= {14, 7, 21}


def test_files_of_one_name_in_two_classes_keep_their_folders_in_their_ids(tmp_path: Path) -> None:
    for name in RAFDB.class_names:
        draw(tmp_path / name / "0.png", 1)
    layout = read_folders(tmp_path, RAFDB)
    assert {entry.sample_id for entry in layout.entries} == {f"{name}/0" for name in RAFDB.class_names}
    draw(tmp_path / "empty" / "things" / "0.png", 1)
    with pytest.raises(Ig3dError, match="no image lies in a folder of a class"):
        read_folders(tmp_path / "empty", RAFDB)


def test_a_table_with_votes_splits_groups_and_attributes(tmp_path: Path) -> None:
    about = Dataset.model_validate(
        {"name": "votes", "classes": ["Happy", "Sad"], "va": {"range": [0, 1]}, "group": "who", "attributes": ["age"]}
    )
    datasets.declare(about)
    rows = []
    for i in range(30):
        draw(tmp_path / "faces" / f"{i}.png", i)
        votes = (5, 5) if i == 7 else (9, 1) if i % 2 else (2, 8)
        rows.append((f"{i}.png", *votes, 0.5, 1.0 if i else -2, f"person{i // 3}", str(20 + i)))
    frame = pd.DataFrame(rows, columns=["path", "joy", "sadness", "valence", "arousal", "who", "age"])
    frame.to_csv(tmp_path / "t.csv", index=False, sep=";", decimal=",")
    layout = read_sheet(tmp_path / "t.csv", tmp_path / "faces", about)
    assert "the class with the most votes counts; 1 samples have no such class" in " ".join(layout.notes)
    done = ingest(Store(str(tmp_path / "s")), "votes", layout, Shares(0.2, 0.3), 0, False)
    samples = load_samples(Store(str(tmp_path / "s")), "votes")
    assert samples.fingerprint == done.samples.fingerprint
    assert samples.va[samples.ids.tolist().index("3")].tolist() == [0, 1]
    of_group = dict(zip(samples.table["group"].to_pylist(), samples.table["split"].to_pylist(), strict=True))
    for group, split in zip(samples.table["group"].to_pylist(), samples.table["split"].to_pylist(), strict=True):
        assert of_group[group] == split, "a person is in two splits"
    assert [len(samples.in_split(split)) for split in ("train", "dev", "test")] == [15, 6, 9]
    assert samples.table["age"].to_pylist()[:2] == ["20", "21"]


def test_what_a_table_lacks_is_said(tmp_path: Path) -> None:
    for text, message in (
        ("a,b\n1,2\n", "no column of paths or ids: path or sample_id"),
        ("path,blue\n1,2\n", "no column of classes: label, or one column per class"),
        ("path,label\n1,glad\n", "'glad' is no class of rafdb"),
        ("path,label,split\n1,happy,later\n", "column split: 'later' is no split; known: train, dev"),
    ):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(Ig3dError, match=message):
            read_sheet(tmp_path / "t.csv", None, RAFDB)


def test_features_of_numbered_folders_meet_their_images(tmp_path: Path) -> None:
    names = [f"train_{i:05d}" for i in range(1, 15)] + [f"test_{i:04d}" for i in range(1, 8)]
    lines = []
    for i, name in enumerate(names):
        draw(tmp_path / "aligned" / f"{name}_aligned.jpg", i)
        lines.append(f"{name}.jpg {i % 7 + 1}")
        for key, size in (("shape", 100), ("exp", 50), ("tex", 50), ("pose", 6), ("detail", 128)):
            folder = tmp_path / "emoca" / f"{name}_aligned_000"
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{key}.npy", np.full((1, size), i + 1, np.float32))
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    store = Store(str(tmp_path / "s"))
    layout = read_rafdb(tmp_path / "aligned", [tmp_path / "labels.txt"], RAFDB)
    samples = ingest(store, "rafdb", layout, Shares(), 0, False).samples
    done = import_features(store, samples, "emoca", tmp_path / "emoca")
    assert done.added == 21
    first = dict(zip(done.samples.ids.tolist(), done.samples.params("emoca")[:, 0].tolist(), strict=True))
    assert [first[name] for name in names] == list(range(1, 22))
