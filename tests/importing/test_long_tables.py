"""Predictions with a row for each sample and class are those of a column for each class."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_tables import BY_NAME, IDS, LABELS, LOGITS, RAFDB

from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.tables import read_predictions


def long(words: dict[str, str] | None = None, score: str = "logit", **more: object) -> pd.DataFrame:
    """The same numbers with a row for each sample and class."""
    there = BY_NAME.rename(columns=words or {})
    frame = there.melt(id_vars=["sample_id", "label"], var_name="emotion", value_name=score)
    return frame.rename(columns={"label": "true_label"}).assign(**more)


@pytest.mark.parametrize("order", ["by class", "by sample", "shuffled"])
@pytest.mark.parametrize("score", ["logit", "Logits", "score"])
def test_a_row_for_each_class_is_read_as_a_column_for_each(order: str, score: str, tmp_path: Path) -> None:
    frame = long({"Anger": "angry", "Happiness": "HAPPY"}, score, width=48)
    if order != "by class":
        frame = frame.sort_values("sample_id") if order == "by sample" else frame.sample(frac=1, random_state=0)
    frame.to_csv(tmp_path / "long.csv", index=False)
    found = read_predictions(tmp_path / "long.csv", RAFDB)
    places = [found.ids.tolist().index(one) for one in IDS]
    assert sorted(found.ids) == IDS
    assert found.logits is not None
    assert np.abs(found.logits[places] - LOGITS).max() < 1e-6
    assert (found.expression[places] == LABELS).all()
    assert f"a row for each class (emotion, {score}): 210 rows are 30 samples" in found.notes


def test_a_table_of_the_largest_scores_alone_says_what_to_save(tmp_path: Path) -> None:
    frame = long(score="probability").sort_values("probability").groupby("sample_id").tail(5)
    frame.to_csv(tmp_path / "top.csv", index=False)
    with pytest.raises(Ig3dError, match=r"has no row for the class '[a-z]+'; .* save all scores, not the largest"):
        read_predictions(tmp_path / "top.csv", RAFDB)


def test_a_row_for_each_face_is_no_row_for_each_class(tmp_path: Path) -> None:
    """Classes beside scores of two faces of an image: ids repeat, and nothing says that these are all classes."""
    other = BY_NAME.assign(Neutral=BY_NAME["Neutral"] + 1)
    twice = pd.concat([BY_NAME, other]).assign(label=[RAFDB.class_names[one] for one in [*LABELS, *LABELS]])
    twice.assign(score=1.0).to_csv(tmp_path / "faces.csv", index=False)
    with pytest.raises(Ig3dError, match="--faces"):
        read_predictions(tmp_path / "faces.csv", RAFDB)
