"""Tables that are read in many pieces are what they are in one."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ig3d_ray.data.tables import delimited, json_stream, json_tables, parquet_tables, records
from ig3d_ray.data.tables.containers import read_columns
from ig3d_ray.data.tables.json_tables import read_json
from ig3d_ray.data.tables.packed import each_text
from ig3d_ray.data.tables.records import packed_records, records_of
from ig3d_ray.errors import Ig3dError

ROWS = 1000


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "ROWS_AT_ONCE", 64)
    monkeypatch.setattr(records, "ROWS_AT_ONCE", 64)
    monkeypatch.setattr(json_tables, "ROWS_AT_ONCE", 64)
    monkeypatch.setattr(parquet_tables, "ROWS_AT_ONCE", 64)
    monkeypatch.setattr(json_stream, "BYTES_AT_ONCE", 61)


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    made = pd.DataFrame({"sample_id": [f"é/face {i}.jpg" for i in range(ROWS)], "p": rng.random(ROWS)})
    made["whole"] = rng.integers(0, 8, ROWS)
    made["rounded"] = rng.random(ROWS).round(3)
    made["large"] = rng.random(ROWS) * 1e30
    return made


def write(made: pd.DataFrame, file: Path) -> None:
    match file.name:
        case "t.csv":
            made.to_csv(file, index=False)
        case "index.csv":
            made.to_csv(file)
        case "comma.csv":
            made.to_csv(file, index=False, sep=";", decimal=",")
        case "trailing.csv":
            file.write_text(made.to_csv(index=False).replace("\n", ",\n"))
        case "utf16.csv":
            made.to_csv(file, index=False, encoding="utf-16")
        case "western.csv":
            made.to_csv(file, index=False, encoding="cp1252")
        case "t.csv.gz" | "t.tsv":
            made.to_csv(file, index=False, sep="\t" if file.suffix == ".tsv" else ",")
        case "rows.json":
            file.write_text(json.dumps(made.to_dict("records"), indent=1))
        case "within.json":
            file.write_text(json.dumps({"model": "x", "images": made.to_dict("records")}, ensure_ascii=False))
        case "columns.json":
            file.write_text(json.dumps(made.to_dict("list")))
        case "pandas.json":
            made.to_json(file, double_precision=15)
        case "by_id.json":
            file.write_text(json.dumps(made.set_index("sample_id").to_dict("index")))
        case "t.jsonl":
            file.write_text("\n".join(map(json.dumps, made.to_dict("records"))))
        case "t.parquet":
            made.to_parquet(file, row_group_size=100)


FORMS = (
    "t.csv",
    "index.csv",
    "comma.csv",
    "trailing.csv",
    "utf16.csv",
    "western.csv",
    "t.csv.gz",
    "t.tsv",
    "rows.json",
)
FORMS += ("within.json", "columns.json", "pandas.json", "by_id.json", "t.jsonl", "t.parquet")


@pytest.mark.parametrize("form", FORMS)
def test_every_value_of_every_form_is_read(form: str, tmp_path: Path) -> None:
    made = frame()
    write(made, tmp_path / form)
    found = read_columns(tmp_path / form)
    assert sorted(found) == sorted(made)
    assert found["sample_id"].tolist() == made["sample_id"].tolist()
    # pandas writes fifteen decimals, of large numbers fewer digits.
    exact = 1e-10 if form == "pandas.json" else 0.0
    for name in ("p", "rounded", "large"):
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], made[name], rtol=exact, atol=exact)
    assert found["whole"].astype(str).tolist() == made["whole"].astype(str).tolist()


@pytest.mark.parametrize(
    "fields",
    [
        ["0.5"] * 500 + ["n/a"] + ["0.25"] * 99,
        ["1.30", "1.3"] * 300,
        ["0.50"] * 300 + ["0.5"] * 300,
        ["0.5", "1.0", "", "nan"] * 150,
        ["1e-05", "0.5"] * 300,
        ["0", "0.5", "1"] * 200,
        ["007"] * 300 + ["0.25"] * 300,
        [""] * 300 + ["2.5"] * 300,
        [f"{i / 10:.2f}" for i in range(1, 193)] + [f"5.12{i}" for i in range(1, 9)],
        [f"5.12{i}" for i in range(1, 9)] * 8 + [f"{i / 10:.2f}" for i in range(1, 193)],
    ],
)
def test_text_is_given_back_as_it_was(fields: list[str], tmp_path: Path) -> None:
    rows = [f"s{i},{field}" for i, field in enumerate(fields)]
    (tmp_path / "t.csv").write_text("\n".join(["sample_id,x", *rows]) + "\n")
    assert list(each_text(read_columns(tmp_path / "t.csv"), "x")) == fields


def test_large_whole_numbers_beside_missing_ones_are_numbers(tmp_path: Path) -> None:
    rows = [{"a": 2**60 + i, "b": 2**60 if i < 100 else None} for i in range(200)]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    found = read_columns(tmp_path / "t.json")
    assert found["a"].tolist() == [2**60 + i for i in range(200)]
    assert found["b"][0] == 2.0**60
    assert np.isnan(found["b"][-1])


def test_lists_may_be_missing_in_the_first_rows(tmp_path: Path) -> None:
    rows: list[list[float] | None] = [None] * 150 + [[1.0, 2.0]] * 50
    pd.DataFrame({"sample_id": map(str, range(200)), "m": rows}).to_parquet(tmp_path / "t.parquet", row_group_size=64)
    found = read_columns(tmp_path / "t.parquet")
    assert np.isnan(found["m_1"][:150]).all()
    assert found["m_1"][150:].tolist() == [2.0] * 50


def test_an_object_of_lists_and_objects_is_refused(tmp_path: Path) -> None:
    some = {f"i{i}": [{"happy": 1.5}] if i % 2 else {"happy": 2.5} for i in range(200)}
    (tmp_path / "t.json").write_text(json.dumps(some))
    with pytest.raises(Ig3dError, match=r"t\.json: 'i0' is no sample's scores"):
        read_columns(tmp_path / "t.json")


TWO_AT_THE_END = "a,b,\nx,1,,\ny,2,,\n", {"a": ["x", "y"], "b": ["1", "2"]}
BLANKS = "a b\n1,0 x\n2,0 y\n", {"a": ["1,0", "2,0"], "b": ["x", "y"]}


@pytest.mark.parametrize(("text", "expected"), [TWO_AT_THE_END, BLANKS])
def test_delimiters_at_the_end_and_blanks_as_such(text: str, expected: dict[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(text)
    found = read_columns(tmp_path / "t.txt")
    assert {name: found[name].tolist() for name in found} == expected


def test_columns_that_come_late_are_empty_before(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"a": i} for i in range(200)] + [{"a": 0.5, "b": "x"}, {"b": None, "c": 1}]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    found = read_columns(tmp_path / "t.json")
    assert found["a"][:3].tolist() == [0.0, 1.0, 2.0]
    assert np.isnan(found["a"][-1])
    assert found["b"].tolist() == [""] * 200 + ["x", ""]
    assert np.isnan(found["c"][:201]).all()


def test_rows_of_another_width_far_below_are_named(tmp_path: Path) -> None:
    lines = ["sample_id,x", *(f"s{i},1" for i in range(700)), "s700,1,2"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(Ig3dError, match=r"t\.csv: line 702 has 3 fields, the header has 2"):
        read_columns(tmp_path / "t.csv")


def test_many_frames_of_several_videos_keep_the_videos_names(tmp_path: Path) -> None:
    videos = {name: [{"frame": i, "happy": 0.5} for i in range(count)] for name, count in (("v1", 300), ("v2", 10))}
    (tmp_path / "t.json").write_text(json.dumps(videos))
    found = read_columns(tmp_path / "t.json")
    assert found["sample_id"].tolist() == ["v1"] * 300 + ["v2"] * 10
    assert found["frame"].tolist() == [*range(300), *range(10)]


VALUES = (
    st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)


@given(st.lists(st.dictionaries(st.text("abc", min_size=1, max_size=2), VALUES, min_size=1), min_size=1, max_size=12))
def test_json_in_pieces_is_json(rows: list[dict[str, Any]]) -> None:
    for indent in (None, 2):
        text = json.dumps(rows, indent=indent).encode("utf-8")
        whole = packed_records(records_of(json.loads(text), "x"), "x")
        pieces = read_json(io.BytesIO(text), "x")
        assert list(pieces) == list(whole)
        for name in whole:
            assert [str(one) for one in pieces[name].tolist()] == [str(one) for one in whole[name].tolist()]


@pytest.mark.parametrize(
    "broken", ["[{}", "[{},]", '{"a": 1,}', "[1 2]", '{"a" 1}', "[{}] x", '["a', "{'a': 1}", "[", ""]
)
def test_broken_json_is_refused(broken: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(broken)
    with pytest.raises(Ig3dError, match=r"t\.json: "):
        read_columns(tmp_path / "t.json")
