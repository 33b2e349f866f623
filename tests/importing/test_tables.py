"""Tables of predictions in the forms in which people have them: the same numbers give the same logit table."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ig3d_ray.data import datasets
from ig3d_ray.data.ids import match_ids
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.importing.reading import Reading
from ig3d_ray.importing.scores import to_logits
from ig3d_ray.importing.tables import read_predictions, read_rows
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.storage.store import Store

RAFDB = datasets.dataset("rafdb")
ROWS = 30
RNG = np.random.default_rng(4)
LOGITS = np.round(RNG.normal(size=(ROWS, 7)), 4)
LABELS = RNG.integers(0, 7, ROWS)
IDS = [f"{i:05d}" for i in range(ROWS)]
NAMES = [f"logit_{i}" for i in range(7)]
FRAME = pd.DataFrame(LOGITS, columns=NAMES).assign(sample_id=IDS, label=LABELS)
BY_NAME = FRAME.rename(columns=dict(zip(NAMES, RAFDB.class_names, strict=True)))


def text(frame: pd.DataFrame = FRAME, encoding: str = "utf-8", **options: object) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(frame.to_csv(index=False, **options).encode(encoding))


def with_rownames(file: Path) -> None:
    lines = FRAME.to_csv(sep=" ").splitlines()
    file.write_text("\n".join([lines[0].lstrip(), *lines[1:]]) + "\n")


def records() -> list[dict]:
    return [json.loads(line) for line in FRAME.to_json(orient="records", lines=True).splitlines()]


def npz(file: Path, **arrays: np.ndarray) -> None:
    with file.open("wb") as out:
        np.savez(out, **arrays)


def as_lists(file: Path, name: str = "logits") -> None:
    pd.DataFrame({"sample_id": IDS, name: LOGITS.tolist(), "label": LABELS}).to_parquet(file)


FORMS: dict[str, Callable[[Path], object]] = {
    "comma.csv": text(),
    "semicolon.csv": text(sep=";"),
    "semicolon_decimal_comma.csv": text(sep=";", decimal=","),
    "tab.tsv": text(sep="\t"),
    "tab_decimal_comma.txt": text(sep="\t", decimal=","),
    "pipe.txt": text(sep="|"),
    "blanks.dat": lambda file: file.write_text(FRAME.to_string(index=False)),
    "bom.csv": text(encoding="utf-8-sig"),
    "utf16.csv": text(encoding="utf-16"),
    "utf16_tab.txt": text(encoding="utf-16", sep="\t"),
    "windows.csv": text(FRAME.assign(remark="Größe"), encoding="cp1252"),
    "crlf.csv": text(lineterminator="\r\n"),
    "quoted.csv": text(quoting=1),
    "excel_sep.csv": lambda file: file.write_text("sep=;\n" + FRAME.to_csv(index=False, sep=";", decimal=",")),
    "index.csv": lambda file: FRAME.to_csv(file),
    "comment.csv": lambda file: file.write_text("# model 3\n" + FRAME.to_csv(index=False)),
    "trailing.csv": lambda file: file.write_text(FRAME.to_csv(index=False).replace("\n", ",\n")),
    "blank_lines.csv": lambda file: file.write_text(FRAME.to_csv(index=False).replace("\n", "\n\n")),
    "r_rownames.txt": with_rownames,
    "packed.csv.gz": lambda file: file.write_bytes(gzip.compress(FRAME.to_csv(index=False).encode())),
    "flat.parquet": lambda file: FRAME.to_parquet(file),
    "lists.parquet": as_lists,
    "categories.parquet": lambda file: FRAME.astype({"sample_id": "category"}).to_parquet(file),
    "matrix.npz": lambda file: npz(file, sample_id=np.array(IDS), logits=LOGITS, label=LABELS),
    "objects.npz": lambda file: npz(file, ids=np.array(IDS, object), logits=LOGITS, labels=LABELS),
    "columns.npz": lambda file: npz(file, label=LABELS[:, None], ids=np.array(IDS), logits=LOGITS.astype(np.float64)),
    "records.json": lambda file: file.write_text(json.dumps(records())),
    "columns.json": lambda file: file.write_text(json.dumps(FRAME.to_dict(orient="list"))),
    "pandas.json": lambda file: FRAME.to_json(file),
    "by_id.json": lambda file: file.write_text(json.dumps({r.pop("sample_id"): r for r in records()})),
    "nested.jsonl": lambda file: file.write_text(
        "\n".join(
            json.dumps({"image": i, "label": int(y), "logits": row.tolist()})
            for i, y, row in zip(IDS, LABELS, LOGITS, strict=True)
        )
    ),
    "lines.jsonl": lambda file: FRAME.to_json(file, orient="records", lines=True),
    "lines.ndjson.gz": lambda file: file.write_bytes(
        gzip.compress(FRAME.to_json(orient="records", lines=True).encode())
    ),
    "names.csv": text(
        BY_NAME[["Sad", "label", "Anger", "Happy", "Neutral", "sample_id", "Fear", "Surprise", "Disgust"]]
    ),
    "synonyms.csv": text(
        BY_NAME.rename(columns={"Sad": "logit_sadness", "Anger": "logit_ANGRY", "Happy": "logit_joy"}).rename(
            columns={name: f"logit_{name.lower()}" for name in ("Surprise", "Fear", "Disgust", "Neutral")}
        )
    ),
    "suffixes.csv": text(BY_NAME.rename(columns={name: f"{name}_logit" for name in RAFDB.class_names})),
    "label_names.csv": text(FRAME.assign(label=[RAFDB.class_names[i].upper() for i in LABELS])),
    "image_paths.csv": text(FRAME.rename(columns={"sample_id": "img_path"})),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_the_same_numbers_gives_the_same_table(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    FORMS[name](file)
    read = read_predictions(file, RAFDB)
    assert read.ids.tolist() == IDS
    assert read.logits is not None
    assert (read.logits == LOGITS.astype(np.float32)).all()
    assert read.expression.tolist() == LABELS.tolist()


def test_there_are_more_than_thirty_forms() -> None:
    assert len(FORMS) > 30


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a.xlsx": (lambda file: file.write_bytes(b"PK"), "ending '.xlsx'; known: .csv"),
    "binary.csv": (lambda file: file.write_bytes(bytes(range(256)) * 4), "not text in UTF-8, UTF-16 or Windows-1252"),
    "noheader.csv": (lambda file: file.write_text("1,2,3\n4,5,6\n"), "its first line holds numbers; add a header"),
    "short.csv.gz": (lambda file: file.write_bytes(gzip.compress(b"a,b\n1,2\n" * 50)[:30]), "not a whole gzip file"),
    "ragged.parquet": (
        lambda file: pd.DataFrame({"sample_id": ["a", "b"], "logits": [[1.0], [1.0, 2.0]]}).to_parquet(file),
        "column 'logits' has lists of 1, 2 numbers",
    ),
    "objects.npz": (lambda file: npz(file, ids=np.array([{"a": 1}, None])), "objects that are not strings"),
    "deep.json": (lambda file: file.write_text("[" * 100000), "nested too deeply"),
    "number.json": (lambda file: file.write_text("3"), "holds int; give a list of objects"),
    "cut.json": (lambda file: file.write_text('[{"a": 1}'), "not valid JSON"),
    "line.jsonl": (lambda file: file.write_text('{"a": 1}\n{\n'), "line 2: not valid JSON"),
    "strange.csv": (
        text(BY_NAME.rename(columns={n: f"prob_{n}" for n in RAFDB.class_names} | {"Sad": "prob_blue"})),
        "column 'prob_blue' names no class of rafdb",
    ),
    "both.csv": (text(FRAME.assign(**{f"prob_{i}": 1 / 7 for i in range(7)})), "both logit_ and prob_ columns"),
    "many.csv": (text(pd.DataFrame({f"feature{i}": [1.0] for i in range(500)})), r"feature9, ... \(500 in all\)"),
    "from_one.csv": (text(FRAME.assign(label=LABELS + 1)), "do its labels count from 1"),
    "softmax.csv": (
        text(FRAME.assign(**{n: np.exp(LOGITS[:, i]) / np.exp(LOGITS).sum(1) for i, n in enumerate(NAMES)})),
        "called logits, but look like probabilities.*--scores probabilities",
    ),
    "sigmoid.csv": (
        text(BY_NAME.assign(**{n: 1 / (1 + np.exp(-BY_NAME[n])) for n in RAFDB.class_names})),
        "neither probabilities nor percentages",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_one_short_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    write, message = BROKEN[name]
    write(file)
    with pytest.raises(Ig3dError, match=message) as refused:
        read_predictions(file, RAFDB)
    line = str(refused.value).replace(str(tmp_path), "")
    assert "\n" not in line
    assert len(line) <= 300


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


CHANGED: list[tuple[str, np.ndarray, str]] = [
    ("percent", 100 * softmax(LOGITS), "are percentages"),
    ("rounded percent", np.round(100 * softmax(LOGITS), 1), "did not sum to 1"),
    ("two decimals", np.round(softmax(LOGITS), 2), "did not sum to 1"),
    ("half precision", softmax(LOGITS).astype(np.float16).astype(float), "did not sum to 1"),
]


@pytest.mark.parametrize(("what", "numbers", "note"), CHANGED, ids=[c[0] for c in CHANGED])
def test_rounded_probabilities_are_renormalized_and_said(
    what: str, numbers: np.ndarray, note: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame(numbers, columns=[f"pred_{n.lower()}" for n in RAFDB.class_names]).assign(id=IDS, label=LABELS)
    frame.to_csv(tmp_path / "p.csv", index=False)
    read = read_predictions(tmp_path / "p.csv", RAFDB)
    assert any(note in line for line in read.notes), read.notes
    assert read.logits is not None
    assert np.isfinite(read.logits).all()
    assert softmax(read.logits.astype(float)) == pytest.approx(numbers / numbers.sum(1, keepdims=True), abs=0.011)


def test_sums_that_rounding_does_not_explain_are_refused(tmp_path: Path) -> None:
    numbers = softmax(LOGITS)
    numbers[3] *= 0.9
    pd.DataFrame(numbers, columns=[f"prob_{i}" for i in range(7)]).assign(id=IDS, label=LABELS).to_csv(
        tmp_path / "p.csv", index=False
    )
    with pytest.raises(Ig3dError, match=r"row 4: prob_ sums to 0.9, not 1 \(1 such rows\)"):
        read_predictions(tmp_path / "p.csv", RAFDB)


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda r: sum(r) > 0.1), min_size=1, max_size=8)
)
def test_logits_give_the_probabilities_back_and_are_finite(rows: list[list[float]]) -> None:
    numbers = np.asarray(rows) / np.sum(rows, axis=1, keepdims=True)
    done = to_logits("x", numbers.copy(), "probabilities", "prob_")
    assert np.isfinite(done.values).all()
    assert softmax(done.values) == pytest.approx(numbers, abs=0.03)
    assert (done.values.max(axis=1) == done.values[np.arange(len(rows)), numbers.argmax(axis=1)]).all()


def test_columns_by_option(tmp_path: Path) -> None:
    frame = pd.DataFrame(LOGITS, columns=[f"c{i}" for i in range(7)]).assign(who=IDS, mark=LABELS)
    frame.to_csv(tmp_path / "p.csv", index=False)
    given_columns = {name.lower(): f"c{i}" for i, name in enumerate(RAFDB.class_names)}
    reading = Reading(columns=given_columns, id_column="who", label_column="mark", scores="logits")
    read = read_predictions(tmp_path / "p.csv", RAFDB, reading)
    assert read.ids.tolist() == IDS
    assert read.logits is not None
    assert (read.logits == LOGITS.astype(np.float32)).all()
    for wrong, message in (
        (Reading(columns={"happy": "c99"}, id_column="who"), "--columns happy=c99: no such column"),
        (Reading(columns={"blue": "c1"}, id_column="who"), "'blue' is no class of rafdb"),
        (Reading(columns={"happy": "c1"}, id_column="who"), "--columns: no column for Surprise, Fear"),
        (Reading(id_column="nobody"), "--id-column nobody: no such column"),
    ):
        with pytest.raises(Ig3dError, match=message):
            read_predictions(tmp_path / "p.csv", RAFDB, wrong)


def test_faces_that_are_missing_repeated_or_several_are_counted(tmp_path: Path) -> None:
    frame = pd.concat([FRAME, FRAME.iloc[[4, 4]]]).reset_index(drop=True)
    frame.loc[7, NAMES] = np.nan
    frame.to_csv(tmp_path / "p.csv", index=False)
    read = read_predictions(tmp_path / "p.csv", RAFDB)
    assert len(read.ids) == ROWS - 1
    assert IDS[7] not in read.ids
    assert "1 of 32 rows have no prediction (no face found): counted as missing" in read.notes
    assert "2 rows repeat another row of their sample, and were dropped" in read.notes
    frame.loc[ROWS, "logit_0"] += 1
    frame = frame.assign(width=10, height=10)
    frame.loc[ROWS, "width"] = 99
    frame.to_csv(tmp_path / "q.csv", index=False)
    with pytest.raises(Ig3dError, match=r"'00004' is duplicated .*--faces first or --faces largest"):
        read_predictions(tmp_path / "q.csv", RAFDB)
    for faces, more in (("first", 0.0), ("largest", 1.0)):
        some = read_predictions(tmp_path / "q.csv", RAFDB, Reading(faces=faces))  # type: ignore[arg-type]
        assert some.logits is not None
        assert some.logits[some.ids.tolist().index(IDS[4]), 0] == pytest.approx(LOGITS[4, 0] + more)
        assert f"1 samples have several faces; the {faces} counts" in some.notes
    assert len(read_rows(tmp_path / "q.csv", RAFDB).ids) == 32


def test_a_row_with_some_of_its_scores_is_an_error(tmp_path: Path) -> None:
    frame = FRAME.copy()
    frame.loc[3, "logit_2"] = np.nan
    frame.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(Ig3dError, match=r"row 4, column logit_2: NaN \(1 such rows\)"):
        read_predictions(tmp_path / "p.csv", RAFDB)


FORMS_OF_IDS: dict[str, Callable[[str], str]] = {
    "suffix": lambda i: f"{i}.jpg",
    "folders": lambda i: f"test/{i}.jpg",
    "backslashes": lambda i: f"faces\\test\\{i}.PNG",
    "upper case": lambda i: f"Ä{i}".upper(),
    "unicode": lambda i: f"A\u0308{i}",
}


def bring(store: Store, frame: pd.DataFrame, name: str, file: Path, **options: bool) -> tuple[str, ...]:
    frame.to_csv(file, index=False)
    return import_predictions(store, file, "rafdb", ImportedSpec(name=name, view="2d"), "test", **options).notes


@pytest.mark.parametrize("form", FORMS_OF_IDS)
def test_ids_that_are_written_otherwise_are_matched_and_said(form: str, tmp_path: Path) -> None:
    store, write = Store(str(tmp_path / "s")), FORMS_OF_IDS[form]
    known = [f"ä{i}" if form in ("upper case", "unicode") else i for i in IDS]
    if form == "unicode":
        known = [f"Ä{i}" for i in IDS]
    bring(store, FRAME.assign(sample_id=known), "first", tmp_path / "a.csv")
    notes = bring(store, FRAME.assign(sample_id=[write(i) for i in IDS]), "second", tmp_path / "b.csv")
    assert any(note.startswith("ids were matched") for note in notes), notes
    (labels,) = [name for name in store.names() if "labels-test" in name]
    assert len(pd.read_parquet(f"{store.uri}/{labels}")) == ROWS


def test_lost_leading_zeros_are_refused_with_both_forms_and_nothing_enters(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "s"))
    bring(store, FRAME, "first", tmp_path / "a.csv")
    before = {name: store.read(name) for name in store.names()}
    with pytest.raises(Ig3dError, match=r"30 of 30 samples are not .*'0' here, '00000' there: were leading zeros lost"):
        bring(store, FRAME.assign(sample_id=range(ROWS)), "second", tmp_path / "b.csv")
    assert {name: store.read(name) for name in store.names()} == before


def test_unknown_samples_are_dropped_or_need_an_option(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "s"))
    bring(store, FRAME, "first", tmp_path / "a.csv")
    strange = FRAME.assign(sample_id=[f"x{i}" if n < 3 else i for n, i in enumerate(IDS)])
    with pytest.raises(Ig3dError, match=r"3 of 30 samples are not among .*--allow-missing imports the others"):
        bring(store, strange, "second", tmp_path / "b.csv")
    notes = bring(store, strange, "second", tmp_path / "b.csv", allow_missing=True)
    assert "3 rows of unknown samples were dropped, such as 'x00000'" in notes
    assert "3 of 30 known samples have no prediction" in notes


@given(st.sets(st.text("abAB01._/\\", min_size=1, max_size=6), min_size=1, max_size=12), st.randoms())
def test_equal_ids_always_match_themselves(ids: set[str], random: object) -> None:
    known = np.array(sorted(ids))
    new = np.array(random.sample(sorted(ids), len(ids)))  # type: ignore[attr-defined]
    match = match_ids(known, new)
    assert (known[match.place] == new).all()
    assert match.how == ""
