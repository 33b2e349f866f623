"""An exported ensemble on images: the numbers of the spec, in whatever form they come, and what is missing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ensembles_of import pool_of
from PIL import Image
from trained import World

from ig3d_ray import load_ensemble
from ig3d_ray.cli.app import main
from ig3d_ray.ensembles.inputs import Item, decoded, items_of, read_item
from ig3d_ray.ensembles.parameters import Parameters, parameters_of
from ig3d_ray.ensembles.predictor import Ensemble
from ig3d_ray.ensembles.spec import parse_ensemble
from ig3d_ray.ensembles.writer import Writer
from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.storage.json_files import unsealed
from ig3d_ray.types import Task


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images as files, and their EMOCA parameters beside the folder."""
    place = tmp_path_factory.mktemp("images")
    names, contents = world.images()
    for name, content in zip(names, contents, strict=True):
        (place / "faces" / f"{name}.png").parent.mkdir(parents=True, exist_ok=True)
        (place / "faces" / f"{name}.png").write_bytes(content)
    part = world.samples.in_split("test").with_feature("emoca")
    np.savez(place / "emoca.npz", sample_id=part.ids, emoca=part.params("emoca"))
    return place


def ig3d(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ig3d", *map(str, words)])
    try:
        main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def test_from_images_comes_what_the_search_fused(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder / "preds.parquet"
    words = ("--images", folder / "faces", "--parameters", f"emoca={folder}/emoca.npz", "--out", out)
    assert ig3d(monkeypatch, "predict", world.uri, *words) == 0
    found = pd.read_parquet(out).assign(sample_id=lambda f: f["sample_id"].str.removesuffix(".png"))
    pool = pool_of(world, world.spec)
    place = {name: row for row, name in enumerate(found["sample_id"])}
    rows = [place[name] for name in pool.ids]
    expected = world.spec.fusion.probabilities(world.spec.predict(pool))
    columns = [f"probability_{name}" for name in world.spec.class_names]
    assert len(found) == len(pool) > 20
    assert np.abs(found[columns].to_numpy()[rows] - expected).max() < 1e-5
    assert (found["predicted"].iloc[rows] == [world.spec.class_names[i] for i in expected.argmax(axis=1)]).all()
    assert (found["missing"] == "").all()


def test_the_specs_own_number_comes_out(world: World) -> None:
    spec = world.found.spec
    ensemble = Ensemble(spec, world.store)
    part = world.samples.in_split("test")
    part = part.with_feature("image").with_feature("smirk").with_feature("emoca")
    names, contents = world.images()
    emoca = parameters_of(names, part.params("emoca"), "emoca")
    items = [Item(name, content) for name, content in zip(names, contents, strict=True)]
    frame = pd.concat([batch.frame for batch in ensemble.stream(items, "fail", {"emoca": emoca})])
    right = frame["predicted"].to_numpy() == np.array([spec.class_names[i] for i in part.expression])
    reported = spec.scores.report
    assert reported.n == len(frame)
    assert right.mean() == pytest.approx(reported.metrics["accuracy"].value, abs=1e-9)


def test_every_form_of_a_image_gives_the_same(world: World, folder: Path) -> None:
    ensemble = load_ensemble(world.uri)
    names, contents = world.images()
    files = [folder / "faces" / f"{name}.png" for name in names[:3]]
    opened = [Image.open(file) for file in files]
    emoca = world.samples.in_split("test").with_feature("smirk").with_feature("image").with_feature("emoca")
    vectors = emoca.params("emoca")[:3]
    forms = [files, [str(f) for f in files], contents[:3], opened, [np.asarray(i.convert("RGB")) for i in opened]]
    tables = [ensemble.predict(form, parameters={"emoca": vectors}).drop(columns="sample_id") for form in forms]  # type: ignore[arg-type]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])
    assert tables[0].filter(like="probability").sum(axis=1).to_numpy() == pytest.approx(np.ones(3))


def test_one_image_is_an_image_in_every_form(world: World, folder: Path) -> None:
    ensemble = load_ensemble(world.uri)
    names, contents = world.images()
    file = folder / "faces" / f"{names[0]}.png"
    opened = Image.open(file)
    array = np.asarray(opened.convert("RGB"))
    vectors = world.samples.in_split("test").with_feature("smirk").with_feature("image").with_feature("emoca")
    given = {"emoca": vectors.params("emoca")[:1]}
    forms = [contents[0], bytearray(contents[0]), array, array[None], opened, file, str(file), [array]]
    tables = [ensemble.predict(form, parameters=given).drop(columns="sample_id") for form in forms]
    assert len(tables[0]) == 1
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (np.zeros((4, 4), np.uint8), r"an array \(4, 4\) of uint8; images are \[height, width, 3\] uint8 RGB"),
        (np.zeros((0, 4, 4, 3), np.uint8), "no images; give a folder, files"),
        ([object()], "a object is no image; give a file, bytes, an array or a Pillow image"),
        (b"", "0: .*not a readable image"),
    ],
)
def test_what_is_no_image_is_refused_and_never_an_empty_table(world: World, image: object, why: str) -> None:
    ensemble = load_ensemble(world.uri)
    for missing in ("fail", "skip", "fallback"):
        with pytest.raises(Ig3dError, match=why):
            ensemble.predict(image, missing)  # type: ignore[arg-type]


