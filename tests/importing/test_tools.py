"""The layouts of known tools, values made up, each with what is easily read wrongly in it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ig3d_ray.data import datasets
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.importing.reading import Reading
from ig3d_ray.importing.tables import read_predictions
from ig3d_ray.importing.tools import tool_formats
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.storage.store import Store

RAFDB, AFFECTNET8 = datasets.dataset("rafdb"), datasets.dataset("affectnet8")
ROWS = 12
RNG = np.random.default_rng(6)
LABELS = np.arange(ROWS) % 7
IDS = [f"test_{i:04d}" for i in range(ROWS)]
DEEPFACE = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
PYFEAT = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
HSEMOTION = ["Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"]


def probabilities(words: list[str], labels: np.ndarray = LABELS) -> np.ndarray:
    """Made up, nearly all right: the true class of RAF-DB has most, whatever the tool's order."""
    logits = RNG.normal(size=(len(labels), len(words)))
    for row, label in enumerate(labels):
        logits[row, [RAFDB.index(word) for word in words].index(label)] += 4
    e = np.exp(logits)
    return e / e.sum(axis=1, keepdims=True)


def accuracy(file: Path, **options: object) -> tuple[float, list[str], list[str]]:
    read = read_predictions(file, RAFDB, Reading(**options))  # type: ignore[arg-type]
    assert read.logits is not None
    wanted = dict(zip(IDS, LABELS, strict=True))
    ids = [Path(one.replace("\\", "/")).stem for one in read.ids.tolist()]
    right = [wanted[one] == top for one, top in zip(ids, read.logits.argmax(axis=1), strict=True)]
    return sum(right) / len(right), ids, list(read.notes)


def deepface_rows(values: np.ndarray) -> list[dict]:
    return [
        {
            "img_path": f"faces/{one}.jpg",
            "emotion": dict(zip(DEEPFACE, (100 * row).tolist(), strict=True)),
            "dominant_emotion": DEEPFACE[int(row.argmax())],
            "region": {"x": 3, "y": 4, "w": 40, "h": 50, "left_eye": None, "right_eye": None},
            "face_confidence": 0.92,
        }
        for one, row in zip(IDS, values, strict=True)
    ]


def test_deepfaces_json_has_percentages_in_its_own_order(tmp_path: Path) -> None:
    rows = deepface_rows(probabilities(DEEPFACE))
    by_image = {row["img_path"]: [row] for row in rows}
    for name, content in (("list.json", rows), ("batch.json", [[row] for row in rows]), ("files.json", by_image)):
        (tmp_path / name).write_text(json.dumps(content))
        score, ids, notes = accuracy(tmp_path / name)
        assert (score, sorted(ids)) == (1.0, IDS)
        assert "its classes are, in this order: Anger, Disgust, Fear, Happy, Sad, Surprise, Neutral" in notes
        assert "deepface_ columns are percentages, divided by 100" in notes


def test_a_deepface_csv_as_it_comes(tmp_path: Path) -> None:
    rows = deepface_rows(np.round(probabilities(DEEPFACE), 4))
    pd.json_normalize(rows).to_csv(tmp_path / "deepface.csv")
    assert accuracy(tmp_path / "deepface.csv")[0] == 1.0
    plain = pd.DataFrame([row["emotion"] | {k: row[k] for k in ("img_path", "dominant_emotion")} for row in rows])
    plain.to_csv(tmp_path / "plain.csv", index=False)
    assert accuracy(tmp_path / "plain.csv")[0] == 1.0


def test_several_faces_of_deepface_are_told_apart_by_size(tmp_path: Path) -> None:
    rows = deepface_rows(probabilities(DEEPFACE))
    small = json.loads(json.dumps(rows[0]))
    small["region"] |= {"w": 5, "h": 5}
    small["emotion"] = dict(zip(DEEPFACE, [0, 100, 0, 0, 0, 0, 0], strict=True))
    (tmp_path / "d.json").write_text(json.dumps([small, *rows]))
    with pytest.raises(Ig3dError, match="several faces of an image"):
        accuracy(tmp_path / "d.json")
    assert accuracy(tmp_path / "d.json", faces="largest")[0] == 1.0
    assert accuracy(tmp_path / "d.json", faces="first")[0] < 1.0


def pyfeat_frame() -> pd.DataFrame:
    frame = pd.DataFrame(probabilities(PYFEAT), columns=PYFEAT)
    boxes = {"FaceRectX": 1.0, "FaceRectY": 2.0, "FaceRectWidth": 60.0, "FaceRectHeight": 70.0, "FaceScore": 0.99}
    units = {f"AU{i:02d}": 0.5 for i in (1, 2, 4)}
    return frame.assign(**boxes, **units, input=[f"/data/{one}.jpg" for one in IDS], frame=range(ROWS))


def test_pyfeats_missing_faces_are_empty_rows(tmp_path: Path) -> None:
    frame = pyfeat_frame()
    frame.loc[2, [c for c in frame.columns if c not in ("input", "frame")]] = np.nan
    frame.to_csv(tmp_path / "fex.csv", index=False)
    score, ids, notes = accuracy(tmp_path / "fex.csv")
    assert score == 1.0
    assert IDS[2] not in ids
    assert any("1 of 12 rows have no prediction" in note for note in notes)


def test_pyfeats_frames_of_a_video_are_samples(tmp_path: Path) -> None:
    pyfeat_frame().assign(input="clip.mp4").to_csv(tmp_path / "fex.csv", index=False)
    read = read_predictions(tmp_path / "fex.csv", RAFDB)
    assert read.ids.tolist() == [f"clip.mp4/{i}" for i in range(ROWS)]


