"""Folders, tables and parameter files that are easily read wrongly: read right, or refused with the reason."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ig3d_ray.data import datasets, representations
from ig3d_ray.data.images import ImageSet, in_rgb, open_image
from ig3d_ray.data.ingest.build import Shares, ingest, reasons
from ig3d_ray.data.ingest.features import read_parameters
from ig3d_ray.data.ingest.folders import read_folders
from ig3d_ray.data.ingest.layouts import Layout
from ig3d_ray.data.ingest.rafdb import read_rafdb
from ig3d_ray.data.ingest.sheets import read_sheet
from ig3d_ray.data.representations import Declaration
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.store import Store

RAFDB, FERPLUS = datasets.dataset("rafdb"), datasets.dataset("ferplus")


def draw(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6, 3), len(str(file)) % 256, np.uint8)).save(file)


def classes(layout: Layout) -> dict[str, int | None]:
    return {entry.sample_id: entry.expression for entry in layout.entries}


def test_a_folder_of_persons_is_no_folder_of_classes(tmp_path: Path) -> None:
    happy, sad = RAFDB.index("happy"), RAFDB.index("sad")
    draw(tmp_path / "S001" / "happy" / "a.png", tmp_path / "002" / "sad" / "b.png")
    assert classes(read_folders(tmp_path, RAFDB)) == {"a": happy, "b": sad}


def test_a_numbered_class_folder_means_the_class_that_it_names(tmp_path: Path) -> None:
    draw(tmp_path / "0_neutral" / "a.png", tmp_path / "1-happy" / "b.png")
    found = classes(read_folders(tmp_path, RAFDB))
    assert found == {"a": RAFDB.index("neutral"), "b": RAFDB.index("happy")}


def test_an_unknown_split_folder_beside_known_ones_is_refused(tmp_path: Path) -> None:
    draw(*(tmp_path / part / "happy" / f"{part}.png" for part in ("train", "test", "fold3")))
    with pytest.raises(Ig3dError, match="folder 'fold3' beside test, train: which split is it"):
        read_folders(tmp_path, RAFDB)


def test_split_folders_are_known_by_a_word_of_their_name(tmp_path: Path) -> None:
    draw(tmp_path / "Train_Aligned_Faces" / "happy" / "a.png", tmp_path / "Test_Aligned_Faces" / "happy" / "b.png")
    assert [entry.split for entry in read_folders(tmp_path, RAFDB).entries] == ["test", "train"]


def test_an_image_in_folders_of_two_classes_is_left_out_with_the_reason(tmp_path: Path) -> None:
    draw(tmp_path / "happy" / "sad" / "a.png", tmp_path / "happy" / "b.png")
    layout = read_folders(tmp_path, RAFDB)
    assert classes(layout) == {"b": RAFDB.index("happy")}
    assert layout.skipped == [("happy/sad/a.png", "in folders of two classes")]


def test_a_folder_of_rafdb_that_is_no_class_is_left_out(tmp_path: Path) -> None:
    for part in ("train", "test"):
        draw(*(tmp_path / part / name / f"{part}_{name}.png" for name in ("1", "7", "contempt")))
    layout = read_rafdb(tmp_path, [], RAFDB)
    assert sorted(classes(layout).items()) == [("test_1", 0), ("test_7", 6), ("train_1", 0), ("train_7", 6)]
    whys = {why for _, why in layout.skipped}
    assert whys == {"in folder contempt, which is no class"}


def test_votes_for_no_face_leave_a_sample_without_class(tmp_path: Path) -> None:
    names = FERPLUS.class_names
    frame = pd.DataFrame(0, index=range(3), columns=[*names, "unknown", "NF"])
    frame[names[1]] = [6, 3, 3]
    frame["unknown"] = [2, 7, 0]
    frame["NF"] = [2, 0, 3]
    frame.insert(0, "image", [f"{i}.png" for i in range(3)])
    frame.to_csv(tmp_path / "votes.csv", index=False)
    found = classes(read_sheet(tmp_path / "votes.csv", None, FERPLUS))
    assert found["0"] == 1
    assert {found.get("1"), found.get("2")} == {None}


def test_a_row_without_group_has_none_and_a_doubled_row_is_said(tmp_path: Path) -> None:
    rows = "path,label,subject\na.png,happy,7\nb.png,sad,\na.png,sad,7\n"
    (tmp_path / "t.csv").write_text(rows)
    layout = read_sheet(tmp_path / "t.csv", None, RAFDB)
    groups = {entry.sample_id: entry.group for entry in layout.entries}
    assert groups == {"a": "7", "b": None}
    assert ("a", "row 3: another row has this id") in layout.skipped


def sixteen_bits(highest: int) -> bytes:
    values = np.linspace(0, highest, 64).reshape(8, 8).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("highest", [255, 65535])
def test_images_of_sixteen_bits_are_neither_black_nor_clipped(highest: int) -> None:
    values = np.asarray(in_rgb(open_image(sixteen_bits(highest), "a.png")))
    assert values.min() == 0
    assert values.max() >= 254
    assert len(np.unique(values)) > 60


POINTS = np.arange(136, dtype=np.float32).reshape(68, 2) + 1
EVERY_X_FIRST = np.concatenate([POINTS[:, 0], POINTS[:, 1]])


def as_json(content: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "a.json").write_text(json.dumps(content))
        return folder

    return write


def as_array(values: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / "a.npy", values)
        return folder

    return write


def as_npz(values: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "all.npz", id=np.array(["a"]), landmarks=values)
        return folder / "all.npz"

    return write


@pytest.mark.parametrize(
    "write",
    [
        as_json(POINTS.tolist()),
        as_json(POINTS.T.tolist()),
        as_json({"landmarks": POINTS.tolist()}),
        as_array(np.asfortranarray(POINTS)),
        as_array(np.ascontiguousarray(POINTS.T)),
        as_array(POINTS[None]),
        as_npz(POINTS[None]),
        as_npz(POINTS.T[None]),
        as_npz(np.asfortranarray(POINTS[None, None])),
    ],
)
def test_points_in_any_order_in_memory_are_the_same_vector(write: Callable[[Path], Path], tmp_path: Path) -> None:
    places, found, skipped = read_parameters(write(tmp_path), "landmarks", None)
    assert (places, skipped) == (["a"], [])
    assert found.tolist() == [EVERY_X_FIRST.tolist()]


def test_points_in_rows_of_another_length_are_left_out_with_the_reason(tmp_path: Path) -> None:
    as_json(POINTS.tolist())(tmp_path)
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    as_json(np.zeros((17, 8)).tolist())(tmp_path)
    places, _, skipped = read_parameters(tmp_path, "landmarks", None)
    assert places == ["b"]
    assert ["is 17 lists of 8 numbers" in str(one) for one in skipped] == [True]


@pytest.fixture
def gaze() -> Declaration:
    return representations.declare(
        Declaration.model_validate({"name": "gaze_traps", "groups": {"gaze": ["yaw", "pitch"]}})
    )


def test_the_number_of_a_row_is_not_taken_for_an_id(gaze: Declaration, tmp_path: Path) -> None:
    frame = pd.DataFrame({"yaw": [1.0, 2.0], "pitch": [3.0, 4.0]})
    frame.to_csv(tmp_path / "numbered.csv")
    frame.to_csv(tmp_path / "bare.csv", index=False)
    for name in ("numbered.csv", "bare.csv"):
        with pytest.raises(Ig3dError, match=rf"{name}: no column of ids, such as sample_id or image"):
            read_parameters(tmp_path / name, gaze.name, None)


def test_words_in_a_column_of_numbers_are_named(gaze: Declaration, tmp_path: Path) -> None:
    frame = pd.DataFrame({"sample_id": ["a", "b"], "yaw": ["left", "right"], "pitch": [3.0, 4.0]})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(Ig3dError, match=r"t\.parquet: columns 'yaw', \.\.\. are no numbers"):
        read_parameters(tmp_path / "t.parquet", gaze.name, None)


@pytest.mark.parametrize("keep", [10, 200])
def test_half_a_file_of_arrays_is_one_line(gaze: Declaration, tmp_path: Path, keep: int) -> None:
    np.savez_compressed(tmp_path / "all.npz", id=np.array(["a"]), gaze_traps=np.ones((1, 2)))
    whole = (tmp_path / "all.npz").read_bytes()
    (tmp_path / "all.npz").write_bytes(whole[:keep])
    with pytest.raises(Ig3dError, match=r"all\.npz: cannot be read as NPZ \(.+\)") as refused:
        read_parameters(tmp_path / "all.npz", gaze.name, None)
    assert len(str(refused.value)) <= 300


def test_fer2013_as_it_is_handed_out_has_its_images_in_a_column(tmp_path: Path) -> None:
    about = datasets.dataset("fer2013")
    splits = ["Training"] * 14 + ["PublicTest"] * 7 + ["PrivateTest"] * 7
    images = np.random.default_rng(0).integers(0, 256, (28, 48, 48))
    rows = [f'{i % 7},"{" ".join(map(str, images[i].ravel()))}",{split}' for i, split in enumerate(splits)]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    store = Store(str(tmp_path / "s"))
    layout = read_sheet(tmp_path / "fer2013.csv", None, about)
    samples = ingest(store, "fer2013", layout, Shares(), 0, False).samples
    assert samples.ids.tolist() == [f"fer{i:07d}" for i in range(28)]
    assert [len(samples.in_split(split)) for split in ("train", "dev", "test")] == [14, 7, 7]
    assert (ImageSet(store, samples, 48)[3] == images[3]).all()


def test_pixels_that_are_no_image_are_said(tmp_path: Path) -> None:
    rows = ["emotion,pixels", "0,1 2 3 4", "1,1 2 3", "2,1 2 3 256", "3,"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    layout = read_sheet(tmp_path / "t.csv", None, datasets.dataset("fer2013"))
    assert [entry.has_image for entry in layout.entries] == [True, False, False, False]
    assert layout.skipped == [
        ("fer0000001", "pixels: 3 numbers are no square image; kept without an image"),
        ("fer0000002", "pixels: not whole numbers from 0 to 255, separated by blanks; kept without an image"),
        ("fer0000003", "pixels: 0 numbers are no square image; kept without an image"),
    ]


def test_reasons_are_counted_in_linear_time_and_by_kind() -> None:
    skipped = [(str(row), f"line {row}: img/{row}.jpg: not a readable image (x_{row})") for row in range(5)]
    assert reasons(skipped) == ["5 x line 0: img/0.jpg: not a readable image (x_0), such as 0"]
    for part in ("a", "/", "x_", "valence ", "a.jp"):
        # Minutes, with an expression that looks for every end of every beginning.
        assert len(reasons([("x", part * 100_000)])) == 1