def test_a_reason_is_the_true_one_also_where_several_things_are_missing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    _, contents = world.images()
    (tmp_path / "cut.png").write_bytes(contents[0][:200])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "good.png").write_bytes(contents[0])
    frame = load_ensemble(world.uri).predict(tmp_path, "fallback")
    assert frame["sample_id"].tolist() == ["good.png"]
    reasons = frame.attrs["excluded"]
    assert set(reasons) == {"cut.png", "empty.png"}
    for name, reason in reasons.items():
        assert f"needs image, which is missing ({name}: not a readable image" in reason
        assert "needs emoca, which is missing (the spec has no encoder for them" in reason
        assert reason.index("image") < reason.index("emoca")
    (tmp_path / "good.png").unlink()
    out = tmp_path / "preds.csv"
    words = ("predict", world.uri, "--images", tmp_path, "--out", out, "--missing", "fallback")
    assert ig3d(monkeypatch, *words) == 2
    assert "none of 2 images could be predicted; cut.png: " in capsys.readouterr().err
    assert not out.exists()


def test_what_a_member_lacks_is_refused_left_out_or_done_without(world: World) -> None:
    ensemble = load_ensemble(world.uri)
    _, contents = world.images()
    part = world.samples.in_split("test").with_feature("image").with_feature("smirk").with_feature("emoca")
    vectors = part.params("emoca")[:4].copy()
    vectors[1] = np.nan
    images = [*contents[:2], b"no image", contents[3]]
    with pytest.raises(
        Ig3dError, match=r"1: .*emoca.* needs emoca, which is missing \(no parameters of this name\); .* fallback"
    ):
        ensemble.predict(images, parameters={"emoca": vectors})
    skipped = ensemble.predict(images, "skip", parameters={"emoca": vectors})
    assert skipped["sample_id"].tolist() == ["0", "3"]
    whole = ensemble.predict(images, "fallback", parameters={"emoca": vectors})
    assert whole["sample_id"].tolist() == ["0", "1", "2", "3"]
    assert whole["missing"].tolist() == ["", "emoca", "image, smirk", ""]
    # By hand: the members that remain, fused as the spec has.
    pool = pool_of(world, world.spec)
    for row, lacking in ((1, ("emoca",)), (2, ("image", "smirk"))):
        fallback = world.spec.fallback(lacking)
        assert fallback is not None
        one = pool.take(np.flatnonzero(pool.ids == part.ids[row]))
        fused = fallback.fusion.apply(one.outputs_of(fallback.members), Task.EXPRESSION)
        expected = fallback.fusion.probabilities(fused)[0]
        assert whole.filter(like="probability").to_numpy()[row] == pytest.approx(expected, abs=1e-5)
    pd.testing.assert_frame_equal(whole.iloc[[0, 3]].reset_index(drop=True), skipped)


