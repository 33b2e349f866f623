"""Files that are easily read wrongly without a word: each is read right, or refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ig3d_ray.data import datasets
from ig3d_ray.data.ids import match_ids
from ig3d_ray.data.tables.containers import read_columns
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.importing.tables import Predictions, Reading, read_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.storage.store import Store

RAFDB = datasets.dataset("rafdb")
ROWS = 40
RNG = np.random.default_rng(9)
LABELS = np.arange(ROWS) % 7
IDS = [f"a{i:03d}" for i in range(ROWS)]
LOGITS = RNG.normal(size=(ROWS, 7)) + 2 * np.eye(7)[LABELS]
PROBS = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
BY_NAME = pd.DataFrame(PROBS, columns=[name.lower() for name in RAFDB.class_names]).assign(image=IDS)
ALPHABET = sorted(range(7), key=lambda i: RAFDB.class_names[i])
WORDS = [RAFDB.class_names[i].lower() for i in ALPHABET]


def read(tmp_path: Path, frame: pd.DataFrame, **options: object) -> Predictions:
    frame.to_csv(tmp_path / "t.csv", index=False)
    return read_predictions(tmp_path / "t.csv", RAFDB, Reading(**options))  # type: ignore[arg-type]


def right(found: Predictions) -> bool:
    assert found.logits is not None
    rows = [IDS.index(one) for one in found.ids.tolist()]
    return bool((found.logits.argmax(axis=1) == LOGITS[rows].argmax(axis=1)).all())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"smile": 0.2}, "columns .* are of one class; remove one"),
        ({f"prob_{name.lower()}": 1 / 7 for name in RAFDB.class_names}, "two columns for each class, such as"),
        ({"label": LABELS, "true_label": (LABELS + 1) % 7}, "'true_label' and 'label' differ; --label-column says"),
    ],
)
def test_two_columns_of_one_meaning_are_refused(tmp_path: Path, more: dict, message: str) -> None:
    with pytest.raises(Ig3dError, match=message):
        read(tmp_path, BY_NAME.assign(**more))


@pytest.mark.parametrize("form", ["npz", "jsonl", "parquet", "zero-shot"])
def test_a_file_that_carries_its_order_of_classes_is_read_in_that_order(tmp_path: Path, form: str) -> None:
    values = PROBS[:, ALPHABET]
    file = tmp_path / f"t.{'jsonl' if form == 'zero-shot' else form}"
    if form == "npz":
        np.savez(file, ids=np.array(IDS), probs=values, class_names=np.array(WORDS))
    elif form == "jsonl":
        rows = [{"id": i, "classes": WORDS, "probs": row.tolist()} for i, row in zip(IDS, values, strict=True)]
        file.write_text("\n".join(map(json.dumps, rows)))
    elif form == "parquet":
        pd.DataFrame({"id": IDS, "classes": [WORDS] * ROWS, "probs": values.tolist()}).to_parquet(file)
    else:
        rows = []
        for one, row in zip(IDS, values, strict=True):
            order = np.argsort(-row)
            rows.append({"id": one, "labels": [WORDS[k] for k in order], "scores": row[order].tolist()})
        file.write_text("\n".join(map(json.dumps, rows)))
    found = read_predictions(file, RAFDB)
    assert right(found)
    assert found.logits is not None
    assert np.exp(found.logits) == pytest.approx(PROBS, abs=1e-5)


@pytest.mark.parametrize("marker", [0.0, -1.0])
def test_rows_of_a_marker_are_missing_faces(tmp_path: Path, marker: float) -> None:
    frame = BY_NAME.copy()
    frame.loc[3, frame.columns[:7]] = marker
    frame.loc[5, "surprise"] -= 1e-9
    found = read(tmp_path, frame)
    assert len(found.ids) == ROWS - 1
    assert right(found)
    assert any("all 0 or all -1: no face was found" in note for note in found.notes)


def test_a_predicted_class_is_no_label(tmp_path: Path) -> None:
    predicted = [RAFDB.class_names[i].lower() for i in PROBS.argmax(axis=1)]
    for name in ("emotion", "class", "expression"):
        found = read(tmp_path, BY_NAME.assign(**{name: predicted}))
        assert not found.has_labels
        assert (
            f"column {name} is the class with the largest score in every row: a prediction, not a label" in found.notes
        )
    assert read(tmp_path, BY_NAME.assign(emotion=[RAFDB.class_names[i] for i in LABELS])).has_labels


def test_columns_of_a_box_are_no_labels(tmp_path: Path) -> None:
    found = read(tmp_path, BY_NAME.assign(x=0, y=0, w=48, h=48, emotion=[RAFDB.class_names[i] for i in LABELS]))
    assert found.expression.tolist() == LABELS.tolist()


def test_labels_that_count_from_one_are_noticed_without_the_last_class(tmp_path: Path) -> None:
    some = LABELS < 6
    with pytest.raises(Ig3dError, match=r"no sample is Surprise, and the labels .*: they count from 1"):
        read(tmp_path, BY_NAME.assign(label=LABELS + 1)[some])


def test_an_id_that_counts_rows_gives_way_to_the_image(tmp_path: Path) -> None:
    assert read(tmp_path, BY_NAME.assign(id=range(ROWS))).ids.tolist() == IDS
    assert read(tmp_path, BY_NAME.rename(columns={"image": "ImageName"}).assign(id=range(ROWS))).ids.tolist() == IDS


def test_scores_beside_a_predicted_class_are_used(tmp_path: Path) -> None:
    logits = pd.DataFrame(LOGITS, columns=[f"logit_{n.lower()}" for n in RAFDB.class_names]).assign(sample_id=IDS)
    for predicted in ({"cat_pred": 0, "cat_true": LABELS}, {"facial_expression": "Neutral", "input_image_path": IDS}):
        assert right(read(tmp_path, logits.assign(**predicted)))


def test_cages_class_numbers_are_affectnets(tmp_path: Path) -> None:
    order = datasets.dataset("affectnet8").class_names
    numbers = [order.index(RAFDB.class_names[i]) for i in LABELS]
    frame = pd.DataFrame({"cat_pred": numbers, "cat_true": numbers, "sample_id": IDS})
    found = read(tmp_path, frame)
    assert found.logits is not None
    assert found.logits.argmax(axis=1).tolist() == found.expression.tolist() == LABELS.tolist()


def test_valence_and_arousal_of_another_range_or_truth_are_not_taken(tmp_path: Path) -> None:
    about = datasets.dataset("affectnet_va")
    va = RNG.uniform(-1, 1, (ROWS, 2))
    frame = pd.DataFrame({"id": IDS, "valence_prediction": va[:, 0], "arousal_prediction": va[:, 1]})
    frame = frame.assign(valence=0.5, arousal=0.25)
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = read_predictions(tmp_path / "t.csv", about)
    assert found.va is not None
    assert found.va == pytest.approx(va, abs=1e-6)
    assert (found.va_true == [0.5, 0.25]).all()
    wide = pd.DataFrame({"id": IDS, "val_pred": 5 + 4 * va[:, 0], "aro_pred": 5 + 4 * va[:, 1]})
    wide.to_csv(tmp_path / "w.csv", index=False)
    with pytest.raises(Ig3dError, match=r"column val_pred: predictions up to .*a data set with another range declares"):
        read_predictions(tmp_path / "w.csv", about)


def test_a_class_without_a_column_is_an_error_unless_models_often_lack_it(tmp_path: Path) -> None:
    with pytest.raises(Ig3dError, match="no column of class 'Neutral' beside surprise, fear"):
        read(tmp_path, BY_NAME.rename(columns={"neutral": "neutrale"}))
    BY_NAME.to_csv(tmp_path / "t.csv", index=False)
    assert read_predictions(tmp_path / "t.csv", datasets.dataset("affectnet8")).absent == (7,)


def test_a_class_that_is_absent_is_never_predicted_however_low_the_logits(tmp_path: Path) -> None:
    frame = pd.DataFrame(LOGITS - 60, columns=[f"logit_{n.lower()}" for n in RAFDB.class_names]).assign(id=IDS)
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = read_predictions(tmp_path / "t.csv", datasets.dataset("affectnet8"))
    assert found.logits is not None
    assert not (found.logits.argmax(axis=1) == 7).any()


def test_a_samples_logits_do_not_depend_on_the_others(tmp_path: Path) -> None:
    frame = BY_NAME.copy()
    frame.loc[:, frame.columns[:7]] = np.where(PROBS < 0.05, 0, PROBS)
    frame.loc[:, frame.columns[:7]] = frame.iloc[:, :7].div(frame.iloc[:, :7].sum(axis=1), axis=0)
    whole, one = read(tmp_path, frame), read(tmp_path, frame.iloc[[7]])
    assert whole.logits is not None
    assert one.logits is not None
    assert (whole.logits[7] == one.logits[0]).all()


def test_images_of_the_validation_folder_are_not_those_of_train() -> None:
    known = np.array([f"train/{i}" for i in range(5)])
    assert (match_ids(known, np.array([f"val/{i}.jpg" for i in range(5)])).place < 0).all()
    assert (match_ids(known, np.array([f"x/train_set/{i}.jpg" for i in range(5)])).place >= 0).all()


def test_a_tool_that_finds_more_faces_than_the_first_is_imported(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "s"))
    frame = BY_NAME.assign(label=LABELS)
    missing = frame.copy()
    missing.loc[:9, frame.columns[:7]] = np.nan
    for name, content in (("few", missing), ("all", frame)):
        content.to_csv(tmp_path / f"{name}.csv", index=False)
        done = import_predictions(store, tmp_path / f"{name}.csv", "rafdb", ImportedSpec(name=name, view="2d"), "test")
    assert len(done.table.ids) == ROWS


def test_one_image_with_two_labels_is_refused(tmp_path: Path) -> None:
    frame = pd.concat([BY_NAME.assign(label=LABELS), BY_NAME.assign(label=(LABELS + 1) % 7).iloc[:1]])
    with pytest.raises(Ig3dError, match="'a000' is there with two labels"):
        read(tmp_path, frame)


def test_deepfaces_results_as_text_and_images_without_a_face(tmp_path: Path) -> None:
    order = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    columns = [RAFDB.index(word) for word in order]
    rows = [
        {"img_path": i, "emotion": dict(zip(order, (100 * p[columns]).tolist(), strict=True)), "dominant_emotion": "x"}
        | {"face_confidence": 0 if i == IDS[2] else 0.9}
        for i, p in zip(IDS, PROBS, strict=True)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv")
    found = read_predictions(tmp_path / "t.csv", RAFDB)
    assert right(found)
    assert IDS[2] not in found.ids
    by_image = {row["img_path"]: [row] for row in rows} | {IDS[4]: None}
    nested = [{"image": row["img_path"], "results": [row]} for row in rows]
    for content in (by_image, nested):
        (tmp_path / "t.json").write_text(json.dumps(content))
        assert right(read_predictions(tmp_path / "t.json", RAFDB))


@pytest.mark.parametrize("orient", ["split", "table", "columns", "values of lists", "hugging face"])
def test_other_forms_of_json(tmp_path: Path, orient: str) -> None:
    words = list(BY_NAME.columns[:7])
    if orient == "values of lists":
        text = json.dumps({"ids": IDS, "probs": PROBS.tolist()})
    elif orient == "hugging face":
        scored = ([{"label": w, "score": v} for w, v in zip(words, row, strict=True)] for row in PROBS.tolist())
        rows = dict(zip(IDS, scored, strict=True))
        text = json.dumps(rows)
    else:
        text = BY_NAME.to_json(orient=orient)  # type: ignore[call-overload]
    (tmp_path / "t.json").write_text(text)
    assert right(read_predictions(tmp_path / "t.json", RAFDB))


@pytest.mark.parametrize(
    "text",
    ["{[1]: 2}", "{__import__('os').getcwd(): 1}", "{" + "-" * 20000 + "1}", "{" + "(" * 500 + "}"],
    ids=["no key", "a call", "long", "nested"],
)
def test_text_that_only_looks_like_a_mapping_stays_text(tmp_path: Path, text: str) -> None:
    pd.DataFrame({"emotion": [text, text]}).to_csv(tmp_path / "t.csv", index=False)
    assert read_columns(tmp_path / "t.csv")["emotion"].tolist() == [text, text]


HUGE = 10**400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'[{{"n": {HUGE}, "s": "a"}}, {{"n": null, "s": "b"}}]', [hex(HUGE), ""]),
        (f'[{{"n": {HUGE}, "s": "a"}}, {{"n": 0.5, "s": "b"}}]', [hex(HUGE), "0.5"]),
        ('[{"n": "\\ud800", "s": "a"}, {"n": "x", "s": "b"}]', ["\ufffd", "x"]),
    ],
    ids=["beside nothing", "beside a fraction", "half a pair"],
)
def test_a_value_that_no_array_has_is_read_as_text(tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "t.json").write_text(text)
    columns = read_columns(tmp_path / "t.json")
    assert columns["n"].tolist() == expected
    assert columns["s"].tolist() == ["a", "b"]


@pytest.mark.parametrize("cell", ["{1, 2}", "{'a': 0x" + "f" * 400 + "}", "{'a': f()}", "{'a': 1}, {'b': 2}"])
def test_a_column_of_braces_that_is_no_mapping_of_numbers_stays_in_the_table(tmp_path: Path, cell: str) -> None:
    pd.DataFrame({"id": ["a", "b"], "cell": [cell, cell]}).to_csv(tmp_path / "t.csv", index=False)
    columns = read_columns(tmp_path / "t.csv")
    found = [name for name in columns if name.startswith("cell")]
    assert len(found) == 1
    assert len(columns[found[0]]) == 2
