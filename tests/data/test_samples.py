"""Samples, labels, 3D parameters, images and the drawn faces."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ig3d_ray.data import datasets
from ig3d_ray.data.images import ImageSet
from ig3d_ray.data.labels import Labels, find_labels, merge_labels, save_labels
from ig3d_ray.data.representations import groups_of, subset_columns, subset_groups
from ig3d_ray.data.samples import Samples, load_samples, parameter_type
from ig3d_ray.data.synthetic.faces import contact_sheet, make_faces
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Task


def test_catalog_has_the_five_datasets_with_classes_in_order() -> None:
    assert datasets.dataset("affectnet8").class_names[7] == "Contempt"
    assert datasets.dataset("affectnet7").class_names == datasets.dataset("affectnet8").class_names[:7]
    assert datasets.dataset("rafdb").class_names[3] == "Happy"
    with pytest.raises(Ig3dError, match=r"unknown dataset 'fer'; known: afewva, affectnet7, affectnet8"):
        datasets.dataset("fer")


def test_subsets_have_the_papers_widths_and_keep_their_order() -> None:
    widths = {(r, s): len(subset_columns(r, s)) for r in ("emoca", "smirk") for s in ("short", "full")}
    assert widths == {
        ("emoca", "short"): 156,
        ("emoca", "full"): 334,
        ("smirk", "short"): 353,
        ("smirk", "full"): 358,
    }
    assert [name for name, _ in subset_groups("emoca", "short")] == ["exp", "pose", "shape"]
    assert subset_columns("emoca", "short").tolist() == [*range(56), *range(234, 334)]
    assert [name for name, _ in groups_of("smirk")] == ["pose", "shape", "expression", "eyelid", "jaw"]


def table(**columns: list) -> pa.Table:
    return pa.table({"sample_id": ["a", "b"], "split": ["train", "test"]} | columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sample_id": ["a", "a"]}, "duplicate sample_id 'a'"),
        ({"split": ["train", "val"]}, "sample 'b': split 'val'; allowed: train, dev, test"),
        ({"expression": [0, 7]}, r"sample 'b': expression is 7, outside \[0, 6\] \(1 such samples\)"),
        ({"valence": [0.0, float("nan")]}, r"sample 'b': valence is nan, outside \[-1, 1\]"),
        ({"color": ["red", "blue"]}, "unknown column 'color'; known: sample_id, split"),
        ({"expression": ["happy", "sad"]}, "column 'expression' is not int8"),
        ({"emoca": [[0.0] * 334, [float("inf")] * 334]}, "sample 'b': emoca holds NaN or infinity"),
        ({"emoca": [[0.0] * 333, [0.0] * 333]}, "column 'emoca' is not fixed_size_list"),
    ],
)
def test_a_wrong_samples_table_is_refused(columns: dict, message: str) -> None:
    with pytest.raises(Ig3dError, match=message):
        Samples("faces", table(**columns))


def test_missing_columns_are_nulls_and_sample_id_is_needed() -> None:
    samples = Samples("faces", table(expression=[0, None]))
    assert samples.expression.tolist() == [0, -1]
    assert np.isnan(samples.va).all()
    assert len(samples.with_feature("emoca")) == 0
    with pytest.raises(Ig3dError, match="column 'sample_id' is missing"):
        Samples("faces", pa.table({"split": ["train"]}))


def test_the_fingerprint_is_of_content_not_of_order() -> None:
    first = Samples("faces", table(expression=[0, 1]))
    turned = Samples("faces", first.table.take([1, 0]))
    other = Samples("faces", table(expression=[1, 1]))
    nulled = Samples("faces", table(expression=[None, 1]))
    assert first.fingerprint == turned.fingerprint
    assert len({first.fingerprint, other.fingerprint, nulled.fingerprint}) == 3


def test_samples_survive_a_store(store: Store, small_faces: tuple[Store, Samples]) -> None:
    _, samples = small_faces
    samples.save(store)
    assert load_samples(store, "faces").fingerprint == samples.fingerprint
    whole = store.read(paths.samples_table("faces"))
    store.write(paths.samples_table("faces"), whole[: len(whole) // 2])
    with pytest.raises(Ig3dError, match=r"samples.parquet: not a whole Parquet file"):
        load_samples(store, "faces")


def test_without_samples_the_message_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(Ig3dError, match="dataset faces has no samples table; see ig3d data faces"):
        load_samples(Store(str(tmp_path)), "faces")


def test_faces_are_the_same_from_the_same_seed(tmp_path: Path, small_faces: tuple[Store, Samples]) -> None:
    store, samples = small_faces
    again = Store(str(tmp_path))
    make_faces(again, samples=240, seed=3)
    for name in store.names():
        assert again.read(name) == store.read(name), name
    assert make_faces(Store(str(tmp_path / "other")), samples=240, seed=4).fingerprint != samples.fingerprint


def test_faces_have_every_split_class_and_feature(small_faces: tuple[Store, Samples]) -> None:
    _, samples = small_faces
    assert [len(samples.in_split(split)) for split in ("train", "dev", "test")] == [145, 37, 58]
    counts = np.bincount(samples.expression, minlength=7)
    assert counts.min() >= 3
    assert counts.argmax() == datasets.dataset("faces").class_names.index("Happy")
    assert np.abs(samples.va).max() <= 1
    assert 0 < len(samples) - len(samples.with_feature("smirk")) < 20
    happy = samples.va[samples.expression == 3].mean(axis=0)
    sad = samples.va[samples.expression == 4].mean(axis=0)
    assert happy[0] > 0.4 > -0.4 > sad[0]


def test_too_few_faces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Ig3dError, match="--samples 10: at least 200"):
        make_faces(Store(str(tmp_path)), samples=10)


def test_images_come_in_the_order_of_the_samples(small_faces: tuple[Store, Samples]) -> None:
    store, samples = small_faces
    few = Samples("faces", samples.table.slice(0, 6))
    images = ImageSet(store, few, 112).some()
    assert images.shape == (6, 3, 112, 112)
    assert images.dtype == np.uint8
    assert images.std() > 20
    turned = ImageSet(store, Samples("faces", few.table.take([5, 4, 3, 2, 1, 0])), 112).some()
    assert (turned[::-1] == images).all()
    assert ImageSet(store, few, 32).some().shape == (6, 3, 32, 32)


def test_of_a_pack_only_the_images_of_the_samples_are_held(small_faces: tuple[Store, Samples]) -> None:
    store, samples = small_faces
    few = Samples("faces", samples.table.slice(3, 4))
    images, everything = ImageSet(store, few, 112), ImageSet(store, samples, 112)
    held = [image.as_py() for _, images in images.packs.values() for image in images]
    assert sorted(held) == sorted(images.encoded(index)[0] for index in range(4))
    assert [images.encoded(index)[0] for index in range(4)] == [everything.encoded(3 + i)[0] for i in range(4)]


def test_a_broken_image_names_its_sample(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("datasets/faces/a.png", b"no image")
    samples = Samples("faces", table(image=["a.png", "b.png"]))
    with pytest.raises(Ig3dError, match=r"a.png: not a readable image"):
        ImageSet(store, Samples("faces", samples.table.slice(0, 1)), 112).some()
    with pytest.raises(Ig3dError, match=r"cannot read .*b.png"):
        ImageSet(store, Samples("faces", samples.table.slice(1, 1)), 112).some()


def test_the_contact_sheet_is_a_image_of_every_expression() -> None:
    sheet = Image.open(io.BytesIO(contact_sheet(columns=2)))
    assert sheet.size == (72 + 2 * 112, 7 * 112)


def labels(ids: list[str], classes: list[int], va: list[list[float]] | None = None) -> Labels:
    values = np.full((len(ids), 2), np.nan) if va is None else np.array(va)
    return Labels("rafdb", "test", np.array(ids), np.array(classes), values.astype(np.float32))


def test_labels_are_found_by_id() -> None:
    known = labels(["c", "a", "b"], [3, 1, 2])
    assert known.of(np.array(["a", "c"]), Task.EXPRESSION).tolist() == [1, 3]
    with pytest.raises(Ig3dError, match=r"sample z is not in the data set \(1 such\)"):
        known.of(np.array(["a", "z"]), Task.EXPRESSION)
    with pytest.raises(Ig3dError, match="sample a has no va label"):
        known.of(np.array(["a"]), Task.VA)


def test_labels_are_completed_and_never_contradicted(store: Store) -> None:
    known = labels(["a", "b"], [1, -1])
    merged = merge_labels(known, labels(["b", "c"], [2, 3], [[0.1, 0.2], [0.3, 0.4]]), "file")
    assert merged.of(np.array(["a", "b", "c"]), Task.EXPRESSION).tolist() == [1, 2, 3]
    assert merged.of(np.array(["b"]), Task.VA).tolist() == [[pytest.approx(0.1), pytest.approx(0.2)]]
    with pytest.raises(
        Ig3dError, match=r"file: sample a: its label is \(Disgust, .*stored as \(Fear.*1 samples differ"
    ):
        merge_labels(known, labels(["a"], [2]), "file")
    save_labels(store, merged)
    found = find_labels(store, "rafdb", "test")
    assert found is not None
    assert found.of(np.array(["c"]), Task.EXPRESSION).tolist() == [3]
    assert find_labels(store, "rafdb", "dev") is None


def test_samples_without_parameters_know_who_has_them(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    whole = make_faces(store, samples=200, seed=1)
    missing = np.arange(200) % 7 == 0
    vectors = whole.with_feature("emoca").params("emoca")
    found = np.where(missing, -1, np.arange(200) % len(vectors))
    whole = whole.without("emoca").with_parameters("emoca", vectors, found)
    whole.save(store)
    stored = load_samples(store, "faces", only=(), presence=True)
    assert stored.fingerprint == whole.fingerprint
    for light in (whole.light, stored):
        assert "emoca" not in light.table.column_names
        assert light.representations == whole.representations
        assert light.missing("emoca").tolist() == missing.tolist()
        train = light.in_split("train").with_feature("emoca")
        assert train.ids.tolist() == whole.in_split("train").with_feature("emoca").ids.tolist()
        with pytest.raises(Ig3dError, match="emoca was not loaded"):
            train.params("emoca")
        columns = np.array([3, 0, 117])
        some = whole.params_of("emoca", train.table["sample_id"], columns)
        assert np.array_equal(some, whole.in_split("train").with_feature("emoca").params("emoca")[:, columns])
    # What was not asked for is not known.
    with pytest.raises(Ig3dError, match="emoca was not loaded"):
        load_samples(store, "faces", only=()).with_feature("emoca")


def in_chunks(wrong: int | None = None) -> tuple[pa.Table, np.ndarray]:
    """Nine samples in three chunks, the fourth without parameters, and the vectors `[9, 334]`."""
    vectors = np.random.default_rng(0).standard_normal((9, 334)).astype(np.float32)
    if wrong is not None:
        vectors[wrong, 5] = np.nan
    lists = [None if row == 3 else vector for row, vector in enumerate(vectors.tolist())]
    kind = parameter_type("emoca")
    chunks = pa.chunked_array([pa.array(lists[start : start + 3], kind) for start in (0, 3, 6)], kind)
    ids = [f"s{row}" for row in range(9)]
    return pa.table({"sample_id": ids, "split": ["train"] * 9, "emoca": chunks}), vectors


def test_parameters_in_chunks_are_those_of_their_samples() -> None:
    table, vectors = in_chunks()
    samples = Samples("rafdb", table)
    assert samples.column("emoca").num_chunks == 3
    asked = pa.chunked_array([["s8", "s0", "s4", "s5", "s2"]])
    found = samples.params_of("emoca", asked, np.array([333, 0, 7]))
    assert np.array_equal(found, vectors[[8, 0, 4, 5, 2]][:, [333, 0, 7]])
    # A part of a table begins within a chunk.
    part = samples._some(np.array([False, True] + [True] * 7))
    assert np.array_equal(part.params_of("emoca", asked[2:4], np.arange(334)), vectors[[4, 5]])
    assert np.array_equal(samples.with_feature("emoca").params("emoca"), np.delete(vectors, 3, axis=0))
    with pytest.raises(Ig3dError, match="sample 's7': emoca holds NaN"):
        Samples("rafdb", in_chunks(7)[0])