def test_fallbacks_name_what_is_left_for_everything_that_may_be_missing(world: World) -> None:
    lacking = {f.missing for f in world.spec.fallbacks}
    single = {("emoca",), ("image",), ("smirk",)}
    assert lacking == single | {("emoca", "image"), ("emoca", "smirk"), ("image", "smirk")}
    features = {m.name: set(m.features) for m in world.spec.members}
    for fallback in world.spec.fallbacks:
        assert not any(features[name] & set(fallback.missing) for name in fallback.members)
    # The best of the rest is at least as good as any one of them, where it was chosen.
    pool = pool_of(world, world.spec, "dev")
    for fallback in world.spec.fallbacks:
        for name, looks in features.items():
            if not looks & set(fallback.missing):
                alone = (pool.outputs_of([name])[0].argmax(axis=1) == pool.labels).mean()
                assert fallback.selection >= alone - 1e-9


def test_other_forms_of_output(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {}
    for ending in ("parquet", "csv", "jsonl"):
        out = folder / f"all.{ending}"
        words = ("--images", folder / "faces", "--missing", "fallback", "--out", out)
        assert ig3d(monkeypatch, "predict", world.uri, *words) == 0
        read = {"parquet": pd.read_parquet, "csv": pd.read_csv}.get(ending, lambda f: pd.read_json(f, lines=True))
        tables[ending] = read(out)
        assert (tables[ending]["missing"] == "emoca").all()
    for ending in ("csv", "jsonl"):
        numbers = [table.select_dtypes("number").to_numpy() for table in (tables[ending], tables["parquet"])]
        assert np.abs(numbers[0] - numbers[1]).max() < 1e-9
        assert tables[ending]["predicted"].tolist() == tables["parquet"]["predicted"].tolist()


def test_a_failed_prediction_leaves_what_was_there(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "kept.csv"
    out.write_text("before")
    assert ig3d(monkeypatch, "predict", world.uri, "--images", folder / "faces", "--out", out) == 2
    message = capsys.readouterr().err
    assert "needs emoca, which is missing (the spec has no encoder for them: give --parameters emoca=PATH" in message
    assert out.read_text() == "before"
    assert [p.name for p in folder.iterdir() if "partial" in p.name] == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--images", "nowhere"), "nowhere: no such file or folder of images"),
        (("--parameters", "emoca=e.npz"), "also give --images"),
        (("--images", "EMPTY"), "no images in this folder"),
    ],
)
def test_mistakes_are_a_line(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    complaint: str,
) -> None:
    (tmp_path / "EMPTY").mkdir()
    monkeypatch.chdir(tmp_path)
    assert ig3d(monkeypatch, "predict", world.uri, *words, "--out", "o.csv") == 2
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1


def test_names_are_each_images_own(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "1.png")
    both = items_of([tmp_path / "a", tmp_path / "b"])
    assert [name for name, _ in both] == [f"{tmp_path}/a/1.png", f"{tmp_path}/b/1.png"]
    with pytest.raises(Ig3dError, match="two images have this name"):
        items_of([tmp_path / "a" / "1.png", tmp_path / "a" / "1.png"])
    flat = Parameters({"1": 0}, np.zeros((1, 334), np.float32))
    flat.check(["a/1.png", "a/2.png"])
    with pytest.raises(Ig3dError, match="one vector of parameters has both their names"):
        flat.check(["a/1.png", "b/1.png"])
    # A row of NaN says that an image has none; another's of a like name is not taken for it.
    vectors = np.zeros((2, 334), np.float32)
    vectors[0] = np.nan
    given = parameters_of(["d/1.png", "1"], vectors, "emoca")
    assert given.of("d/1.png") is None
    assert given.of("1") is not None


def test_a_writer_tells_endings_apart_and_headers_once(tmp_path: Path) -> None:
    frame = pd.DataFrame({"sample_id": pd.array(["a"], dtype="string"), "valence": [0.5]})
    with Writer(tmp_path / "X.CSV") as writer:
        writer.write(frame.iloc[:0])
        writer.write(frame)
        writer.write(frame)
    assert (tmp_path / "X.CSV").read_text() == "sample_id,valence\na,0.5\na,0.5\n"
    with Writer(tmp_path / "X.PARQUET") as writer:
        writer.write(frame.iloc[:0])
        writer.write(frame)
    assert pd.read_parquet(tmp_path / "X.PARQUET")["valence"].tolist() == [0.5]
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(Ig3dError, match=r"folder\.csv: cannot be written"), Writer(tmp_path / "folder.csv"):
        pass


