"""Search spaces: the shipped ones load, fields are overridden, every mistake is one clear line."""

from pathlib import Path

import pytest
import yaml

from ig3d_ray.config.load import load_space
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.spec import spec_json

SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
BASE = {
    "dataset": "faces",
    "objective": "accuracy",
    "pool": [{"kind": "cnn"}, {"kind": "mlp3d", "representation": ["emoca", "smirk"], "subset": ["short", "full"]}],
}


def write(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "space.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def data_set_of(file: Path) -> str:
    return file.stem.removesuffix("_all").removesuffix("_backbones")


def test_there_is_a_space_for_every_dataset_of_the_paper_and_of_the_studies() -> None:
    ours = {"affectnet7", "affectnet8", "affectnet_va", "faces", "fer2013", "rafdb"}
    assert {data_set_of(file) for file in SHIPPED} == ours
    assert ours <= {file.stem for file in SHIPPED}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_space_loads_and_survives_its_own_yaml(file: Path, tmp_path: Path) -> None:
    space = load_space(file)
    assert space.dataset == data_set_of(file)
    dumped = write(tmp_path, yaml.safe_dump(space.model_dump(mode="json")))
    assert load_space(dumped) == space


def test_the_papers_recipe_is_table_1() -> None:
    for name in ("rafdb", "affectnet8", "affectnet_va"):
        space = load_space(SHIPPED[0].with_name(f"{name}.yaml"))
        (recipe,) = {spec.recipe for spec in space.trainable()}
        table1 = {"batch_size": 64, "epochs": 100, "patience": 3, "optimizer": "adamw", "schedule": "cyclic"}
        table1 |= {"base_lr": 1e-6, "max_lr": 1e-4, "weight_decay": 1e-5, "half_cycle": None, "sampling": "shuffle"}
        assert recipe.model_dump() | table1 == recipe.model_dump()
        assert {spec.width for spec in space.trainable()} == {2048}


def test_lists_expand_to_their_product(tmp_path: Path) -> None:
    content = BASE | {"pool": [BASE["pool"][1] | {"seed": [0, 1], "loss": [{}, {"va_terms": "random"}]}]}
    names = [spec.name for spec in load_space(write(tmp_path, content)).members()]
    assert len(names) == len(set(names)) == 16
    assert "mlp3d-smirk-full-eq1random-s1" in names


def test_overrides_change_one_field(tmp_path: Path) -> None:
    file = write(tmp_path, BASE)
    space = load_space(file, ("search.budget=17", "pool.0.width=8", "fusion.weight_3d=[0.1, 0.3]"))
    assert space.search.budget == 17
    assert space.members()[0].width == 8  # type: ignore[union-attr]
    assert space.fusion.weight_3d == (0.1, 0.3)
    assert space.hash != load_space(file).hash


def test_an_override_leaves_alone_what_shares_an_anchor() -> None:
    space = load_space(SHIPPED[0].with_name("faces.yaml"), ("pool.0.recipe.epochs=2",))
    epochs = {spec.kind: spec.recipe.epochs for spec in space.trainable()}
    assert epochs == {"cnn": 2, "mlp3d": 14}


def test_what_changes_the_weights_changes_the_member(tmp_path: Path) -> None:
    file = write(tmp_path, BASE | {"pool": [{"kind": "cnn", "loss": {"va_terms": "random"}}]})
    variants = ((), ("objective=ccc",), ("resources.workers=2",), ("pool.0.recipe.epochs=9",))
    specs = [spec_json(load_space(file, overrides).trainable()[0]) for overrides in variants]
    assert len(set(specs)) == 4


def test_stochastic_depth_reaches_the_networks_that_have_it(tmp_path: Path) -> None:
    maxvit = {"kind": "intermediate", "backbone": "maxvit_t", "representation": "emoca", "subset": "short"}
    pool = [{"kind": "cage"}, {"kind": "cage", "tag": "all", "stochastic_depth": 0}, maxvit | {"stochastic_depth": 0.1}]
    members = load_space(write(tmp_path, BASE | {"pool": pool})).trainable()
    assert [spec.stochastic_depth for spec in members] == [0.2, 0.0, 0.1]  # type: ignore[union-attr]


def test_resources_do_not_change_what_is_found(tmp_path: Path) -> None:
    file = write(tmp_path, BASE)
    assert load_space(file, ("resources.cpus_per_worker=2",)).hash == load_space(file).hash


MLP = {"kind": "mlp3d", "representation": "emoca", "subset": "full"}
MISTAKES = [
    ({"dataset": "fer"}, "dataset: 'fer': allowed: afewva, affectnet7, affectnet8, affectnet_va, "),
    ({"data_set": "x"}, "data_set: 'x': unknown field; check the spelling"),
    ({"objective": "acc"}, "objective 'acc' for faces; allowed: accuracy, balanced_accuracy"),
    (
        {"fusion": {"methods": ["concordance"]}},
        "fusion.methods: 'concordance' for expression; allowed: stack, greedy, coordinate",
    ),
    ({"search": {"second_objective": "cost"}}, "search.costs: second_objective 'cost' needs what members cost"),
    ({"pool": []}, "pool: is empty; list at least one"),
    (
        {"pool": [{"kind": "vgg"}]},
        "pool.0.kind: 'vgg'; allowed: cage, cnn, ddamfn, intermediate, mlp3d, module, timm, imported",
    ),
    ({"pool": [{"width": 3}]}, "pool.0.kind: is missing"),
    ({"pool": [{"kind": "mlp3d", "subset": "full"}]}, "pool.0.representation: is missing"),
    ({"pool": [MLP | {"subset": "half"}]}, "pool.0: subset: 'half': emoca has short, full"),
    (
        {"pool": [MLP | {"loss": {"va_terms": "some"}}]},
        "pool.0.loss.va_terms: 'some': Input should be 'none'",
    ),
    ({"pool": [MLP | {"recipe": {"epoch": 3}}]}, "pool.0.recipe.epoch: 3: unknown field"),
    ({"pool": [MLP, MLP]}, "pool: two members are called 'mlp3d-emoca-full-ce-s0'"),
    ({"pool": [MLP], "objective": "ccc"}, "va_terms 'none' trains no ccc; allowed: random, fixed"),
    ({"dataset": "rafdb", "pool": [MLP | {"loss": {"va_terms": "random"}}]}, "va_terms must be 'none': rafdb has no"),
    ({"fusion": {"strategies": ["median"]}}, "fusion.strategies.0: 'median': Input should be 'max', 'min', 'mean' or"),
    ({"fusion": {"weight_3d": [0, 1.2]}}, r"fusion.weight_3d: \[0, 1.2\]: allowed: 'exact', or a range \[low, high\]"),
    ({"fusion": {"weight_3d": [0.7, 0.2]}}, r"fusion.weight_3d: \[0.7, 0.2\]: allowed: 'exact', or a range"),
    (
        {"references": [{"name": "r", "strategy": "mean", "weight_3d": 0.3}]},
        "references.0: .*with 'weighted' only",
    ),
    ({"references": [{"name": "r", "strategy": "weighted", "weight_3d": 2}]}, "references.0.weight_3d: 2: .*less than"),
    ({"protocol": {"kind": "test"}}, "protocol.kind: 'test': Input should be 'dev', 'cross_fitted' or 'paper'"),
    (
        {"pool": [MLP | {"kind": "intermediate", "stochastic_depth": 0}]},
        "pool.0: stochastic_depth: ddamfn has none; remove it",
    ),
    ({"pool": [MLP | {"kind": "intermediate", "width": 16}]}, "width, image_size: only cnn has them, not ddamfn"),
    (
        {"pool": [MLP | {"kind": "intermediate", "backbone": "cnn", "start_from": "face"}]},
        "start_from: cnn starts from random weights; remove it",
    ),
    ({"search": {"budget": "many"}}, "search.budget: 'many': Input should be a valid integer"),
    ({"search": {"budget": True}}, "search.budget: true: no field takes true or false"),
    ({"pool": [MLP | {"recipe": {"base_lr": 1.0}}]}, "pool.0.recipe: base_lr 1 is above max_lr 0.0001"),
    ({"pool": [MLP | {"recipe": {"max_lr": float("inf")}}]}, "pool.0.recipe.max_lr: inf: .*finite"),
    (
        {"pool": [MLP | {"loss": {"va_terms": "fixed", "alpha": 0, "beta": 0, "gamma": 0}}]},
        "pool.0.loss: alpha, beta and gamma are all 0",
    ),
    ({"pool": [{"kind": "imported", "name": "my net", "view": "2d"}]}, "pool.0.name: 'my net': "),
    ({"resources": {"gpus_per_worker": 1.5}}, "resources.gpus_per_worker: 1.5: a worker takes a whole number of GPUs"),
    ({"resources": {"workers": 0}}, "resources.workers: 0: Input should be greater than or equal to 1"),
    ({"resources": {"workers": 40}}, "recipe.batch_size 64 is not a multiple of 40 workers, 2 or more each"),
    ({"dataset": "rafdb", "pool": [MLP], "data": {"samples": 400}}, "data: only faces are drawn, rafdb is imported"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES])
def test_a_mistake_names_file_field_value_and_what_is_allowed(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(Ig3dError, match=rf"space.yaml: .*{message}") as refused:
        load_space(write(tmp_path, BASE | change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1, 2", "space.yaml: line 1: not YAML"),
        ("a: 1\nb: 2\na: 3", "space.yaml: line 1: not YAML: duplicate key 'a'"),
        ("- a", r"a search space is a mapping \(dataset: ..., pool: ...\), not list"),
        ("", "not NoneType"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(Ig3dError, match=message):
        load_space(write(tmp_path, content))


def test_a_missing_file_says_where_the_shipped_ones_are(tmp_path: Path) -> None:
    with pytest.raises(Ig3dError, match="no such file; the shipped ones are in search_spaces/"):
        load_space(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget", "write it as field=value"),
        ("pool.7.width=3", "there is no such field"),
        ("search.budget.x=3", "search.budget: "),
        ("serch.budget=3", "serch: .*unknown field"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(Ig3dError, match=message):
        load_space(write(tmp_path, BASE), (override,))


def test_an_unknown_data_set_is_one_line_from_python_too() -> None:
    with pytest.raises(Ig3dError, match=r"^dataset: 'nope': allowed: .*faces") as error:
        SearchSpace.model_validate({"dataset": "nope", "objective": "accuracy", "pool": []})
    assert "\n" not in str(error.value)
