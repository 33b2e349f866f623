"""3D parameters in every form that people have, correct and with each defect."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parameter_files import as_json, parts_of, vectors
from publisher_files import affectnet, skipped_rows

from ig3d_ray.data import datasets
from ig3d_ray.data.ingest.affectnet import read_affectnet
from ig3d_ray.data.ingest.build import Shares, ingest
from ig3d_ray.data.ingest.feature_tables import read_table
from ig3d_ray.data.ingest.features import import_features, parse_columns
from ig3d_ray.data.representations import groups_of, width_of
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.store import Store


def check_params(done: Any, representation: Any, expected: dict[str, np.ndarray]) -> None:
    with_params = done.samples.with_feature(representation)
    assert set(with_params.ids.tolist()) == set(expected)
    found = dict(zip(with_params.ids.tolist(), with_params.params(representation), strict=True))
    for sample, values in expected.items():
        assert (found[sample] == values).all(), sample


@pytest.mark.parametrize("representation", ["emoca", "smirk"])
def test_json_beside_the_images(made: tuple[Store, Samples, Path], representation: Any) -> None:
    store, samples, root = made
    values, expected = vectors(representation, len(samples)), {}
    for sample, vector in zip(samples.ids.tolist(), values, strict=True):
        word, number = sample.split("/")
        file = root / word / str(int(number) % 8) / f"{number}.json"
        file.write_text(as_json(representation, vector))
        expected[sample] = vector
    done = import_features(store, samples, representation, root)
    assert done.skipped == []
    assert done.added == 40
    check_params(done, representation, expected)
    assert load_samples(store, "affectnet8").fingerprint == done.samples.fingerprint


def test_emocas_demo_output(made: tuple[Store, Samples, Path], tmp_path: Path) -> None:
    store, samples, _ = made
    values, expected = vectors("emoca", len(samples)), {}
    out = tmp_path / "emoca"
    for sample, vector in zip(samples.ids.tolist(), values, strict=True):
        folder = out / sample.split("/")[0] / f"{sample.split('/')[1]}00"
        folder.mkdir(parents=True)
        for name, part in parts_of("emoca", vector).items():
            np.save(folder / f"{name}.npy", part[None] if name == "exp" else part)
        (folder / "inputs.png").write_bytes(b"image")
        expected[sample] = vector
    done = import_features(store, samples, "emoca", out)
    assert done.skipped == []
    check_params(done, "emoca", expected)
    # One part's folder alone: numbers stand in both parts, so the split must be given.
    with pytest.raises(Ig3dError, match=r"nothing in it belongs to a sample.*could be train/0 or val/0; give --split"):
        import_features(store, samples, "emoca", out / "val")
    assert import_features(store, samples, "emoca", out / "val", split="test").added == 16


def save_arrays(folder: Path, vector: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for name, part in parts_of("emoca", vector).items():
        np.save(folder / f"{name}.npy", part)


def test_where_the_demo_found_no_face_nobody_gets_its_numbers(
    made: tuple[Store, Samples, Path], tmp_path: Path
) -> None:
    # It writes what it made of such an image under the first letter of the image's name.
    store, samples, _ = made
    good = vectors("emoca", 4)
    for name, vector in zip(("100", "1200", "1", "1201"), good, strict=True):
        save_arrays(tmp_path / "emoca" / "train" / name, vector)
    save_arrays(tmp_path / "emoca" / "train" / "300", good[0])
    done = import_features(store, samples, "emoca", tmp_path / "emoca", split="train")
    check_params(done, "emoca", {"train/1": good[0], "train/12": good[1], "train/3": good[0]})
    why = dict(done.skipped)
    assert why["train/1"] == why["train/1201"] == "not <name>00: no face was found, or it is another face"


def test_folders_without_the_demos_numbers_are_taken_by_their_names(
    made: tuple[Store, Samples, Path], tmp_path: Path
) -> None:
    store, samples, _ = made
    good = vectors("emoca", 3)
    for name, vector in zip(("1", "2", "100"), good, strict=True):
        save_arrays(tmp_path / "emoca" / "train" / name, vector)
    done = import_features(store, samples, "emoca", tmp_path / "emoca", split="train")
    check_params(done, "emoca", {"train/1": good[0], "train/2": good[1]})
    assert ("train/100", "no sample '100', nor one whose id ends so") in done.skipped


def test_a_vector_of_zeros_is_no_face(made: tuple[Store, Samples, Path], tmp_path: Path) -> None:
    store, samples, _ = made
    good = vectors("emoca", 2)
    for number, vector in ((1, good[0]), (2, np.zeros(width_of("emoca"), np.float32))):
        save_arrays(tmp_path / "folders" / "train" / f"{number}00", vector)
    names = np.array(["train/3", "train/4"])
    np.savez(tmp_path / "merged.npz", sample_id=names, emoca=np.stack([good[1], 0 * good[1]]))
    done = import_features(store, samples, "emoca", tmp_path / "folders", split="train")
    assert [what for what, why in done.skipped if why.startswith("all its numbers are 0")] == ["train/200"]
    done = import_features(store, done.samples, "emoca", tmp_path / "merged.npz")
    assert [what for what, why in done.skipped if why.startswith("all its numbers are 0")] == ["train/4"]
    check_params(done, "emoca", {"train/1": good[0], "train/3": good[1]})


def test_numbers_with_leading_zeros_are_names_in_any_column(tmp_path: Path) -> None:
    values = vectors("smirk", 2)
    columns = [f"{name}_{i}" for name, size in groups_of("smirk") for i in range(size)]
    lines = [",".join(["sex", "sample_id", *columns])]
    for name, row in zip(("00012", "00013"), values, strict=True):
        lines.append(",".join(["f", name, *map(str, row)]))
    (tmp_path / "merged.csv").write_text("\n".join(lines) + "\n")
    names, found, skipped = read_table(tmp_path / "merged.csv", "smirk", None)
    assert (names, skipped) == (["00012", "00013"], [])
    assert np.allclose(found, values)


@pytest.mark.parametrize(
    ("suffix", "delimiter", "decimal", "before"),
    [
        (".csv", ";", ",", "sep=;\n"),
        (".csv", ";", ".", ""),
        (".tsv", "\t", ".", "# by an encoder\n"),
        (".tsv", "\t", ",", ""),
        (".txt", "   ", ".", "\n"),
        (".csv.gz", ",", ".", ""),
        (".csv.GZ", ";", ",", ""),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_parameters_are_read_as_programs_write_them(
    tmp_path: Path, suffix: str, delimiter: str, decimal: str, before: str, encoding: str
) -> None:
    values = vectors("smirk", 3)
    columns = [f"{name}_{i}" for name, size in groups_of("smirk") for i in range(size)]
    rows = zip(("00012", "für/13", "14"), values, strict=True)
    lines = [delimiter.join(["sample_id", *columns])]
    lines += [delimiter.join([name, *(f"{v:.9g}".replace(".", decimal) for v in row)]) for name, row in rows]
    text = (before + "\n".join(lines) + "\n").encode(encoding)
    file = tmp_path / f"smirk{suffix}"
    file.write_bytes(gzip.compress(text) if suffix.lower().endswith(".gz") else text)
    names, found, skipped = read_table(file, "smirk", None)
    assert (names, skipped) == (["00012", "für/13", "14"], [])
    assert np.allclose(found, values, rtol=1e-6)


def test_a_train_image_lends_its_parameters_to_no_val_sample(tmp_path: Path) -> None:
    # Number 15 is contempt in train, which affectnet7 leaves out, and another face in val.
    files = affectnet(tmp_path / "files")
    files["val"].write_text(files["val"].read_text().replace("\n15,7,", "\n15,0,"))
    about, store = datasets.dataset("affectnet7"), Store(str(tmp_path / "store"))
    layout = read_affectnet(tmp_path / "files", files, about)
    samples = ingest(store, "affectnet7", layout, Shares(0.34), 0, False).samples
    good = vectors("emoca", 2)
    for part, vector in zip(("train_set", "val_set"), good, strict=True):
        (tmp_path / "json" / part).mkdir(parents=True)
        (tmp_path / "json" / part / "15.json").write_text(as_json("emoca", vector))
    done = import_features(store, samples, "emoca", tmp_path / "json")
    assert ("train_set/15", "no sample '15', nor one whose id ends so") in done.skipped
    check_params(done, "emoca", {"val/15": good[1]})


def test_every_broken_file_is_listed_and_none_is_filled_up(made: tuple[Store, Samples, Path], tmp_path: Path) -> None:
    store, samples, _ = made
    folder, good = tmp_path / "json" / "train", vectors("emoca", 30)
    folder.mkdir(parents=True)
    for number in range(24):
        (folder / f"{number}.json").write_text(as_json("emoca", good[number]))
    (folder / "0.json").unlink()
    (folder / "1.json").write_text(as_json("emoca", good[1])[:500])
    (folder / "2.json").write_text(as_json("emoca", good[2], exp=[0.0] * 49))
    (folder / "3.json").write_text(as_json("emoca", good[3], detail=None))
    (folder / "4.json").write_text(as_json("emoca", good[4], pose=[float("nan")] * 6))
    (folder / "5.json").write_text(as_json("emoca", good[5], pose=["a"] * 6))
    (folder / "6.json").write_text("[1, 2]")
    (folder / "7.json").write_text(as_json("emoca", good[7], pose=[1e39] * 6))
    (folder / "500.json").write_text(as_json("emoca", good[8]))
    (folder / "other").mkdir()
    (folder / "other" / "8.json").write_text(as_json("emoca", good[9]))
    done = import_features(store, samples, "emoca", folder.parent, split="train")
    why = {what: reason for source, what, reason in skipped_rows(store, "affectnet8") if source == "emoca"}
    assert why["train/1.json"] == "not JSON"
    assert why["train/2.json"] == "exp has 49 numbers, not 50"
    assert why["train/3.json"] == "has no list detail"
    assert why["train/4.json"] == "holds NaN or infinity"
    assert why["train/5.json"] == "holds something that is no number"
    assert why["train/6.json"] == "has 2 numbers, not 334"
    assert why["train/7.json"] == "holds NaN or infinity"
    assert why["train/500"] == "no sample '500', nor one whose id ends so"
    assert "a second one for sample train/8" in why.values()
    missing = [what for what, reason in why.items() if reason == "no parameters found"]
    assert sorted(missing) == sorted(f"train/{number}" for number in range(8))
    assert done.added == 16
    assert done.samples.table["emoca"].null_count == 40 - 16
    # What is repaired and brought again completes the table.
    for number in range(8):
        (folder / f"{number}.json").write_text(as_json("emoca", good[number]))
    again = import_features(store, done.samples, "emoca", folder.parent, split="train")
    assert again.samples.table["emoca"].null_count == 16


def test_a_bare_number_is_of_no_part(made: tuple[Store, Samples, Path], tmp_path: Path) -> None:
    store, samples, _ = made
    # Train has 20 and val has not, but whose file this is nobody says.
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "20.json").write_text(as_json("emoca", vectors("emoca", 1)[0]))
    with pytest.raises(Ig3dError, match=r"the first: 20: of train or val\? give --split"):
        import_features(store, samples, "emoca", tmp_path / "flat")
    assert import_features(store, samples, "emoca", tmp_path / "flat", split="train").added == 1


def test_broken_arrays_are_listed(made: tuple[Store, Samples, Path], tmp_path: Path) -> None:
    store, samples, _ = made
    out, good = tmp_path / "emoca" / "train", vectors("emoca", 5)
    for number in range(5):
        (out / f"{number}00").mkdir(parents=True)
        for name, part in parts_of("emoca", good[number]).items():
            np.save(out / f"{number}00" / f"{name}.npy", part)
    (out / "000" / "tex.npy").unlink()
    np.save(out / "100" / "tex.npy", np.zeros(49))
    (out / "200" / "tex.npy").write_bytes(b"nothing")
    (out / "300" / "tex.npy").write_bytes((out / "300" / "tex.npy").read_bytes()[:150])
    done = import_features(store, samples, "emoca", tmp_path / "emoca", split="train")
    why = {what: reason for what, reason in done.skipped if reason != "no parameters found"}
    assert why["train/000"] == "tex.npy is missing"
    assert why["train/100"] == "tex.npy has 49 numbers, not 50"
    assert why["train/200"] == "not a .npy file of numbers"
    assert why["train/300"] == "a .npy file is cut short"
    assert done.added == 1
    check_params(done, "emoca", {"train/4": good[4]})


@pytest.mark.parametrize("form", ["names", "positions", "npz", "parquet", "npz-groups"])
def test_merged_files(made: tuple[Store, Samples, Path], tmp_path: Path, form: str) -> None:
    store, samples, _ = made
    train = [sample for sample in samples.ids.tolist() if sample.startswith("train")]
    values = vectors("emoca", len(train))
    numbers = [sample.split("/")[1] for sample in train]
    columns = None
    if form in ("names", "positions"):
        names = [f"{name}_{i}" for name, size in groups_of("emoca") for i in range(size)]
        if form == "positions":
            names = [f"f{i}" for i in range(334)]
            sizes, start, texts = dict(groups_of("emoca")), 2, []
            for name, _ in groups_of("emoca"):
                texts.append(f"{name}={start}:{start + sizes[name]}")
                start += sizes[name]
            columns = parse_columns(texts)
        lines = [",".join(["number", "exp_label", *names])]
        lines += [
            ",".join([n, "0", *(repr(float(v)) for v in vector)]) for n, vector in zip(numbers, values, strict=True)
        ]
        file = tmp_path / "merged.csv"
        file.write_text("\n".join(lines))
    elif form == "parquet":
        file = tmp_path / "merged.parquet"
        pq.write_table(pa.table({"sample_id": train, "emoca": values.tolist(), "note": ["x"] * len(train)}), file)
    else:
        file = tmp_path / "merged.npz"
        parts = {"emoca": values} if form == "npz" else {}
        if form == "npz-groups":
            start = 0
            for name, size in groups_of("emoca"):
                parts[name], start = values[:, start : start + size], start + size
        np.savez(file, sample_id=np.array([f"{n}.jpg" for n in numbers]), **parts)
    done = import_features(store, samples, "emoca", file, split="train", columns=columns)
    check_params(done, "emoca", dict(zip(train, values, strict=True)))


def test_merged_files_that_are_not_understood_say_why(made: tuple[Store, Samples, Path], tmp_path: Path) -> None:
    store, samples, _ = made

    def fails(file: Path, message: str, columns: Any = None) -> None:
        with pytest.raises(Ig3dError, match=message):
            import_features(store, samples, "emoca", file, columns=columns)

    fails(tmp_path / "none", "none: no such file or folder")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "holds no JSON files")
    (tmp_path / "a.csv").write_text("number,x\n1,2\n")
    fails(tmp_path / "a.csv", "no column 'exp_0'; name them <group>_<i>, or give --columns exp=4:54")
    fails(tmp_path / "a.csv", "a.csv has 2 columns, exp needs 50", {"exp": (1, 51)})
    np.savez(tmp_path / "a.npz", sample_id=np.array(["train/1"]), emoca=np.zeros((1, 156)))
    fails(tmp_path / "a.npz", r"emoca is \(1, 156\), not \(1, 334\)")
    np.savez(tmp_path / "b.npz", emoca=np.zeros((1, 334)))
    fails(tmp_path / "b.npz", "holds no sample_id")
    (tmp_path / "c.npz").write_bytes(b"zip?")
    fails(tmp_path / "c.npz", "cannot be read as NPZ")
    rows = {"sample_id": ["train/1", "train/2"], "emoca": [[0.0] * 334, [0.0] * 3]}
    pq.write_table(pa.table(rows), tmp_path / "e.parquet")
    fails(tmp_path / "e.parquet", "emoca has rows of 334 and 3 numbers")
    pq.write_table(pa.table(rows | {"emoca": ["a", "b"]}), tmp_path / "e.parquet")
    fails(tmp_path / "e.parquet", "emoca holds no lists of numbers")
    pq.write_table(pa.table(rows | {"emoca": [[1.0] * 334, None]}), tmp_path / "e.parquet")
    assert import_features(store, samples, "emoca", tmp_path / "e.parquet", split="train").added == 1
    (tmp_path / "d.xml").write_text("")
    fails(tmp_path / "d.xml", r"a folder, or a file ending in .csv, .tsv, .txt \(also .gz\), .npz or .parquet")
    (tmp_path / "d.txt").write_text("\n\n")
    fails(tmp_path / "d.txt", "no rows")
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"number,x\n1,2\n")[:-9])
    fails(tmp_path / "d.csv.gz", "cannot be read as CSV")
    with pytest.raises(Ig3dError, match="--columns exp: write it as group=first:end"):
        parse_columns(["exp"])


def test_thousands_of_files_are_read_by_several_processes(made: tuple[Store, Samples, Path], tmp_path: Path) -> None:
    from ig3d_ray.data.ingest.feature_files import read_many

    good = vectors("smirk", 5)
    texts = [as_json("smirk", vector) for vector in good]
    paths = []
    for number in range(2100):
        paths.append(str(tmp_path / f"{number}.json"))
        Path(paths[-1]).write_text(texts[number % 5] if number % 100 else "{}")
    read = read_many(paths, "smirk", folders=False)
    assert [row for row, _ in read.broken] == list(range(0, 2100, 100))
    assert read.rows.tolist() == [row for row in range(2100) if row % 100]
    assert (read.vectors == good[read.rows % 5]).all()
