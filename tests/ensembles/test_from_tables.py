"""An exported fusion on the members' predictions of new samples, and the forms in which results are handed in."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ig3d_ray.cli.app import main
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data import datasets
from ig3d_ray.ensembles.from_tables import predict_from
from ig3d_ray.ensembles.predictor import load_ensemble
from ig3d_ray.ensembles.spec import EnsembleSpec, read_ensemble
from ig3d_ray.ensembles.submission import submission_text
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.models.spec import ImportedSpec, fingerprint
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.pipeline import search_store
from ig3d_ray.workflow.progress import Reporter

RNG = np.random.default_rng(11)
NAMES = [f"logit_{i}" for i in range(7)]
Exported = tuple[EnsembleSpec, str]


def outputs(labels: np.ndarray, seed: int) -> pd.DataFrame:
    logits = 1.5 * np.eye(7)[labels] + np.random.default_rng(seed).normal(size=(len(labels), 7))
    return pd.DataFrame(logits, columns=NAMES)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("fused")
    store, labels = Store(str(folder / "store")), np.arange(210) % 7
    pool = []
    for seed, view in enumerate(("2d", "3d")):
        frame = outputs(labels, seed).assign(sample_id=[f"s{i}" for i in range(210)], label=labels)
        frame.to_csv(folder / f"m{seed}.csv", index=False)
        spec = ImportedSpec(name=f"m{seed}", view=view)
        import_predictions(store, folder / f"m{seed}.csv", "rafdb", spec, "test")
        pool.append({"kind": "imported", "name": spec.name, "view": view})
    content = {"dataset": "rafdb", "objective": "accuracy", "protocol": {"kind": "cross_fitted"}, "pool": pool}
    space = SearchSpace.model_validate(content | {"search": {"budget": 10}})
    found = search_store(store, space, "two", Reporter())
    assert len(found.spec.members) == 2
    return found.spec, f"{store.uri}/{found.folder}/best_ensemble.json"


def new_tables(folder: Path, count: int = 20) -> tuple[dict[str, Path], list[str], np.ndarray]:
    labels, ids = RNG.integers(0, 7, count), [f"video{i % 2}/{i:05d}.jpg" for i in RNG.permutation(count)]
    tables, parts = {}, []
    for seed in (0, 1):
        frame = outputs(labels, 100 + seed).assign(sample_id=ids)
        parts.append(frame[NAMES].to_numpy(np.float32))
        # Each in an order of its own; the first decides.
        order = np.arange(count) if seed == 0 else RNG.permutation(count)
        frame.iloc[order].to_csv(folder / f"new{seed}.csv", index=False)
        tables[f"m{seed}"] = folder / f"new{seed}.csv"
    return tables, ids, np.stack(parts)


def test_the_fusion_is_the_specs_on_rows_matched_by_id_in_the_first_files_order(
    exported: Exported, tmp_path: Path
) -> None:
    spec, uri = exported
    tables, ids, parts = new_tables(tmp_path)
    frame, _ = predict_from(spec, tables)
    assert frame["sample_id"].tolist() == ids
    order = [int(member.name[1]) for member in spec.members]
    fused = spec.fusion.apply(parts[order], spec.task)
    assert frame["predicted"].tolist() == [spec.class_names[i] for i in fused.argmax(axis=1)]
    likely = frame[[f"probability_{name}" for name in spec.class_names]].to_numpy()
    assert likely == pytest.approx(spec.fusion.probabilities(fused), abs=1e-6)
    from_frames = load_ensemble(uri).predict_from({name: pd.read_csv(file) for name, file in tables.items()})
    pd.testing.assert_frame_equal(from_frames, frame)


def test_members_and_samples_that_are_missing_are_named(exported: Exported, tmp_path: Path) -> None:
    spec, _ = exported
    tables, ids, _ = new_tables(tmp_path)
    with pytest.raises(Ig3dError, match="member 'm1' has no predictions; give NAME=FILE for each of: m0, m1"):
        predict_from(spec, {"m0": tables["m0"]})
    with pytest.raises(Ig3dError, match="'m2' is no member"):
        predict_from(spec, tables | {"m2": tables["m0"]})
    fewer = pd.read_csv(tables["m1"]).iloc[3:]
    with pytest.raises(Ig3dError, match=r"m1: 3 of 20 samples of m0 have no prediction: .*--missing skip"):
        predict_from(spec, {"m0": tables["m0"], "m1": fewer})
    frame, notes = predict_from(spec, {"m0": tables["m0"], "m1": fewer}, None, True)
    assert frame["sample_id"].tolist() == [one for one in ids if one in set(fewer["sample_id"])]
    assert "3 of 20 samples lack a member's prediction; left out" in notes


def test_the_command_writes_tables_abaws_files_and_labels(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, uri = exported
    tables, ids, _ = new_tables(tmp_path)
    given = [word for name, file in tables.items() for word in ("--predictions", f"{name}={file}")]
    frame, _ = predict_from(spec, tables)
    numbers = [spec.class_names.index(label) for label in frame["predicted"]]
    for form, out in (("table", "t.csv"), ("abaw", "a.txt"), ("labels", "l.txt")):
        words = ["ig3d", "predict", uri, *given, "--format", form, "--out", str(tmp_path / out), "--json"]
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code, capsys.readouterr().err
        assert json.loads(capsys.readouterr().out)["samples"] == 20
    assert pd.read_csv(tmp_path / "t.csv")["sample_id"].tolist() == ids
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert lines[0] == "image_location,Surprise,Fear,Disgust,Happy,Sad,Anger,Neutral"
    assert lines[1:] == [f"{one},{number}" for one, number in zip(ids, numbers, strict=True)]
    assert (tmp_path / "l.txt").read_text().splitlines() == [f"{i} {n}" for i, n in zip(ids, numbers, strict=True)]


def test_valence_and_arousal_in_abaws_file(exported: Exported) -> None:
    spec = exported[0].model_copy(update={"task": datasets.dataset("affwild2_va").tasks[0]})
    frame = pd.DataFrame({"sample_id": ["v/00001.jpg"], "valence": [0.25], "arousal": [-1.0]})
    assert submission_text(spec, frame, "abaw") == "image_location,valence,arousal\nv/00001.jpg,0.250000,-1.000000\n"
    with pytest.raises(Ig3dError, match="--format labels: valence and arousal are no classes"):
        submission_text(spec, frame, "labels")


def test_a_spec_is_enough(exported: Exported, tmp_path: Path) -> None:
    spec, _ = exported
    name = "not-declared-here"
    marks = [fingerprint(name, "", member.parsed) for member in spec.members]
    members = [m.model_copy(update={"fingerprint": f}) for m, f in zip(spec.members, marks, strict=True)]
    strange = spec.model_copy(update={"dataset": name, "members": tuple(members)})
    (tmp_path / "copied.json").write_text(strange.to_json())
    tables, ids, _ = new_tables(tmp_path)
    assert predict_from(read_ensemble(str(tmp_path / "copied.json")), tables)[0]["sample_id"].tolist() == ids
