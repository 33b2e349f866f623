"""Publishers' files in every layout that people have, correct and with each defect."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from publisher_files import AFFECTNET, RAFDB, affectnet, annotations, image, rafdb, skipped_rows

from ig3d_ray.data import datasets
from ig3d_ray.data.check import check_data
from ig3d_ray.data.encoder_record import EncoderRecord, encoder_records, write_encoder_record
from ig3d_ray.data.images import ImageSet
from ig3d_ray.data.ingest.affectnet import annotation_part, read_affectnet
from ig3d_ray.data.ingest.build import Shares, class_table, ingest, reasons
from ig3d_ray.data.ingest.rafdb import read_rafdb
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.store import Store


@pytest.mark.parametrize("class_folders", [False, True])
@pytest.mark.parametrize("annotated", [True, False])
def test_affectnet_flat_and_by_class(tmp_path: Path, class_folders: bool, annotated: bool) -> None:
    files = affectnet(tmp_path, class_folders)
    if not annotated and not class_folders:
        with pytest.raises(Ig3dError, match="no train annotations, and no folders named by class"):
            read_affectnet(tmp_path, {}, AFFECTNET)
        return
    layout = read_affectnet(tmp_path, files if annotated else {}, AFFECTNET)
    assert layout.skipped == []
    by_id = {entry.sample_id: entry for entry in layout.entries}
    assert len(by_id) == 40
    assert by_id["train/9"].expression == 1
    assert by_id["train/9"].split == "train"
    assert by_id["val/9"].split == "test"
    assert by_id["val/9"].file != by_id["train/9"].file
    if annotated:
        assert (by_id["train/9"].valence, by_id["train/9"].arousal) == (-0.45, 0.25)
    else:
        assert np.isnan(by_id["train/9"].valence)


def test_affectnet_becomes_a_samples_table(store: Store, tmp_path: Path) -> None:
    files = affectnet(tmp_path)
    done = ingest(store, "affectnet8", read_affectnet(tmp_path, files, AFFECTNET), Shares(0.34), 0, replace=False)
    counts = {split: of.tolist() for split, of in class_table(done.samples).items()}
    assert counts == {"train": [2] * 8, "dev": [1] * 8, "test": [2] * 8}
    assert load_samples(store, "affectnet8").fingerprint == done.samples.fingerprint
    decoded = ImageSet(store, done.samples, 24).some()
    row = done.samples.ids.tolist().index("val/3")
    original = np.asarray(Image.open(tmp_path / "val_set" / "images" / "3.jpg").convert("RGB")).transpose(2, 0, 1)
    assert (decoded[row] == original).all()
    with pytest.raises(Ig3dError, match="is there already, and members may be trained on it; use --replace"):
        ingest(store, "affectnet8", read_affectnet(tmp_path, files, AFFECTNET), Shares(0.34), 0, replace=False)
    write_encoder_record(store, "affectnet8", "smirk", EncoderRecord("encoders/smirk.pt", "0" * 64))
    again = ingest(store, "affectnet8", read_affectnet(tmp_path, files, AFFECTNET), Shares(0.34), 0, replace=True)
    assert encoder_records(store, "affectnet8") == {}, "the new table has no parameters, so they are no encoder's"
    assert again.samples.fingerprint == done.samples.fingerprint
    other = ingest(store, "affectnet8", read_affectnet(tmp_path, files, AFFECTNET), Shares(0.34), 1, replace=True)
    assert other.samples.fingerprint != done.samples.fingerprint


def test_a_sample_keeps_its_split_when_others_come(tmp_path: Path) -> None:
    files = affectnet(tmp_path)
    few = ingest(
        Store(str(tmp_path / "a")), "affectnet8", read_affectnet(tmp_path, files, AFFECTNET), Shares(0.34), 0, False
    )
    rows = [(number, number % 8, 0.0, 0.0) for number in range(32)]
    for number in range(24, 32):
        image(tmp_path / "train_set" / "images" / f"{number}.jpg", number)
    files["train"] = annotations(tmp_path / "train_more.csv", rows)
    more = ingest(
        Store(str(tmp_path / "b")), "affectnet8", read_affectnet(tmp_path, files, AFFECTNET), Shares(0.34), 0, False
    )
    was = dict(zip(few.samples.ids.tolist(), few.samples.table["split"].to_pylist(), strict=True))
    now = dict(zip(more.samples.ids.tolist(), more.samples.table["split"].to_pylist(), strict=True))
    assert sum(was[sample] != now[sample] for sample in was) <= 8


def test_every_defect_of_affectnet_is_listed(tmp_path: Path) -> None:
    files, images = affectnet(tmp_path), tmp_path / "train_set" / "images"
    text = files["train"].read_text()
    text = text.replace("\n5,5,", "\n5,11,").replace("\n6,6,-0.6,", "\n6,6,-3,").replace("\n7,7,", "\n7,seven,")
    files["train"].write_text(text + "3,3,0.1,0.1\n500,0,0.1,0.1\n")
    (images / "9.jpg").write_bytes(b"not an image")
    (images / "10.jpg").write_bytes((images / "10.jpg").read_bytes()[:200])
    image(images / "777.jpg", 7)
    image(images / "more" / "8.jpg", 8)
    store = Store(str(tmp_path / "store"))
    done = ingest(store, "affectnet8", read_affectnet(tmp_path, files, AFFECTNET), Shares(0.34), 0, replace=False)
    why = {what: reason for source, what, reason in skipped_rows(store, "affectnet8") if source == "images"}
    assert len(why) == len(done.skipped) == 10
    assert why["train/5"] == "expression 11 is outside 0..7"
    assert why["train/6"].startswith("valence -3, arousal 0.25: outside [-1, 1]")
    assert why["train_set_annotation_without_lnd.csv: 7,seven,-0.55,0.25"] == "not a class and two numbers"
    assert why["train/7"] == "image without annotation"
    assert why["train/3"] == "annotated a second time"
    assert why["train/500"] == "annotated, but there is no image; kept without one"
    assert why["train/777"] == "image without annotation"
    assert why["more/8.jpg"] == "the same name as 8.jpg"
    for number in (9, 10):
        assert why[str(images / f"{number}.jpg")] == f"not a readable image; train/{number} is kept without an image"
    places = dict(zip(done.samples.ids.tolist(), done.samples.table["image"].to_pylist(), strict=True))
    assert {sample for sample, place in places.items() if place is None} == {"train/9", "train/10", "train/500"}
    assert len(done.samples) == 40 - 3 + 1


def test_a_folder_that_contradicts_its_annotation_is_skipped(tmp_path: Path) -> None:
    files = affectnet(tmp_path, class_folders=True)
    (tmp_path / "train" / "2" / "10.jpg").rename(tmp_path / "train" / "3" / "10.jpg")
    layout = read_affectnet(tmp_path, files, AFFECTNET)
    assert layout.skipped == [("train/10", "in folder 3, but annotated as 2")]


def test_affectnet7_leaves_contempt_out(tmp_path: Path) -> None:
    layout = read_affectnet(tmp_path, affectnet(tmp_path), datasets.dataset("affectnet7"))
    assert len(layout.entries) == 35
    assert {why for _, why in layout.skipped} == {"expression 7 is outside 0..6"}


def test_what_cannot_be_a_data_set_says_why(tmp_path: Path) -> None:
    with pytest.raises(Ig3dError, match="has none of the folders train_set, train; give the one"):
        read_affectnet(tmp_path, {}, AFFECTNET)
    (tmp_path / "train").mkdir()
    with pytest.raises(Ig3dError, match=r"train: holds no images \(.jpg"):
        read_affectnet(tmp_path, {}, AFFECTNET)
    with pytest.raises(Ig3dError, match=r"labels\.csv: its name must contain train or val"):
        annotation_part(tmp_path / "labels.csv")
    files = affectnet(tmp_path)
    (tmp_path / "train").rmdir()
    files["val"].write_text("id,expression\n1,2\n")
    with pytest.raises(Ig3dError, match=r"no column 'number' .*; known: number,exp,val,aro"):
        read_affectnet(tmp_path, files, AFFECTNET)


def test_an_empty_class_is_refused(tmp_path: Path) -> None:
    files = affectnet(tmp_path)
    files["train"].write_text(files["train"].read_text().replace("\n4,4,", "\n4,3,").replace("\n12,4,", "\n12,3,"))
    files["train"].write_text(files["train"].read_text().replace("\n20,4,", "\n20,3,"))
    store = Store(str(tmp_path / "store"))
    with pytest.raises(Ig3dError, match="affectnet8: no train sample is Fear; check the folders"):
        ingest(store, "affectnet8", read_affectnet(tmp_path, files, AFFECTNET), Shares(0.1), 0, replace=False)
    assert store.names() == []


@pytest.mark.parametrize("as_folders", [None, 0, 1])
def test_rafdb_in_one_folder_and_by_class(tmp_path: Path, as_folders: int | None) -> None:
    labels = rafdb(tmp_path, as_folders)
    layout = read_rafdb(tmp_path, [labels] if as_folders is None else [], RAFDB)
    assert layout.skipped == []
    by_id = {entry.sample_id: entry for entry in layout.entries}
    assert len(by_id) == 35
    assert (by_id["train_0008"].expression, by_id["train_0008"].split) == (1, "train")
    assert (by_id["test_0006"].expression, by_id["test_0006"].split) == (6, "test")


def test_every_defect_of_rafdb_is_listed(tmp_path: Path) -> None:
    labels = rafdb(tmp_path)
    text = labels.read_text().replace("train_0003.jpg 4", "train_0003.jpg 9").replace("train_0004.jpg 5", "train_0004")
    labels.write_text(text + "train_0005.jpg 6\ntrain_9999.jpg 1\nother_1.jpg 2\ntrain_0006.jpg 1\n")
    image(tmp_path / "test_7777_aligned.jpg", 3)
    layout = read_rafdb(tmp_path, [labels], RAFDB)
    assert dict(layout.skipped) == {
        "train_0003": "expression 8 is outside 0..6",
        "list_patition_label.txt line 5": "not a file name and a label: train_0004",
        "train_0004": "image without label",
        "train_0005": "list_patition_label.txt line 36: duplicate",
        "train_0006": "list_patition_label.txt line 39: duplicate, as 7 and as 1; the first is kept",
        "train_9999": "labeled, but there is no image; kept without one",
        "other_1": "neither train_... nor test_...",
        "test_7777": "image without label",
    }
    labels = rafdb(tmp_path / "folders", as_folders=1)
    for word in ("train", "test"):
        for file in (tmp_path / "folders" / word / "7").iterdir():
            file.unlink()
    with pytest.raises(Ig3dError, match=r"folders 1, 2, 3, 4, 5, 6: neither 0 nor 7 is there"):
        read_rafdb(tmp_path / "folders", (), RAFDB)


def test_reasons_are_counted_apart() -> None:
    skipped = [(f"train/{i}", f"expression {8 + i % 2} is outside 0..7") for i in range(6)]
    skipped += [(f"{i}", f"could be train/{i} or val/{i}; give --split") for i in range(9, 12)]
    skipped += [(f"train_{i}", f"list_patition_label.txt line {i}: duplicate") for i in range(4)]
    skipped += [("train/1", "valence -2, arousal 0.1: outside [-1, 1]"), ("a", "valence 3, arousal 2: outside [-1, 1]")]
    message = reasons(skipped)
    assert [line.split(",")[0] for line in message[:2]] == [
        "4 x list_patition_label.txt line 0: duplicate",
        "3 x expression 8 is outside 0..7",
    ]
    assert "3 x could be train/9 or val/9; give --split, such as 9" in message
    assert any(line.startswith("2 x valence -2") for line in message)
    assert reasons(skipped, at_most=2)[-1] == "8 for 3 other reasons"


def test_images_of_other_names_are_an_error(tmp_path: Path) -> None:
    files = affectnet(tmp_path)
    for file in list((tmp_path / "train_set" / "images").iterdir()):
        file.rename(file.with_name(f"image_{file.name}"))
    with pytest.raises(Ig3dError, match="not one of 24 labeled train samples has an image, such as train/0; are the"):
        ingest(
            Store(str(tmp_path / "s")), "affectnet8", read_affectnet(tmp_path, files, AFFECTNET), Shares(0.1), 0, False
        )


def test_a_check_finds_what_is_wrong(made: tuple[Store, Samples, Path]) -> None:
    store, samples, root = made
    found = check_data(store, samples)
    assert ("test", [2] * 8, 16) in found.counts
    assert ("published test", [500] * 7 + [499], 3999) in found.counts
    assert found.faults == []
    assert "no sample has emoca" in found.notes
    (root / "val" / "3" / "3.jpg").write_bytes((root / "train" / "3" / "3.jpg").read_bytes())
    (root / "train" / "2" / "2.jpg").write_bytes((root / "train" / "2" / "10.jpg").read_bytes())
    files = {"train": root / "train_set_annotation_without_lnd.csv", "val": root / "val_set_annotation_without_lnd.csv"}
    files["val"].write_text(files["val"].read_text().replace(",7,", ",6,"))
    for number in (7, 15):
        (root / "val" / "7" / f"{number}.jpg").rename(root / "val" / "6" / f"{number}.jpg")
    again = ingest(store, "affectnet8", read_affectnet(root, files, AFFECTNET), Shares(0.34), 0, True)
    found = check_data(store, again.samples)
    assert "no test sample is Contempt" in found.faults
    (across,) = [fault for fault in found.faults if "in two splits" in fault]
    assert "1 duplicate images in two splits, such as " in across
    assert "val/3 (test)" in across
    splits = dict(zip(again.samples.ids.tolist(), again.samples.table["split"].to_pylist(), strict=True))
    assert any("1 duplicate images within one split, such as train/" in note for note in found.notes)
    assert {splits["train/2"], splits["train/10"]} <= {"train", "dev"}


def test_classes_in_another_order_are_noticed() -> None:
    assert sum(datasets.dataset("affectnet8").counts["train"]) == 287_651
    assert sum(datasets.dataset("rafdb").counts["train"]) == 12_271
    assert sum(datasets.dataset("rafdb").counts["test"]) == 3_068
    # DDAMFN's order of RAF-DB's classes.
    counts = [datasets.dataset("rafdb").counts["test"][i] for i in (6, 3, 4, 0, 1, 2, 5)]
    labels = np.repeat(np.arange(7), [c // 10 for c in counts])
    table = pa.table(
        {
            "sample_id": [f"test_{i}" for i in range(len(labels))],
            "split": ["test"] * len(labels),
            "expression": labels,
        }
    )
    found = check_data(Store("unused"), Samples("rafdb", table))
    assert any("in another order" in fault for fault in found.faults)
