"""Declarations of data sets: the built-in ones, a user's own, and what is wrong with a file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ig3d_ray.config.load import load_space
from ig3d_ray.data import datasets
from ig3d_ray.data.datasets.class_names import SYNONYMS
from ig3d_ray.data.ingest.build import Shares, ingest
from ig3d_ray.data.ingest.folders import read_folders
from ig3d_ray.data.ingest.sheets import read_sheet
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Task

WITH_CLASSES = [name for name in datasets.BUILT_IN if datasets.dataset(name).width]
WITH_VA = [name for name in datasets.BUILT_IN if datasets.dataset(name).has_va]


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_a_built_in_data_set_is_made_of_class_folders_by_name_and_by_number(name: str, tmp_path: Path) -> None:
    about = datasets.dataset(name)
    for form in ("names", "numbers from 0", "numbers from 1"):
        root = tmp_path / form
        for index, label in enumerate(about.class_names):
            folder = {"names": label.upper(), "numbers from 0": str(index), "numbers from 1": str(index + 1)}[form]
            (root / folder).mkdir(parents=True)
            for i in range(6):
                pixels = np.full((8, 8, 3), 7 * index + i, np.uint8)
                Image.fromarray(pixels).save(root / folder / f"{index}_{i}.png")
        layout = read_folders(root, about)
        assert {entry.sample_id: entry.expression for entry in layout.entries} == {
            f"{index}_{i}": index for index in range(about.width) for i in range(6)
        }
        done = ingest(Store(str(tmp_path / f"store {form}")), name, layout, Shares(0.2, 0.2), 0, replace=False)
        assert [len(done.samples.in_split(split)) for split in ("train", "dev", "test")] == [
            4 * about.width,
            about.width,
            about.width,
        ]


@pytest.mark.parametrize("name", WITH_VA)
def test_valence_and_arousal_of_a_built_in_data_set_are_rescaled_and_what_is_not_annotated_is_counted(
    name: str, tmp_path: Path
) -> None:
    about = datasets.dataset(name)
    assert about.va is not None
    low, high = about.va.range
    rows = [("a", low, high), ("b", (low + high) / 2, low)] + [(f"m{v:g}", v, v) for v in about.va.missing_values]
    label = ",label" if about.width else ""
    lines = [f"sample_id,valence,arousal{label}"]
    lines += [f"{i},{v},{a}" + (",0" if about.width else "") for i, v, a in rows]
    layout = read_sheet(write(tmp_path, "\n".join(lines), "t.csv"), None, about)
    assert [(e.valence, e.arousal) for e in layout.entries[:2]] == [(-1, 1), (0, -1)]
    assert all(np.isnan(e.valence) for e in layout.entries[2:])
    assert f"{len(about.va.missing_values)} samples are not annotated" in " ".join(layout.notes)


def test_usual_synonyms_name_one_class_each() -> None:
    words = [word for group in SYNONYMS for word in group]
    assert len(set(words)) == len(words)
    about = datasets.dataset("rafdb")
    for words, index in ((("happiness", "HAPPY", "Joy"), 3), (("angry", "anger"), 5), (("afraid", "Fearful"), 1)):
        assert {about.index(word) for word in words} == {index}
    assert about.index("contempt") is None
    assert datasets.dataset("rafdb_compound").index("happily_surprised") == 0


GOOD = "name: five\nclasses: [Neutral, Happy, Sad]\n"
BROKEN = [
    ("name: five\nclasses: [Neutral, Happy, Happy]\n", r"mine.yaml: classes: duplicate class 'Happy'"),
    ("name: five\nclasses: [Happy, Joy]\n", r"mine.yaml: classes: 'Joy' and 'Happy' are one expression"),
    ("name: five\nclasses: [Happy]\n", r"mine.yaml: classes: 1 given; expressions need at least two"),
    ("name: five\n", r"mine.yaml: classes: no classes and no va"),
    (GOOD + "colour: red\n", r"mine.yaml: colour: 'red': unknown field"),
    (GOOD + "va: {range: [1, -1]}\n", r"mine.yaml: va: .*range: \[1, -1\]: give the lowest value"),
    (GOOD + "va: {not_annotated: [0]}\n", r"mine.yaml: va: .*not_annotated: 0 lies inside the range"),
    (GOOD + "orders: {tool: [Happy, Sad]}\n", r"mine.yaml: orders.tool: must name each of Neutral, Happy, Sad once"),
    (GOOD + "counts: {train: [1, 2]}\n", r"mine.yaml: counts.train: must be train or test, with 3 numbers"),
    (GOOD + "name: six\n", r"mine.yaml: line 1: not YAML: duplicate key 'name'"),
    ("name: five/six\nclasses: [Happy, Sad]\n", r"mine.yaml: name: 'five/six': String should match pattern"),
    ("- five\n", r"mine.yaml: a data set is a mapping"),
    ("a: &a [*a]\n", r"mine.yaml: line 1: refers to itself"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_a_broken_declaration_is_one_line_with_file_and_field(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(Ig3dError, match=message) as refused:
        datasets.read_declaration(write(tmp_path, text))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_declared_data_set_is_found_by_name_in_its_storage_and_beside_its_search_space(tmp_path: Path) -> None:
    declared = GOOD.replace("five", "three") + "va: {range: [1, 9]}\n"
    about = datasets.read_declaration(write(tmp_path, declared))
    store = Store(str(tmp_path / "store"))
    datasets.create(store, about)
    datasets.create(store, about)
    assert "three" in datasets.known_in(Store(store.uri))
    write(
        tmp_path, "dataset: mine.yaml\nobjective: ccc_mean\npool: [{kind: imported, name: a, view: audio}]\n", "s.yaml"
    )
    space = load_space(tmp_path / "s.yaml")
    assert (space.dataset, space.task) == ("three", Task.VA)
    other = datasets.read_declaration(write(tmp_path, GOOD.replace("five", "three"), "other.yaml"))
    with pytest.raises(Ig3dError, match="'three' is the name of another data set of this process"):
        datasets.create(store, other)
    rafdb = datasets.read_declaration(write(tmp_path, GOOD.replace("five", "rafdb"), "r.yaml"))
    with pytest.raises(Ig3dError, match="'rafdb' is the name of the built-in data set"):
        datasets.declare(rafdb)


def test_the_meaning_of_labels_is_part_of_a_declared_data_sets_fingerprint() -> None:
    prints = []
    for name, classes in (("fp_a", ["Happy", "Sad"]), ("fp_b", ["Sad", "Happy"])):
        about = datasets.declare(datasets.Dataset.model_validate({"name": name, "classes": classes}))
        prints.append(about.digest)
    assert prints[0] != prints[1]


def test_predictions_of_a_declared_range_are_rescaled_with_their_labels(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    datasets.create(store, datasets.Dataset.model_validate({"name": "scaled", "va": {"range": [1, 9]}}))
    file = write(tmp_path, "id,val_pred,aro_pred,val_true,aro_true\na,1,9,5,-5\nb,5,5,9,1\nc,3,7,1,9\n", "p.csv")
    done = import_predictions(store, file, "scaled", ImportedSpec(name="m", view="audio"), "test")
    assert done.table.va is not None
    assert done.table.va.tolist() == [[-1, 1], [0, 0], [-0.5, 0.5]]
    assert any("1 samples are not annotated" in note for note in done.notes)
    assert any("rescaled from [1, 9]" in note for note in done.notes)


def test_a_samples_table_of_an_unknown_data_set_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(Ig3dError, match=r"unknown dataset 'nobody'; known: .*ig3d data create FILE.yaml"):
        load_samples(Store(str(tmp_path)), "nobody")
    with pytest.raises(Ig3dError, match="unknown dataset"):
        Samples("nobody", {})  # type: ignore[arg-type]
