"""The logit cache: what goes in comes out, keyed and checked, on every store."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitStore, LogitTable
from ig3d_ray.storage.store import Store


def table(**changes: object) -> LogitTable:
    fields: dict = {
        "dataset": "rafdb",
        "split": "test",
        "member": "0123456789abcdef",
        "name": "m",
        "view": "2d",
        "member_spec": "{}",
        "dataset_fingerprint": "",
        "ids": np.array(["b", "a", "c"]),
        "logits": np.arange(21, dtype=np.float32).reshape(3, 7),
        "va": None,
    }
    return LogitTable(**(fields | changes))


def test_a_table_survives_every_store(store: Store) -> None:
    logits = LogitStore(store)
    both = table(va=np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], np.float32))
    assert not logits.has("rafdb", both.member, "test")
    logits.write(both)
    read = logits.read("rafdb", both.member, "test")
    assert read.ids.tolist() == ["a", "b", "c"]
    assert read.logits is not None
    assert read.va is not None
    assert read.logits[read.ids == "b"].tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    assert read.va[read.ids == "c"].tolist() == [[pytest.approx(0.5), pytest.approx(0.6)]]
    (card,) = logits.members("rafdb")
    assert (card.fingerprint, card.name, card.view, card.splits) == (both.member, "m", "2d", ("test",))


def test_the_order_of_rows_does_not_change_the_bytes() -> None:
    turned = table(ids=np.array(["c", "b", "a"]), logits=table().logits[[2, 0, 1]])  # type: ignore[index]
    assert turned.to_bytes() == table().to_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": np.array(["a", "b", "a"])}, r"sample_id 'a' is duplicated \(1 such ids\)"),
        ({"ids": np.array([], dtype=str), "logits": np.zeros((0, 7))}, "no rows"),
        ({"logits": np.zeros((3, 8))}, "logits are 3x8, but rafdb needs 3x7"),
        ({"logits": np.zeros((2, 7))}, "logits are 2x7, but rafdb needs 3x7"),
        ({"logits": np.full((3, 7), np.nan)}, r"NaN or infinity in the logits of sample b \(3 such\)"),
        ({"logits": None, "va": np.array([[0, 0], [0, np.inf], [0, 0]])}, "NaN or infinity in the va of sample a"),
        ({"logits": None}, "neither logits nor valence and arousal"),
        ({"va": np.zeros((3, 3))}, "va are 3x3, but rafdb needs 3x2"),
    ],
)
def test_what_cannot_be_right_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(Ig3dError, match=message):
        table(**changes)


@pytest.mark.parametrize("keep", [0, 10, 400, -1])
def test_a_truncated_table_says_which_and_what_to_do(store: Store, keep: int) -> None:
    logits = LogitStore(store)
    name = logits.path("rafdb", "0123456789abcdef", "test")
    store.write(name, table().to_bytes()[:keep])
    with pytest.raises(Ig3dError, match=rf"{name}: cut short or not Parquet; delete this file and run again"):
        logits.read("rafdb", "0123456789abcdef", "test")


def test_a_table_in_the_wrong_place_is_refused(store: Store) -> None:
    logits = LogitStore(store)
    store.write(logits.path("rafdb", "ffffffffffffffff", "test"), table().to_bytes())
    with pytest.raises(Ig3dError, match=r"holds rafdb/0123456789abcdef/test; it was moved"):
        logits.read("rafdb", "ffffffffffffffff", "test")


def test_a_table_of_other_classes_is_refused() -> None:
    written = pq.read_table(io.BytesIO(table().to_bytes()))
    about = written.schema.metadata[b"ig3d"].replace(b"Surprise", b"Astonishment")
    buffer = io.BytesIO()
    pq.write_table(written.replace_schema_metadata({b"ig3d": about}), buffer)
    with pytest.raises(Ig3dError, match=r"file: classes \['Astonishment', .* but rafdb has \['Surprise'"):
        LogitTable.from_bytes(buffer.getvalue(), "file")


def test_another_parquet_file_is_no_logit_table() -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), buffer)
    with pytest.raises(Ig3dError, match="file: no logit table; delete this file"):
        LogitTable.from_bytes(buffer.getvalue(), "file")


def test_a_table_of_another_version_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ig3d_ray.evaluation.logits.SCHEMA_VERSION", 1)
    old = table().to_bytes()
    monkeypatch.undo()
    with pytest.raises(Ig3dError, match=r"^file: schema_version 1; this version of ig3d reads 2: delete this file"):
        LogitTable.from_bytes(old, "file")