def test_libreface_has_a_class_without_scores_and_may_say_contempt(tmp_path: Path) -> None:
    words = {0: "Surprise", 1: "Fear", 2: "Disgust", 3: "Happiness", 4: "Sadness", 5: "Anger", 6: "Neutral"}
    predicted = [words[label] for label in LABELS]
    predicted[0] = "Contempt"
    frame = pd.DataFrame({"input_image_path": [f"in/{i}.png" for i in IDS], "aligned_image_path": "tmp/x.png"})
    frame = frame.assign(facial_expression=predicted, au_1=0, au_1_intensity=0.3)
    frame.to_csv(tmp_path / "libreface.csv")
    read = read_predictions(tmp_path / "libreface.csv", RAFDB)
    assert read.logits is not None
    assert read.logits[0].tolist() == [0.0] * 7
    assert read.logits[1:].argmax(axis=1).tolist() == LABELS[1:].tolist()
    assert "column facial_expression has a class without scores: it counts as one vote" in read.notes
    assert "1 predictions are of no class of rafdb: they count as no vote" in read.notes
    eight = read_predictions(tmp_path / "libreface.csv", AFFECTNET8)
    assert eight.logits is not None
    assert eight.logits[0].argmax() == 7


def test_numbered_outputs_of_hsemotion_are_alphabetical_and_its_contempt_is_left_out(tmp_path: Path) -> None:
    seven = [word for word in HSEMOTION if word != "Contempt"]
    values = probabilities(seven)
    eight = np.insert(values, 1, RNG.normal(size=ROWS), axis=1)
    va = RNG.uniform(-1, 1, (ROWS, 2))
    np.savez(tmp_path / "mtl.npz", image=np.array(IDS), scores=np.concatenate([np.log(values + 1e-6), va], axis=1))
    np.savez(tmp_path / "eight.npz", image=np.array(IDS), scores=np.log(np.abs(eight) / 9 + 1e-6))
    np.savez(tmp_path / "seven.npz", image=np.array(IDS), scores=values)
    assert accuracy(tmp_path / "seven.npz", format="hsemotion")[0] == 1.0
    assert accuracy(tmp_path / "eight.npz", format="hsemotion")[0] > 0.6
    _, _, notes = accuracy(tmp_path / "eight.npz", format="hsemotion")
    assert "rafdb has no such class: scores_1; left out, the others renormalized" in notes
    va8 = datasets.dataset("affectnet7")
    read = read_predictions(tmp_path / "mtl.npz", va8, Reading(format="hsemotion"))
    assert read.va is not None
    assert read.va == pytest.approx(va, abs=1e-6)
    # Numbered as they are, they would be taken in the data set's own order.
    assert accuracy(tmp_path / "seven.npz", format="table")[0] < 0.5


def test_a_tool_of_seven_classes_on_a_data_set_of_eight(tmp_path: Path) -> None:
    pd.json_normalize(deepface_rows(probabilities(DEEPFACE))).to_csv(tmp_path / "d.csv")
    read = read_predictions(tmp_path / "d.csv", AFFECTNET8)
    assert read.logits is not None
    assert np.isfinite(read.logits).all()
    assert not (read.logits.argmax(axis=1) == 7).any()
    assert (read.logits.argmin(axis=1) == 7).all()
    assert read.absent == (7,)
    assert "the file has no column for Contempt: never predicted" in read.notes


def test_openfaces_logits_are_in_affectnets_order(tmp_path: Path) -> None:
    order = ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger"]
    logits = np.concatenate([np.log(probabilities(order)), np.full((ROWS, 1), -9.0)], axis=1)
    frame = pd.DataFrame(logits, columns=[f"emotion_logits_{i}" for i in range(8)]).assign(image=IDS)
    frame.to_csv(tmp_path / "openface.csv", index=False)
    assert accuracy(tmp_path / "openface.csv")[0] == 1.0


def test_own_predictions_have_no_labels(tmp_path: Path) -> None:
    values = probabilities(list(RAFDB.class_names), np.arange(30) % 7)
    frame = pd.DataFrame(values, columns=[f"probability_{n}" for n in RAFDB.class_names])
    frame.insert(0, "sample_id", [f"s{i}" for i in range(30)])
    frame.insert(1, "label", [RAFDB.class_names[i] for i in values.argmax(axis=1)])
    for number, content in enumerate((frame, frame.assign(missing=""))):
        content.to_csv(tmp_path / f"{number}.csv", index=False)
        read = read_predictions(tmp_path / f"{number}.csv", RAFDB)
        assert (read.expression == -1).all()
        assert read.logits is not None
        assert read.logits.argmax(axis=1).tolist() == values.argmax(axis=1).tolist()


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(Ig3dError, match="--format tool: known: table, cage, deepface, hsemotion, ig3d, libreface"):
        read_predictions(tmp_path / "a.csv", RAFDB, Reading(format="tool"))
    assert all(one.source and one.about for one in tool_formats().values())


def test_a_tools_file_meets_labels_of_another_file_by_the_images_name(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "s"))
    frame = pd.DataFrame(np.eye(7)[LABELS], columns=[f"logit_{i}" for i in range(7)]).assign(
        sample_id=IDS, label=LABELS
    )
    frame.to_csv(tmp_path / "own.csv", index=False)
    import_predictions(store, tmp_path / "own.csv", "rafdb", ImportedSpec(name="own", view="2d"), "test")
    pd.json_normalize(deepface_rows(probabilities(DEEPFACE))).to_csv(tmp_path / "d.csv")
    done = import_predictions(store, tmp_path / "d.csv", "rafdb", ImportedSpec(name="d", view="3d"), "test")
    assert done.scores == {"accuracy": 1.0}
    assert any("ids were matched" in note for note in done.notes)
