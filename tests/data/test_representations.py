"""Declared representations: built in and own, every form of file, and files of their own in a storage."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ig3d_ray.data import representations, samples_files
from ig3d_ray.data.ingest.features import import_features, read_parameters
from ig3d_ray.data.representations import Declaration
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.storage.store import Store

WIDTHS = {
    "emoca": 334,
    "smirk": 358,
    "deca": 236,
    "deep3d": 257,
    "3ddfa_v2": 62,
    "mediapipe_blendshapes": 52,
    "action_units_pyfeat": 20,
    "action_units_libreface": 12,
    "action_units_openface": 17,
    "landmarks": 136,
}
IDS = ["a", "b", "c"]


def vectors(about: Declaration) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(len(IDS), about.width)).astype(np.float32)


def parts(about: Declaration, vector: np.ndarray) -> dict[str, list[float]]:
    ends = np.cumsum([size for _, size in about.sizes])[:-1]
    return {name: part.tolist() for name, part in zip(about.groups, np.split(vector, ends), strict=True)}


def flat_names(about: Declaration) -> list[str]:
    return [
        column
        for name, group in about.groups.items()
        for column in (group.names or [f"{name}_{i}" for i in range(group.size)])
    ]


def write_json(folder: Path, about: Declaration, values: np.ndarray, nested: bool, suffix: str) -> Path:
    folder.mkdir()
    for one, vector in zip(IDS, values, strict=True):
        groups = parts(about, vector)
        content = {about.groups[n].key or n: [part] if nested else part for n, part in groups.items()}
        (folder / f"{one}{suffix}.json").write_text(json.dumps(content))
        if suffix:
            (folder / f"{one}{suffix[:-1]}1.json").write_text(json.dumps(content))
    return folder


def write_arrays(folder: Path, about: Declaration, values: np.ndarray) -> Path:
    for one, vector in zip(IDS, values, strict=True):
        place = folder / f"{one}_000"
        place.mkdir(parents=True)
        for name, part in parts(about, vector).items():
            np.save(place / f"{name}.npy", np.asarray([part]))
    return folder


def write_whole(folder: Path, values: np.ndarray) -> Path:
    folder.mkdir()
    for one, vector in zip(IDS, values, strict=True):
        np.save(folder / f"{one}.npy", vector[None])
    return folder


def write_table(file: Path, about: Declaration, values: np.ndarray) -> Path:
    frame = pd.DataFrame(values, columns=flat_names(about))
    frame.insert(0, "sample_id", IDS)
    if file.suffix == ".csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_parquet(file)
    return file


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_every_form_of_file_gives_the_same_vectors(name: str, tmp_path: Path) -> None:
    about = representations.representation(name)
    assert about.width == WIDTHS[name]
    values = vectors(about)
    np.savez(tmp_path / "batch.npz", ids=np.array(IDS), **{name: values[:, None, :]})
    sources = [
        write_json(tmp_path / "json", about, values, False, ""),
        write_json(tmp_path / "nested", about, values, True, ""),
        write_json(tmp_path / "numbered", about, values, False, "_000"),
        write_json(tmp_path / "short", about, values, True, "00"),
        write_arrays(tmp_path / "folders", about, values),
        write_whole(tmp_path / "arrays", values),
        write_table(tmp_path / "t.csv", about, values),
        write_table(tmp_path / "t.parquet", about, values),
        tmp_path / "batch.npz",
    ]
    for source in sources:
        places, found, _ = read_parameters(source, name, None)
        order = np.argsort(places)
        assert [places[i] for i in order] == IDS, source
        assert np.allclose(found[order], values, atol=1e-6), source


def test_points_are_read_as_every_x_and_then_every_y(tmp_path: Path) -> None:
    points = np.arange(136, dtype=np.float32).reshape(68, 2) + 1
    wanted = np.concatenate([points[:, 0], points[:, 1]])
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "a.json").write_text(json.dumps({"landmarks": points.tolist()}))
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "a.npy", points)
    np.savez(tmp_path / "a.npz", id=np.array(["a"]), landmarks=points[None])
    for source in (tmp_path / "json", tmp_path / "npy", tmp_path / "a.npz"):
        assert (read_parameters(source, "landmarks", None)[1][0] == wanted).all()


def test_blendshapes_are_read_by_name_in_any_order(tmp_path: Path) -> None:
    names = representations.representation("mediapipe_blendshapes").groups["blendshapes"].names
    scores = {name: i + 1.0 for i, name in enumerate(names)}
    backwards = [{"index": 0, "categoryName": name, "score": scores[name]} for name in reversed(names)]
    for number, content in enumerate((dict(reversed(scores.items())), {"blendshapes": backwards})):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.json").write_text(json.dumps(content))
        _, found, skipped = read_parameters(folder, "mediapipe_blendshapes", None)
        assert skipped == []
        assert found[0].tolist() == list(scores.values())


def test_openface_writes_blanks_before_its_columns(tmp_path: Path) -> None:
    about = representations.representation("action_units_openface")
    header = ", ".join(["name", *about.groups["units"].names])
    (tmp_path / "of.csv").write_text(f"{header}\na, {', '.join(['1.5'] * 17)}\n")
    places, found, _ = read_parameters(tmp_path / "of.csv", "action_units_openface", None)
    assert places == ["a"]
    assert found.tolist() == [[1.5] * 17]


BROKEN = [
    ("name: own\ngroups: {a: 0}\n", "own.yaml: groups.a.width: 0: Input should be greater"),
    ("name: own\ngroups: {a: 2, b: wide}\n", "own.yaml: groups.b"),
    ("name: own\ngroups: {}\n", "own.yaml: groups: is empty"),
    ("name: own\ngroups: {a: [x, x]}\n", "own.yaml: groups.a: .*names: 'x' is there twice"),
    ("name: own\ngroups: {a: {width: 3, names: [x, y]}}\n", "own.yaml: groups.a: .*width: 3, but 2 names"),
    ("name: own\ngroups: {a: 2}\nsubsets: {short: [b]}\n", "own.yaml: subsets.short: 'b' is no group; groups: a"),
    ("name: own\ngroups: {a: 2}\nwidth: 3\n", "own.yaml: width: 3: unknown field"),
    ("name: image\ngroups: {a: 2}\n", "own.yaml: name: 'image' is the name of a column"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_a_broken_declaration_is_one_line_with_file_and_field(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(Ig3dError, match=message) as refused:
        representations.read_declaration(tmp_path / "own.yaml")
    assert len(str(refused.value)) < 300


def test_an_own_representation_is_imported_and_taken_as_input(tmp_path: Path, faces: tuple[Store, Samples]) -> None:
    store, samples = faces
    (tmp_path / "gaze.yaml").write_text(
        "name: gaze\nview: gaze\ngroups: {left: 2, right: 2}\nsubsets: {one: [right]}\n"
    )
    representations.create(store, representations.read_declaration(tmp_path / "gaze.yaml"))
    frame = pd.DataFrame(np.arange(8.0).reshape(2, 4), columns=["left_0", "left_1", "right_0", "right_1"])
    frame.assign(sample_id=samples.ids[:2]).to_csv(tmp_path / "gaze.csv", index=False)
    done = import_features(store, samples, "gaze", tmp_path / "gaze.csv")
    assert done.added == 2
    again = load_samples(store, "faces")
    assert again.with_feature("gaze").params("gaze").tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert again.fingerprint != samples.fingerprint
    spec = Mlp3dSpec(representation="gaze", subset="one")
    assert (spec.parameter_count, spec.view) == (2, "gaze")
    with pytest.raises(ValueError, match="subset: 'short': gaze has one, full"):
        Mlp3dSpec(representation="gaze", subset="short")


def test_only_the_parameters_that_are_asked_for_are_read(
    faces: tuple[Store, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, samples = faces
    read: list[str] = []
    monkeypatch.setattr(
        samples_files, "_column", lambda s, name, t: read.append(name) or samples.column("emoca").combine_chunks()
    )
    some = load_samples(store, "faces", only=["emoca"])
    assert len(read) == 1
    assert "/emoca-" in read[0]
    assert some.fingerprint == samples.fingerprint
    with pytest.raises(Ig3dError, match="smirk was not loaded"):
        some.params("smirk")
    with pytest.raises(Ig3dError, match="smirk was not loaded; load all for a fingerprint"):
        _ = some.in_split("train").fingerprint


def test_a_table_of_the_first_schema_is_read_and_one_of_a_later_schema_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    from ig3d_ray.data.synthetic.faces import make_faces
    from ig3d_ray.storage.parquet import table_to_bytes

    store = Store(str(tmp_path / "old"))
    samples = make_faces(store, samples=200, seed=1)
    name = "datasets/faces/samples.parquet"
    store.write(name, table_to_bytes(samples.table.drop_columns("group")))
    old = load_samples(store, "faces")
    assert old.fingerprint == samples.fingerprint
    assert (old.with_feature("smirk").params("smirk") == samples.with_feature("smirk").params("smirk")).all()
    later = pa.table({"sample_id": ["a"]}).replace_schema_metadata({"ig3d": '{"schema_version": 3}'})
    store.write(name, table_to_bytes(later))
    with pytest.raises(Ig3dError, match=r"samples.parquet: schema_version 3; this version of ig3d reads 1 and 2"):
        load_samples(store, "faces")
