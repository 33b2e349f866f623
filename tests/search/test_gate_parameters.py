"""A gate that takes parameters of the face as input: found where weights depend on them, exported, applied."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pools import import_members

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data.representations import representation, width_of
from ig3d_ray.data.samples import Samples, parameter_type
from ig3d_ray.ensembles.from_tables import predict_from
from ig3d_ray.ensembles.parameters import parameters_of
from ig3d_ray.ensembles.reproduce import predict
from ig3d_ray.ensembles.spec import EnsembleSpec, parse_ensemble
from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion.gate_fit import Parameters, fit_gate
from ig3d_ray.fusion.stacking import stack_logits
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.pipeline import Outcome, search_store
from ig3d_ray.workflow.progress import Reporter

CLASSES, SAMPLES = 7, 1200
YAW = int(representation("emoca").group_columns(["pose"])[1])


def faces(seed: int, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of two members, labels, and EMOCA parameters.

    The first member is good at frontal faces, the second at turned ones, and neither is surer where it is right.
    """
    rng = np.random.default_rng(seed)
    labels, vectors = rng.integers(0, CLASSES, samples), rng.standard_normal((samples, width_of("emoca")))
    turned = (np.abs(vectors[:, YAW]) > 0.67).astype(int)
    members = []
    for member in (0, 1):
        right = rng.random(samples) < np.where(turned == member, 0.9, 0.4)
        predicted = np.where(right, labels, (labels + rng.integers(1, CLASSES, samples)) % CLASSES)
        members.append(3 * np.eye(CLASSES)[predicted] + rng.standard_normal((samples, CLASSES)))
    return np.stack(members), labels, vectors.astype(np.float32)


def of(vectors: np.ndarray, *groups: str) -> Parameters:
    return Parameters("emoca", representation("emoca").group_columns(groups), vectors)


@pytest.mark.parametrize("groups", [["pose"], ["exp", "pose", "shape"]], ids=" ".join)
def test_the_parameter_that_weights_depend_on_is_found(groups: list[str]) -> None:
    logits, labels, vectors = faces(0, 2000)
    found = fit_gate(logits, logits, labels, np.ones(2), of(vectors, *groups))
    assert found is not None
    gate, weights = found
    assert gate.representation == "emoca"
    assert YAW in gate.parameters
    assert len(gate.parameters) <= 2
    fresh, truth, others = faces(1, 6000)

    by_sample = gate.weights(fresh, weights, parameters={"emoca": others})
    gated = np.asarray(sum(weight * member for weight, member in zip(by_sample, fresh, strict=True)))
    # An oracle knows which faces are turned, and has the best weights for each kind.
    oracle = np.zeros_like(gated)
    for rows in (np.abs(others[:, YAW]) > 0.67, np.abs(others[:, YAW]) <= 0.67):
        oracle[rows] = np.tensordot(stack_logits(fresh[:, rows], truth[rows]).weights, fresh[:, rows], 1)
    static, ours, best = (float((one.argmax(axis=1) == truth).mean()) for one in (fresh.sum(axis=0), gated, oracle))
    assert best > static + 0.15
    assert ours > static + 0.7 * (best - static)


def test_parameters_without_effect_are_no_inputs() -> None:
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, CLASSES, 800)
        logits = 1.8 * np.eye(CLASSES)[labels] + rng.standard_normal((3, 800, CLASSES))
        vectors = rng.standard_normal((800, width_of("emoca")))
        found += fit_gate(logits, logits, labels, np.full(3, 1.8), of(vectors, "exp", "pose", "shape")) is not None
    assert found <= 2


def test_constant_parameters_are_no_inputs() -> None:
    logits, labels, vectors = faces(0, SAMPLES)
    still = np.zeros_like(vectors)
    found = fit_gate(logits, logits, labels, np.ones(2), of(still, "pose"))
    assert found is None or not found[0].parameters


def stored(folder: Path, absent: int = 0) -> tuple[Store, list[dict[str, str]]]:
    """Faces of RAF-DB with EMOCA parameters, all but some of them, and the members' predictions for them."""
    store = Store(str(folder / "runs"))
    logits, labels, vectors = faces(0, SAMPLES)
    ids = [f"test_{row:04d}" for row in range(SAMPLES)]
    lists = [None if row < absent else vector for row, vector in enumerate(vectors.tolist())]
    columns = {
        "sample_id": ids,
        "split": ["test"] * SAMPLES,
        "expression": pa.array(labels, pa.int8()),
        "emoca": pa.array(lists, parameter_type("emoca")),
    }
    Samples("rafdb", pa.table(columns)).save(store)
    return store, import_members(store, logits, labels, ids)


def searched(store: Store, items: list[dict[str, str]]) -> Outcome:
    content = {
        "dataset": "rafdb",
        "objective": "accuracy",
        "pool": items,
        "fusion": {"gate_parameters": {"representation": "emoca", "groups": ["pose"]}},
        "protocol": {"kind": "cross_fitted"},
        "search": {"budget": 0},
    }
    return search_store(store, SearchSpace.model_validate(content), "poses", Reporter())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, EnsembleSpec]:
    store, items = stored(tmp_path_factory.mktemp("poses"))
    return store, searched(store, items).spec


