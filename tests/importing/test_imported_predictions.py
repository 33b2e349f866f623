"""Bring your own predictions: three formats, and everything that can be wrong with a file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ig3d_ray.data.labels import find_labels
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.predictions import Imported, import_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Task

CLASSES = 7


def frame(rows: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    columns: dict = {"sample_id": [f"s{i}" for i in range(rows)]}
    columns |= {f"logit_{i}": rng.standard_normal(rows).astype(np.float32) for i in range(CLASSES)}
    return pd.DataFrame(columns | {"label": rng.integers(0, CLASSES, rows)})


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def bring(store: Store, file: Path, dataset: str = "rafdb", name: str = "mine", **options: bool) -> Imported:
    return import_predictions(store, file, dataset, ImportedSpec(name=name, view="2d"), "test", **options)


def csv(tmp_path: Path, content: pd.DataFrame | str, name: str = "preds.csv") -> Path:
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else content.to_csv(index=False))
    return file


def test_csv_parquet_and_npz_give_the_same_table(tmp_path: Path) -> None:
    content = frame()
    files = [csv(tmp_path, content), tmp_path / "preds.parquet", tmp_path / "preds.npz"]
    content.to_parquet(files[1])
    logits = content[[f"logit_{i}" for i in range(CLASSES)]].to_numpy()
    np.savez(files[2], sample_id=content["sample_id"].to_numpy(str), logits=logits, label=content["label"].to_numpy())
    tables = [bring(Store(str(tmp_path / file.suffix)), file).table for file in files]
    assert len({table.to_bytes() for table in tables}) == 1


def test_probabilities_come_back_from_their_softmax(tmp_path: Path, local: Store) -> None:
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet(np.ones(CLASSES), 4)
    content = pd.DataFrame(probabilities, columns=[f"prob_{i}" for i in range(CLASSES)])
    content.insert(0, "sample_id", list("abcd"))
    content["label"] = ["Happy", "Sad", "Fear", "Neutral"]
    table = bring(local, csv(tmp_path, content)).table
    assert table.logits is not None
    softmax = np.exp(table.logits) / np.exp(table.logits).sum(axis=1, keepdims=True)
    assert softmax == pytest.approx(probabilities, abs=1e-6)
    labels = find_labels(local, "rafdb", "test")
    assert labels is not None
    assert labels.of(np.array(list("abcd")), Task.EXPRESSION).tolist() == [3, 4, 1, 6]


def test_cages_combined_format(tmp_path: Path, local: Store) -> None:
    content = "cat_pred,cat_true,val_pred,val_true,aro_pred,aro_true\n1,1,0.5,0.4,0.1,0.2\n0,7,-0.5,-0.4,0.3,0.2\n"
    done = bring(local, csv(tmp_path, content), dataset="affectnet8", row_order_is_id=True)
    assert done.found == ("logits", "va")
    assert done.table.logits is not None
    assert done.table.logits.argmax(axis=1).tolist() == [1, 0]
    assert done.table.ids.tolist() == ["row-0000000", "row-0000001"]


def changed(column: str, row: int, value: object) -> pd.DataFrame:
    content = frame().astype(object)
    content.loc[row, column] = value
    return content


BAD_FILES = [
    (frame().drop(columns="sample_id"), r"column 'sample_id' is missing .* or --row-order-is-id"),
    (frame().drop(columns="logit_3"), r"6 classes, but rafdb has 7 in this order: Surprise, Fear"),
    (frame().drop(columns=[f"logit_{i}" for i in range(CLASSES)]), "no predictions: columns logit_0"),
    (frame().drop(columns="label"), "no labels: add a column label"),
    (changed("logit_2", 3, "nan"), r"row 4, column logit_2: NaN \(1 such rows\)"),
    (changed("logit_2", 3, "inf"), r"row 4, column logit_2: infinity"),
    (changed("logit_2", 3, "high"), r"row 4, column logit_2: 'high' is not a number"),
    (changed("logit_2", 3, "1_0"), r"row 4, column logit_2: '1_0' is not a number"),
    (changed("logit_2", 3, "1e300"), r"row 4, column logit_2: 1e\+300 is too large for a float32"),
    (changed("sample_id", 3, "s1"), r"sample_id 's1' is duplicated \(1 such ids\)"),
    (changed("sample_id", 3, ""), r"row 4 has an empty sample_id"),
    (changed("label", 2, "glee"), r"row 3, column label: 'glee' is no class of rafdb; allowed: 0 to 6"),
    (changed("label", 2, 9), r"row 3, column label: .9. is no class of rafdb; allowed: 0 to 6 \(Surprise"),
    (frame().assign(logit_7=0.0), r"8 classes, but rafdb has 7"),
    (frame(0), r"preds.csv: no rows"),
    ("", "no rows"),
    ("sample_id,logit_0\na,1\nb,1,2\n", "line 3 has 3 fields, the header has 2"),
    ("sample_id,logit_0,logit_0\na,1,2\n", "duplicate column 'logit_0'"),
    ("sample_id,val_pred,val_true\na,1,2\n", "column 'aro_pred' is missing"),
    (
        frame().rename(columns={f"logit_{i}": f"prob_{i}" for i in range(CLASSES)}).assign(**{"prob_0": 0.9}),
        r"row 1: prob_ (sums to|holds a number outside \[0, 1\]).*raw scores are called logit_",
    ),
    (frame().assign(**{f"prob_{i}": 1 / CLASSES for i in range(CLASSES)}), "both logit_ and prob_ columns"),
]


@pytest.mark.parametrize(("content", "message"), BAD_FILES)
def test_a_bad_file_is_refused_in_one_line_and_nothing_is_written(
    tmp_path: Path, local: Store, content: pd.DataFrame | str, message: str
) -> None:
    with pytest.raises(Ig3dError, match=message) as refused:
        bring(local, csv(tmp_path, content))
    assert "\n" not in str(refused.value)
    assert local.names() == []


def test_other_files_are_refused(tmp_path: Path, local: Store) -> None:
    with pytest.raises(Ig3dError, match=r"gone.csv: no such file"):
        bring(local, tmp_path / "gone.csv")
    with pytest.raises(Ig3dError, match=r"ending '.doc'; known: .csv, .tsv, .*.parquet, .*.npz"):
        bring(local, tmp_path / "preds.doc")
    for suffix in ("parquet", "npz"):
        broken = tmp_path / f"broken.{suffix}"
        broken.write_bytes(b"PAR1 nothing")
        with pytest.raises(Ig3dError, match=f"broken.{suffix}: not a"):
            bring(local, broken)
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for name in ("empty.npz", "array.npz"):
        with pytest.raises(Ig3dError, match=f"{name}: not an NPZ file"):
            bring(local, tmp_path / name)
    changed("sample_id", 1, None).to_parquet(tmp_path / "nameless.parquet")
    with pytest.raises(Ig3dError, match="row 2 has an empty sample_id"):
        bring(local, tmp_path / "nameless.parquet")
    nested = pd.DataFrame({"sample_id": ["a", "b"], "logits": [[1.0], [1.0, 2.0]]})
    nested.to_parquet(tmp_path / "nested.parquet")
    with pytest.raises(Ig3dError, match=r"column .logits. has lists of 1, 2 numbers; give as many in each row"):
        bring(local, tmp_path / "nested.parquet")
    np.savez(tmp_path / "pickled.npz", sample_id=np.array([{"a": 1}], dtype=object))
    with pytest.raises(Ig3dError, match="holds objects that are not strings, whose loading could run code"):
        bring(local, tmp_path / "pickled.npz")


def test_files_whose_labels_disagree_are_refused(tmp_path: Path, local: Store) -> None:
    bring(local, csv(tmp_path, frame()))
    other = frame()
    other.loc[2, "label"] = (other.loc[2, "label"] + 1) % CLASSES
    with pytest.raises(Ig3dError, match=r"other.csv: sample s2: its label is .* 1 samples differ"):
        bring(local, csv(tmp_path, other, "other.csv"), name="other")
    assert sum(name.startswith("logits") for name in local.names()) == 1


def test_numbered_rows_must_agree_row_by_row(tmp_path: Path, local: Store) -> None:
    header = "val_pred,val_true,aro_pred,aro_true\n"
    rows = ["0.1,0.2,0.1,0.3\n", "0.1,0.5,0.1,0.6\n", "0.1,-0.5,0.1,0.4\n"]
    bring(local, csv(tmp_path, header + "".join(rows)), dataset="affectnet_va", row_order_is_id=True)
    swapped = csv(tmp_path, header + rows[0] + rows[2] + rows[1], "swapped.csv")
    with pytest.raises(Ig3dError, match=r"swapped.csv: sample row-0000001: its label .* 2 samples differ"):
        bring(local, swapped, dataset="affectnet_va", name="other", row_order_is_id=True)
    shorter = csv(tmp_path, header + rows[0], "shorter.csv")
    with pytest.raises(Ig3dError, match=r"1 rows, but the files imported before have 3"):
        bring(local, shorter, dataset="affectnet_va", name="other", row_order_is_id=True)
    unlabeled = csv(tmp_path, "val_pred,aro_pred\n" + "0.1,0.2\n" * 3, "unlabeled.csv")
    with pytest.raises(Ig3dError, match="no labels to check the order of rows by"):
        bring(local, unlabeled, dataset="affectnet_va", name="other", row_order_is_id=True)


def test_numbered_rows_need_labels_of_one_kind(tmp_path: Path, local: Store) -> None:
    logits = ",".join(f"logit_{i}" for i in range(8))
    zeros = ",".join(["0"] * 8)
    first = csv(tmp_path, f"{logits},cat_true\n{zeros},1\n{zeros},2\n", "first.csv")
    second = csv(tmp_path, f"{logits},val_true,aro_true\n{zeros},0.1,0.2\n{zeros},0.3,0.4\n", "second.csv")
    bring(local, first, dataset="affectnet8", row_order_is_id=True)
    with pytest.raises(Ig3dError, match="labels are of another kind"):
        bring(local, second, dataset="affectnet8", name="other", row_order_is_id=True)


def test_ids_that_look_a_little_like_row_numbers_are_ids(tmp_path: Path, local: Store) -> None:
    content = frame()
    content["sample_id"] = [f"row-{i}" for i in range(5)]
    bring(local, csv(tmp_path, content))
    bring(local, csv(tmp_path, content.iloc[::-1]), name="other")


def test_other_samples_or_no_class_scores_are_refused_at_once(tmp_path: Path, local: Store) -> None:
    bring(local, csv(tmp_path, frame()))
    others = csv(tmp_path, frame().assign(sample_id=[f"t{i}" for i in range(5)]), "others.csv")
    with pytest.raises(
        Ig3dError, match="5 of 5 samples are not among the 5 of rafdb's test split: 't0' here, 's0' there"
    ):
        bring(local, others, name="other")
    va = csv(tmp_path, "sample_id,val_pred,aro_pred\ns0,0.1,0.2\n", "va.csv")
    with pytest.raises(Ig3dError, match="valence and arousal alone, but rafdb is searched for expressions"):
        bring(local, va, name="va")


def test_an_import_tells_its_score_on_its_labels(tmp_path: Path, local: Store) -> None:
    content = frame().assign(label=np.arange(5), **{f"logit_{i}": np.eye(7)[:5, i] for i in range(7)})
    assert bring(local, csv(tmp_path, content)).scores == {"accuracy": 1.0}


def test_one_name_has_one_view(tmp_path: Path, local: Store) -> None:
    bring(local, csv(tmp_path, frame()))
    with pytest.raises(Ig3dError, match="there is a member mine of view 2d already; use another --member"):
        import_predictions(local, csv(tmp_path, frame()), "rafdb", ImportedSpec(name="mine", view="3d"), "test")


def test_the_same_name_with_other_predictions_wants_replace(tmp_path: Path, local: Store) -> None:
    bring(local, csv(tmp_path, frame()))
    bring(local, csv(tmp_path, frame()))
    other = csv(tmp_path, frame().assign(logit_0=0.0), "other.csv")
    with pytest.raises(Ig3dError, match="mine already has other test predictions; use --replace or rename it"):
        bring(local, other)
    bring(local, other, replace=True)


def test_ids_that_the_dataset_lacks_are_refused(tmp_path: Path, small_faces: tuple[Store, Samples]) -> None:
    _, samples = small_faces
    store = Store(str(tmp_path / "faces"))
    samples.save(store)
    ids = samples.in_split("test").ids
    content = frame(4).drop(columns="label")
    content["sample_id"] = [*ids[:3], "face-xxxxx"]
    with pytest.raises(Ig3dError, match=r"1 of 4 samples are not among .* of faces's test split: 'face-xxxxx' here"):
        bring(store, csv(tmp_path, content), dataset="faces")
    content["sample_id"] = ids[:4]
    assert len(bring(store, csv(tmp_path, content), dataset="faces").table.ids) == 4
