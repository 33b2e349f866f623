"""Valence and arousal: a linear correction among the families, chosen where it scores better."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.ensembles.reproduce import predict
from ig3d_ray.ensembles.spec import parse_ensemble
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.pipeline import Outcome, search_store
from ig3d_ray.workflow.progress import Reporter

SAMPLES = 900


def searched(folder: Path, factor: float, noise: float = 0.3, **changes: object) -> tuple[Store, Outcome]:
    """A search over two members whose outputs are the labels plus noise, times a factor."""
    store, rng = Store(str(folder / "runs")), np.random.default_rng(0)
    labels = np.tanh(rng.standard_normal((SAMPLES, 2)))
    items = []
    for name in "ab":
        outputs = np.clip(factor * (labels + noise * rng.standard_normal(labels.shape)), -1, 1)
        frame = pd.DataFrame({"valence": outputs[:, 0], "arousal": outputs[:, 1]})
        truth = {"true_valence": labels[:, 0], "true_arousal": labels[:, 1]}
        frame.assign(sample_id=[f"x{i:04d}" for i in range(SAMPLES)], **truth).to_csv(folder / "t.csv", index=False)
        import_predictions(store, folder / "t.csv", "affectnet_va", ImportedSpec(name=name, view="2d"), "test")
        items.append({"kind": "imported", "name": name, "view": "2d"})
    content = {
        "dataset": "affectnet_va",
        "objective": "ccc_mean",
        "pool": items,
        "protocol": {"kind": "cross_fitted"},
        "search": {"budget": 0},
    }
    return store, search_store(store, SearchSpace.model_validate(content | changes), "va", Reporter())


def test_members_that_predict_half_of_the_range_are_corrected(tmp_path: Path) -> None:
    store, found = searched(tmp_path, 0.5)
    spec = found.spec
    assert spec.fusion.label == "weighted of logits, corrected linearly"
    assert found.board.chosen_family == "linear"
    # A member alone has half of the labels' spread.
    assert spec.compared_with["best_single"].gain.low > 0.1
    assert parse_ensemble(spec.to_json(), "spec") == spec
    again = predict(spec, store, "test")
    assert again.reported == pytest.approx(again.compared_score, abs=1e-9)


def test_where_weights_are_as_good_they_are_chosen(tmp_path: Path) -> None:
    _, found = searched(tmp_path, 1.0, 0.01)
    assert found.spec.fusion.is_static


def test_without_the_method_weights_alone_are_chosen(tmp_path: Path) -> None:
    _, found = searched(tmp_path, 0.5, fusion={"methods": ["least_squares", "concordance"]})
    assert found.spec.fusion.is_static