def test_it_is_chosen_exported_and_comes_out_again(found: tuple[Store, EnsembleSpec]) -> None:
    store, spec = found
    assert spec.fusion.label == "weighted of logits with floors, by confidence and emoca parameters"
    assert spec.fusion.gate is not None
    assert YAW in spec.fusion.gate.parameters
    assert spec.features == ("emoca", "predictions")
    assert parse_ensemble(spec.to_json(), "spec") == spec
    assert spec.compared_with["best_single"].gain.low > 0.1
    again = predict(spec, store, "test")
    assert again.reported == pytest.approx(again.compared_score, abs=1e-9)


def test_without_parameters_there_is_a_fallback_of_all_members(found: tuple[Store, EnsembleSpec]) -> None:
    fallback = found[1].fallback(["emoca"])
    assert fallback is not None
    assert set(fallback.members) == {member.name for member in found[1].members}
    assert fallback.fusion.features == frozenset()


def test_tables_of_predictions_need_the_gates_parameters(found: tuple[Store, EnsembleSpec]) -> None:
    _, spec = found
    logits, _, vectors = faces(7, 50)
    ids = [f"new_{row}" for row in range(50)]
    scores = {name: pd.DataFrame(one, columns=spec.class_names) for name, one in zip("ab", logits, strict=True)}
    tables = {name: scores[name].assign(sample_id=ids) for name in scores}
    given = {"emoca": parameters_of(ids, vectors, "emoca")}
    frame, _ = predict_from(spec, tables, None, False, given)
    fused = spec.fusion.apply(logits.astype(np.float32), spec.task, {"emoca": vectors})
    likely = frame[[f"probability_{name}" for name in spec.class_names]].to_numpy()
    assert likely == pytest.approx(spec.fusion.probabilities(fused), abs=1e-5)
    with pytest.raises(Ig3dError, match="gate takes emoca parameters as input; give --parameters emoca=PATH"):
        predict_from(spec, tables)
    with pytest.raises(Ig3dError, match=r"--parameters smirk: .* leave them out"):
        predict_from(spec, tables, None, False, {"smirk": given["emoca"]})
    vectors[3] = np.nan
    fewer = {"emoca": parameters_of(ids, vectors, "emoca")}
    with pytest.raises(Ig3dError, match="1 of 50 samples have none, such as 'new_3'; add them, or --missing skip"):
        predict_from(spec, tables, None, False, fewer)
    left, notes = predict_from(spec, tables, None, True, fewer)
    assert left["sample_id"].tolist() == [one for one in ids if one != "new_3"]
    assert any("1 of 50 samples have no parameters for the gate; left out" in note for note in notes)


def test_samples_without_parameters_are_named(tmp_path: Path) -> None:
    store, items = stored(tmp_path, absent=3)
    with pytest.raises(Ig3dError, match=r"rafdb test: sample 'test_0000' has no emoca parameters \(3 of 1200 such\)"):
        searched(store, items)


def test_predictions_without_a_samples_table_have_no_parameters(tmp_path: Path) -> None:
    store, (logits, labels, _) = Store(str(tmp_path / "runs")), faces(0, 200)
    items = import_members(store, logits, labels, [f"x{row}" for row in range(200)])
    with pytest.raises(Ig3dError, match="gate_parameters: emoca parameters are read from the samples table, and rafdb"):
        searched(store, items)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["stack"]}, "gate_parameters: they are for the method gate"),
        ({"gate_parameters": {"representation": "emoca", "groups": ["ears"]}}, "groups: 'ears': emoca has exp, pose"),
        ({"gate_parameters": {"representation": "nobody"}}, "allowed: "),
    ],
)
def test_what_a_gate_cannot_take_is_refused(change: dict, message: str) -> None:
    fusion = {"gate_parameters": {"representation": "emoca", "groups": "pose"}} | change
    pool = [{"kind": "imported", "name": "a", "view": "2d"}]
    content = {"dataset": "rafdb", "objective": "accuracy", "pool": pool, "fusion": fusion}
    with pytest.raises(ValueError, match=message):
        SearchSpace.model_validate(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": (400,)}, "gate.parameters: 400 of 334"),
        ({"representation": "nobody"}, "'nobody' is unknown here"),
    ],
)
def test_a_damaged_spec_is_refused(found: tuple[Store, EnsembleSpec], change: dict, message: str) -> None:
    spec = found[1].model_dump()
    gate = spec["fusion"]["gate"]
    if "parameters" in change:
        change = {"parameters": (*gate["parameters"][:-1], *change["parameters"])}
    with pytest.raises(ValueError, match=message):
        EnsembleSpec.model_validate(spec | {"fusion": spec["fusion"] | {"gate": gate | change}})
