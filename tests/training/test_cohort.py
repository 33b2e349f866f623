"""A cohort trains each member to what it would be alone."""

import copy
from typing import Any

import pytest
import torch
from cohort_bench import Bench, specs
from small_members import MLP, RECIPE, ignore

from ig3d_ray.data.samples import Samples
from ig3d_ray.models.checkpoint import from_bytes, to_bytes
from ig3d_ray.models.cnn.spec import CnnSpec
from ig3d_ray.storage.store import Store
from ig3d_ray.training.cohort import CohortTrainer, cohorts
from ig3d_ray.training.state import NonFiniteLoss


@pytest.fixture(scope="module")
def bench(small_faces: tuple[Store, Samples]) -> Bench:
    return Bench(small_faces)


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"clip_norm": 0.5, "optimizer": "sgd", "schedule": "step", "max_lr": 0.05},
        {"sampling": "inverse_frequency", "schedule": "cosine"},
        {"sampling": "min_class", "schedule": "exponential", "optimizer": "adam", "batch_size": 12},
    ],
    ids=["table1", "sgd-clipped", "weighted", "balanced"],
)
def test_a_member_has_in_a_cohort_the_curve_that_it_has_alone(bench: Bench, recipe: dict[str, Any]) -> None:
    members = specs(**recipe)
    alone = [bench.trainer(spec) for spec in members]
    histories = [trainer.run(ignore) for trainer in alone]
    assert len({len(history) for history in histories}) > 1 or recipe, "they should end at different epochs"
    together = [bench.trainer(spec) for spec in members]
    ended = CohortTrainer(together).run(lambda epochs, current: None)
    for spec, history, end, one, other in zip(members, histories, ended, alone, together, strict=True):
        assert end.error is None
        assert len(end.history) == len(history), spec.name
        for expected, row in zip(history, end.history, strict=True):
            assert row.keys() == expected.keys()
            for name in expected:
                assert row[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), (spec.name, name)
        for name, value in one.network.state_dict().items():
            assert torch.allclose(value.float(), other.network.state_dict()[name].float(), atol=1e-4), name


def test_a_cohort_goes_on_from_any_epoch_and_step(bench: Bench) -> None:
    members = specs()
    states: list[bytes] = []
    whole = [bench.trainer(spec) for spec in members]
    steps: list[int] = []

    def on_step(current: Any) -> None:
        steps.append(1)
        if len(steps) % 11 == 5:
            states.append(to_bytes(current()))

    ended = CohortTrainer(whole).run(lambda epochs, current: states.append(to_bytes(current())), on_step=on_step)
    assert len(states) > len(steps) // 11 > 2
    for number, state in enumerate(states, 1):
        resumed = [bench.trainer(spec) for spec in members]
        again = CohortTrainer(resumed).run(lambda epochs, current: None, from_bytes(state, "state"))
        assert [end.history for end in again] == [end.history for end in ended], number
        for one, other in zip(whole, resumed, strict=True):
            for name, value in one.network.state_dict().items():
                assert torch.equal(value, other.network.state_dict()[name]), (number, name)


def test_a_member_that_fails_leaves_the_others_alone(bench: Bench) -> None:
    members = specs()[:3]
    healthy = [bench.trainer(spec) for spec in members]
    expected = CohortTrainer(healthy).run(lambda epochs, current: None)
    trainers = [bench.trainer(spec) for spec in members]
    with torch.no_grad():
        trainers[1].network.network.fc1.weight[0, 0] = torch.nan  # type: ignore[union-attr, operator, index]
    ended = CohortTrainer(trainers).run(lambda epochs, current: None)
    assert isinstance(ended[1].error, NonFiniteLoss)
    assert "the loss became nan in epoch 1, about step 1; lower recipe.max_lr" in str(ended[1].error)
    for index in (0, 2):
        assert ended[index].error is None
        assert [row["score"] for row in ended[index].history] == [row["score"] for row in expected[index].history]


def test_who_can_train_together() -> None:
    members = [(str(i), spec) for i, spec in enumerate(specs())]
    odd = [
        ("wide", MLP.model_copy(update={"width": 32})),
        ("masked", MLP.model_copy(update={"recipe": RECIPE.model_copy(update={"mask": 0.1})})),
        ("image", CnnSpec(recipe=RECIPE)),
        ("parallel", MLP.model_copy(update={"workers": 2})),
    ]
    groups = cohorts([*members, *odd], lambda spec: 10, 32)
    assert [[name for name, _ in group] for group in groups] == [
        ["0", "1", "2", "3"],
        *[[name] for name, _ in odd],
    ]
    by_steps = cohorts(members, lambda spec: 10 if spec.features == ("emoca",) else 11, 32)
    assert [[name for name, _ in group] for group in by_steps] == [["0", "2"], ["1", "3"]]
    assert [len(group) for group in cohorts(members, lambda spec: 10, 3)] == [3, 1]
    assert [len(group) for group in cohorts(members, lambda spec: 10, 32, widest=16)] == [4]
    assert [len(group) for group in cohorts(members, lambda spec: 10, 32, widest=15)] == [1, 1, 1, 1]
    assert [len(group) for group in cohorts(copy.copy(members), lambda spec: 10, 1)] == [1, 1, 1, 1]


def test_raw_parameters_are_released_while_a_cohort_trains_and_read_again(bench: Bench) -> None:
    members = specs()
    trainers = [bench.trainer(spec) for spec in members]
    inputs = [trainer.train.x for trainer in trainers]
    before = [one.parts[0].clone() for one in inputs]
    held: list[bool] = []
    first = CohortTrainer(trainers).run(lambda epochs, current: held.append(any(one._parts for one in inputs)))
    assert held
    assert not any(held)
    assert len(inputs[0]) == len(before[0])
    assert all(torch.equal(one.parts[0], raw) for one, raw in zip(inputs, before, strict=True))
    again = CohortTrainer([bench.trainer(spec) for spec in members]).run(lambda epochs, current: None)
    assert [end.history for end in again] == [end.history for end in first]
