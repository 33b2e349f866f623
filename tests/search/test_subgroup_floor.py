"""`protocol.floor`: the ensemble is chosen among those whose worst subgroup reaches it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.ensembles.bundle.card import model_card
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.labels import import_labels
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.report.sentences import about_floor
from ig3d_ray.search.explorer import Explorer
from ig3d_ray.search.journal import search_folder
from ig3d_ray.search.protocol import plan
from ig3d_ray.search.results import results_from_bytes, results_to_bytes
from ig3d_ray.search.scoring import score_batch
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split
from ig3d_ray.workflow import pipeline
from ig3d_ray.workflow.progress import Reporter

SPLITS: tuple[Split, ...] = ("dev", "test")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A member that is right on 95 % of the many and half of the few, and one that is right on 80 % of both."""
    place, rng = tmp_path_factory.mktemp("floor"), np.random.default_rng(0)
    store = Store(str(place / "store"))
    for split in SPLITS:
        count = 1200
        truth, is_few = rng.integers(0, 7, count), rng.random(count) < 0.2
        ids = [f"{split}-{i}" for i in range(count)]
        labels = pd.DataFrame({"sample_id": ids, "label": truth, "gender": np.where(is_few, "few", "many")})
        labels.to_csv(place / "labels.csv", index=False)
        import_labels(store, place / "labels.csv", "rafdb", split, attributes=["gender"])
        for name, shares in (("uneven", (0.95, 0.5)), ("even", (0.8, 0.8))):
            right = rng.random(count) < np.where(is_few, shares[1], shares[0])
            said = np.where(right, truth, (truth + rng.integers(1, 7, count)) % 7)
            scores = rng.normal(size=(count, 7)) + 6 * np.eye(7)[said]
            file = place / f"{name}.csv"
            pd.DataFrame(scores, columns=[f"logit_{c}" for c in range(7)]).assign(sample_id=ids).to_csv(
                file, index=False
            )
            import_predictions(store, file, "rafdb", ImportedSpec(name=name, view="2d"), split)
    return store


def space(floor: dict | None = None, **search: object) -> SearchSpace:
    content = {"dataset": "rafdb", "objective": "accuracy", "protocol": {"floor": floor} if floor else {}}
    pool = [{"kind": "imported", "name": name, "view": "2d"} for name in ("uneven", "even")]
    fusion = {"strategies": ["weighted"], "spaces": ["logits"], "methods": []}
    return SearchSpace.model_validate(content | {"pool": pool, "fusion": fusion, "search": {"budget": 8} | search})


def worst_of(outcome: pipeline.Outcome) -> float:
    (gender,) = outcome.spec.subgroups
    return min(part.score.value for part in gender.subgroups)


def test_the_ensemble_reaches_the_floor_where_the_best_does_not(stored: Store) -> None:
    free = pipeline.search_store(stored, space(), "x", Reporter())
    assert free.spec.floor is None
    assert worst_of(free) < 0.7
    bound = pipeline.search_store(stored, space({"attribute": "gender", "at_least": 0.75}), "x", Reporter())
    floor = bound.spec.floor
    assert floor is not None
    assert floor.selection >= 0.75
    assert (floor.worst, floor.report) == ("few", pytest.approx(worst_of(bound)))
    assert floor.report > 0.74
    assert bound.spec.scores.report.metrics["accuracy"].value < free.spec.scores.report.metrics["accuracy"].value
    assert about_floor(bound.board).startswith("Floor: the worst subgroup by gender reaches accuracy 0.75 on dev")
    assert "In each gender accuracy of at least 0.75 was asked for" in model_card(bound.spec)


def test_other_subgroups_are_another_search(stored: Store) -> None:
    asked = space({"attribute": "gender", "at_least": 0.75})
    pools, _ = pipeline.load_pools(stored, asked, pipeline.take_inventory(stored, asked).usable(("dev", "test")))
    others = replace(pools["dev"], attributes={"gender": np.roll(pools["dev"].attributes["gender"], 1)})
    first = search_folder(asked, "x", plan(asked.protocol, pools, 0))
    assert search_folder(asked, "x", plan(asked.protocol, pools, 0)) == first
    assert search_folder(asked, "x", plan(asked.protocol, pools | {"dev": others}, 0)) != first


def test_a_floor_that_nothing_reaches_is_said_and_the_closest_is_chosen(
    stored: Store, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = pipeline.search_store(stored, space({"attribute": "gender", "at_least": 0.99}), "x", Reporter())
    assert "protocol.floor: no ensemble reaches accuracy 0.99 in each gender on dev" in caplog.text
    assert outcome.spec.floor is not None
    assert 0.75 < outcome.spec.floor.selection < 0.99
    assert "does not reach accuracy 0.99" in about_floor(outcome.board)


@pytest.mark.parametrize(
    ("floor", "message"),
    [
        ({"attribute": "age", "at_least": 0.5}, "rafdb dev has no age with subgroups of 20 samples .*there: gender"),
        ({"attribute": "gender", "at_least": 0.5, "metric": "rmse"}, "protocol.floor.metric: 'rmse' for expression"),
    ],
)
def test_a_floor_that_cannot_be_checked_is_refused(stored: Store, floor: dict, message: str) -> None:
    with pytest.raises((Ig3dError, ValueError), match=message):
        pipeline.search_store(stored, space(floor), "x", Reporter())


def test_optuna_gets_the_floor_as_a_constraint(stored: Store) -> None:
    floor = {"attribute": "gender", "at_least": 0.75}
    asked = space(floor, enumerate_up_to=0, batch=4)
    pools, _ = pipeline.load_pools(stored, asked, pipeline.take_inventory(stored, asked).usable(("dev", "test")))
    explorer = Explorer(asked, [pools["dev"]])
    while batches := explorer.next_round():
        explorer.finish_round(batches, {b.number: score_batch(pools["dev"], b.candidates, asked) for b in batches})
    trials = explorer.studies[0].study.trials
    limits = [trial.constraints["floor"] for trial in trials]
    assert min(limits) <= 0 < max(limits)
    assert explorer.best is not None
    assert explorer.best.margin >= 0
    results = [explorer.studies[0].order]
    assert [result for _, result in results_from_bytes(results_to_bytes(results), "x")] == results[0]