def test_a_spec_that_was_copied_needs_its_storage(world: World, tmp_path: Path) -> None:
    (tmp_path / "best_ensemble.json").write_text(world.spec.to_json())
    with pytest.raises(Ig3dError, match="is not in a storage; give the storage"):
        load_ensemble(str(tmp_path / "best_ensemble.json"))
    assert load_ensemble(str(tmp_path / "best_ensemble.json"), world.store.uri).spec == world.spec


def test_prediction_needs_no_ray(world: World) -> None:
    script = f"""
import sys
sys.modules["ray"] = None
import json, numpy as np
from ig3d_ray import load_ensemble
found = load_ensemble({world.uri!r}).predict([np.zeros((64, 64, 3), np.uint8)], "fallback")
print(json.dumps(found["missing"].tolist()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["emoca"]


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is looked up in /proc")
def test_ten_thousand_images_stream_through(world: World) -> None:
    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    images = [m for m in world.spec.members if m.features == ("image",)]
    fusion = Fusion(strategy="mean", space="logits", weights=None)
    update = {"members": tuple(images), "fusion": fusion, "fallbacks": (), "encoders": {}}
    ensemble = Ensemble(world.spec.model_copy(update=update), world.store)
    _, contents = world.images()
    items = (Item(str(i), contents[i % len(contents)]) for i in range(10_000))
    rows, at_2000 = 0, 0.0
    for batch in ensemble.stream(items):
        rows += len(batch.frame)
        if rows < 2_100:
            at_2000 = resident()
    assert rows == 10_000
    # All of them decoded would be 94 MiB, and their outputs some more.
    assert resident() - at_2000 < 25


def test_a_grey_image_of_16_bits_is_the_same_opened_or_not(tmp_path: Path) -> None:
    ramp = (np.arange(64 * 64, dtype=np.uint32).reshape(64, 64) * 16).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "gray.png")
    with Image.open(tmp_path / "gray.png") as opened:
        from_memory = decoded(read_item("a", opened), 64)
    assert np.array_equal(from_memory, decoded(read_item("a", tmp_path / "gray.png"), 64))
    assert len(np.unique(from_memory)) > 200
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "noise.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "noise.png").read_bytes()[:2000])
    with Image.open(tmp_path / "cut.png") as cut:
        assert read_item("b", cut).content is None


def test_numbers_that_are_none_are_no_prediction(world: World) -> None:
    names, images = world.images()
    emoca = np.zeros((2, 334), np.float32)
    emoca[1] = 1e38
    ensemble = load_ensemble(world.uri, device="cpu")
    with pytest.raises(Ig3dError, match=r"^1: the networks' outputs for it are not finite"):
        ensemble.predict(images[:2], parameters={"emoca": emoca})
    assert ensemble.predict(images[:2], missing="skip", parameters={"emoca": emoca})["sample_id"].tolist() == ["0"]
    assert len(names) > 2


def test_a_full_disk_is_a_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    frame = pd.DataFrame({"sample_id": ["a"], "valence": [0.5]})
    for ending, where in (("csv", "pandas.DataFrame.to_csv"), ("parquet", "pyarrow.parquet.ParquetWriter.write_table")):
        with monkeypatch.context() as patch:
            patch.setattr(where, full)
            message = pytest.raises(Ig3dError, match=r"cannot be written \(No space left on device\)")
            with message, Writer(tmp_path / f"out.{ending}") as writer:
                writer.write(frame)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(Ig3dError, match="No space left"), Writer(tmp_path / "out.csv") as writer:
            writer.write(frame)
    assert list(tmp_path.iterdir()) == []


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a dotted path; a function gets the value that is there."""
    copy = json.loads(json.dumps(content))
    *folders, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = copy
    for step in folders:
        place = place[step]
    place[last] = value(place[last]) if callable(value) else value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("class_names", lambda names: names[::-1], "class_names: .*: not those of faces"),
        ("class_names", lambda names: names[:-1], "class_names: .*: not those of faces"),
        ("members", [], "members: is empty"),
        ("members", lambda members: [members[0], *members], "members.name: .* occurs twice"),
        ("members.0.kind", "cage", "is a cage of view .*, its spec a "),
        ("members.0.checkpoint", None, "checkpoint: is missing, and it has a network"),
        ("members.0.checkpoint_sha256", None, "checkpoint_sha256: is missing or no SHA-256"),
        ("members.0.checkpoint_sha256", "00", "checkpoint_sha256: is missing or no SHA-256"),
        ("fallbacks.0.members", [], r"fallbacks\.0\.members: none: no member"),
        ("fallbacks.0.members", ["other"], "other: no member of the ensemble"),
        ("fallbacks.0.missing", ["smirk", "emoca"], "name each missing input once, sorted"),
        ("fallbacks.0.missing", [], "name each missing input once, sorted"),
        ("fallbacks", lambda some: [some[0], *some], "fallbacks.missing: .* occurs twice"),
        ("fusion.temperatures", lambda _: [0.0], "temperatures: "),
        ("encoders.smirk.sha256", "x", "encoders.smirk.sha256: is missing or no SHA-256"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(world: World, path: str, value: Any, message: str) -> None:
    content = changed(unsealed(world.spec.to_json()), path, value)
    with pytest.raises(Ig3dError, match=message) as refused:
        parse_ensemble(json.dumps(content), "spec")
    assert len(str(refused.value)) <= 300


def test_a_fallback_that_needs_what_is_missing_is_refused(world: World) -> None:
    content = unsealed(world.spec.to_json())
    needs = {m.name: m.features for m in world.spec.members}
    name, features = next((name, features) for name, features in needs.items() if features)
    fusion = {"strategy": None, "space": "logits", "weights": None}
    content["fallbacks"] = [{"missing": [features[0]], "members": [name], "fusion": fusion, "selection": 0.5}]
    with pytest.raises(Ig3dError, match=rf"{re.escape(name)} needs {features[0]}, which is missing there"):
        parse_ensemble(json.dumps(content), "spec")


@pytest.mark.parametrize("weight", ["-0.1", "NaN", "Infinity", "1e999"])
def test_weights_are_finite_and_not_negative(world: World, weight: str) -> None:
    content = unsealed(world.spec.to_json())
    content["fallbacks"] = []
    content["members"] = content["members"][:2]
    content["fusion"] = {"strategy": "weighted", "space": "logits", "weights": [0.5, 123.5]}
    text = json.dumps(content)
    with pytest.raises(Ig3dError, match=r"finite|too large|no number"):
        parse_ensemble(text.replace("123.5", weight), "spec")
    assert parse_ensemble(text, "spec").fusion.weights == (0.5, 123.5)


def test_a_key_occurs_once(world: World) -> None:
    text = world.spec.to_json().replace('"dataset": "faces"', '"dataset": "faces", "dataset": "rafdb"', 1)
    with pytest.raises(Ig3dError, match="key 'dataset' occurs twice"):
        parse_ensemble(text, "spec")


def test_a_link_in_the_place_of_the_unpublished_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    monkeypatch.setattr("ig3d_ray.storage.local_files.secrets.token_hex", lambda _: "guessed")
    writer = Writer(tmp_path / "out.csv")
    writer._partial.symlink_to(victim)
    with pytest.raises(Ig3dError, match="cannot be written"), writer:
        writer.write(pd.DataFrame({"a": [1]}))
    assert victim.read_text() == "kept"


def test_what_a_killed_command_left_is_gone_when_it_is_run_again(tmp_path: Path) -> None:
    code = (
        "import os, sys; import pandas as pd; from pathlib import Path; from ig3d_ray.ensembles.writer import Writer\n"
        "with Writer(Path(sys.argv[1])) as writer:\n"
        "    writer.write(pd.DataFrame({'a': [1]})); os.kill(os.getpid(), 9)"
    )
    out = tmp_path / "out.csv"
    done = subprocess.run([sys.executable, "-c", code, str(out)], timeout=60)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    # Of another writer that lives, which is left alone; and of a folder.
    living = left.with_name(left.name.replace(left.name.split(".")[-3], str(os.getppid())))
    living.touch()
    with Writer(out) as writer:
        writer.write(pd.DataFrame({"a": [2]}))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([living.name, "out.csv"])
    assert out.read_text() == "a\n2\n"
