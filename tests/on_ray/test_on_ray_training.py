"""Ray Train gives what the plain code gives, on one worker, on two, and after a death."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import copy_of, descendants
from trained import train_without_ray

from ig3d_ray.config.resources import Resources
from ig3d_ray.data.samples import Samples
from ig3d_ray.evaluation.logits import LogitStore
from ig3d_ray.models.cnn.spec import CnnSpec
from ig3d_ray.models.intermediate.spec import IntermediateSpec
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.models.recipe import LossSpec, Stage, TrainingRecipe
from ig3d_ray.models.spec import TrainedSpec, fingerprint
from ig3d_ray.storage.parquet import table_from_bytes
from ig3d_ray.storage.store import Store
from ig3d_ray.training.runs import Run, all_cached, make_runs

pytestmark = pytest.mark.slow
EVERY_EPOCH = Resources(checkpoint_minutes=0)
RECIPE = TrainingRecipe(batch_size=16, epochs=6, patience=6, base_lr=1e-4, max_lr=5e-3)


def member(**changes: object) -> Mlp3dSpec:
    fields: dict = {"representation": "emoca", "subset": "short", "width": 16, "recipe": RECIPE}
    return Mlp3dSpec(**(fields | changes))


def run_of(store: Store, samples: Samples, *specs: Mlp3dSpec) -> Run:
    members = [(fingerprint("faces", samples.fingerprint, spec), spec) for spec in specs]
    (one,) = make_runs(store, "faces", members, size=8)
    return one


def test_a_killed_worker_costs_no_member_and_changes_no_weight(
    local_ray: None, faces: tuple[Store, Samples], tmp_path: Path
) -> None:
    from ig3d_ray.on_ray.train import train_runs

    store, samples = faces
    untouched = copy_of(store, tmp_path / "untouched")
    specs = [member(loss=LossSpec(va_terms="random")), member(subset="full")]
    train_without_ray(untouched, samples, run_of(untouched, samples, *specs))
    killed: list[int] = []
    epochs: list[tuple[str, int]] = []

    def kill_at_the_third_epoch(event: dict) -> None:
        if "score" not in event:
            return
        epochs.append((event["member"], event["epoch"]))
        if event["epoch"] >= 3 and event["member"] == specs[1].name and not killed:
            workers = [pid for pid, words in descendants(os.getpid()) if "RayTrainWorker" in words]
            for pid in workers:
                os.kill(pid, 9)
            killed.extend(workers)

    assert train_runs([run_of(store, samples, *specs)], EVERY_EPOCH, kill_at_the_third_epoch) == {}
    assert killed
    first = [epoch for name, epoch in epochs if name == specs[0].name]
    assert first == sorted(set(first)), "the finished member was trained again"
    before = {name: untouched.read(name) for name in untouched.names("members") + untouched.names("logits")}
    for name, data in before.items():
        assert store.read(name) == data, name


@dataclass(frozen=True)
class OnTwo:
    """A run on two workers: a network of an image that can't be read, a member whose loss explodes, and two good ones.

    Attributes:
        store: where it was. samples: of it, one of them with a broken image. run: the members in this order.
        failed: fingerprint -> why.
    """

    store: Store
    samples: Samples
    run: Run
    failed: dict[str, str]


# Batch norm and dropout are each worker's own, so the curves agree up to that noise; this network has little of it.
CURVE = member(
    variant="published_va",
    width=64,
    recipe=RECIPE.model_copy(update={"batch_size": 32, "epochs": 8, "patience": None, "max_lr": 2e-3}),
    loss=LossSpec(va_terms="fixed"),
)


@pytest.fixture(scope="module")
def on_two(local_ray: None, small_faces: tuple[Store, Samples], tmp_path_factory: pytest.TempPathFactory) -> OnTwo:
    from ig3d_ray.on_ray.train import train_runs

    drawn, samples = small_faces
    store = copy_of(drawn, tmp_path_factory.mktemp("on-two"))
    store.write("datasets/faces/a.png", b"no image")
    images, broken = samples.table["image"].to_pylist(), samples.ids.tolist().index(samples.in_split("train").ids[0])
    column = samples.table.column_names.index("image")
    images[broken] = "a.png"
    samples = Samples("faces", samples.table.set_column(column, samples.table.field(column), [images]))
    samples.save(store)
    specs: list[TrainedSpec] = [
        CnnSpec(width=4, image_size=32, workers=2, recipe=RECIPE),
        member(recipe=RECIPE.model_copy(update={"max_lr": 1e30}), workers=2),
        member(loss=LossSpec(va_terms="fixed"), workers=2),
        CURVE.model_copy(update={"workers": 2}),
    ]
    members = tuple((fingerprint("faces", samples.fingerprint, spec), spec) for spec in specs)
    run = Run(store.uri, "faces", members)
    # Images that don't fit into memory are read by the worker whose turn it is.
    resources = Resources(workers=2, image_memory_gib=0, max_failures=1)
    return OnTwo(store, samples, run, train_runs([run], resources, lambda event: None))


def test_two_workers_train_and_cache_every_sample_once(on_two: OnTwo) -> None:
    samples, (_, _, (mark, _), _) = on_two.samples, on_two.run.members
    table = LogitStore(on_two.store).read("faces", mark, "test")
    assert sorted(table.ids.tolist()) == sorted(samples.in_split("test").with_feature("emoca").ids.tolist())
    assert table.logits is not None
    labels = dict(zip(samples.ids.tolist(), samples.expression.tolist(), strict=True))
    right = [labels[i] == top for i, top in zip(table.ids.tolist(), table.logits.argmax(axis=1), strict=True)]
    assert sum(right) / len(right) > 0.3


def test_members_that_fail_on_two_workers_cost_the_others_nothing(on_two: OnTwo) -> None:
    (image, _), (explodes, _), *good = on_two.run.members
    assert set(on_two.failed) == {image, explodes}
    assert re.search(r"a\.png: not a readable image", on_two.failed[image])
    assert "lower recipe.max_lr" in on_two.failed[explodes]
    assert all_cached(on_two.store, "faces") == {mark for mark, _ in good}


def test_one_workers_curve_is_two_workers_curve(on_two: OnTwo, tmp_path: Path) -> None:
    store, samples = copy_of(on_two.store, tmp_path / "one"), on_two.samples
    run = run_of(store, samples, CURVE)
    train_without_ray(store, samples, run)
    (one,) = histories(store, run)
    two = histories(on_two.store, on_two.run)[-1]
    assert len(one) == len(two) == 8
    for a, b in zip(one, two, strict=True):
        assert a["lr"] == b["lr"]
        assert b["loss"] == pytest.approx(a["loss"], rel=0.15)
    assert two[-1]["loss"] < 0.7 * two[0]["loss"]
    assert two[-1]["score"] == pytest.approx(one[-1]["score"], abs=0.15)


def histories(store: Store, run: Run) -> list[list[dict[str, float]]]:
    """The history of each member that was trained."""
    names = [f"members/faces/{mark}/history.parquet" for mark, _ in run.members]
    names = [name for name in names if store.exists(name)]
    return [table_from_bytes(store.read(name)).to_pylist() for name in names]


def test_a_killed_cohort_goes_on_and_ends_as_each_member_does_alone(
    local_ray: None, faces: tuple[Store, Samples], tmp_path: Path
) -> None:
    from ig3d_ray.on_ray.train import train_runs

    store, samples = faces
    alone = copy_of(store, tmp_path / "alone")
    # smirk is missing for a few faces, so its epochs may have another number of steps: it may be a cohort of its own.
    specs = [
        member(representation=r, loss=LossSpec(va_terms=terms), seed=seed)
        for seed, (r, terms) in enumerate([("emoca", "random"), ("emoca", "fixed"), ("smirk", "mse"), ("emoca", "mse")])
    ]
    train_without_ray(alone, samples, run_of(alone, samples, *specs))
    expected = histories(alone, run_of(alone, samples, *specs))
    epochs: list[int] = []
    killed: list[int] = []

    def kill_at_the_third_epoch(event: dict) -> None:
        if "score" in event and event["member"] == specs[0].name:
            epochs.append(event["epoch"])
            if event["epoch"] == 3 and not killed:
                killed.extend(pid for pid, words in descendants(os.getpid()) if "RayTrainWorker" in words)
                for pid in killed:
                    os.kill(pid, 9)

    one = run_of(store, samples, *specs)
    assert train_runs([one], EVERY_EPOCH, kill_at_the_third_epoch) == {}
    assert killed
    assert max(epochs) == 6
    assert len(epochs) < 12, "it began anew"
    for (mark, spec), theirs in zip(one.members, expected, strict=True):
        ours = table_from_bytes(store.read(f"members/faces/{mark}/history.parquet")).to_pylist()
        assert len(ours) == len(theirs) == 6
        for row, wanted in zip(ours, theirs, strict=True):
            for key, value in wanted.items():
                assert row[key] == pytest.approx(value, rel=1e-4, abs=1e-5), (spec.name, key)
        for split in ("dev", "test"):
            mine, other = (LogitStore(s).read("faces", mark, split) for s in (store, alone))
            there = samples.in_split(split).with_feature(spec.representation)
            assert mine.ids.tolist() == other.ids.tolist() == sorted(there.ids.tolist())
            assert mine.logits is not None
            assert np.allclose(mine.logits, other.logits, atol=1e-3)


def test_what_was_under_way_goes_on_and_the_others_begin(local_ray: None, faces: tuple[Store, Samples]) -> None:
    from ig3d_ray.on_ray.train import train_runs

    store, samples = faces
    specs = [member(loss=LossSpec(va_terms="random"), seed=seed) for seed in range(3)]
    one = run_of(store, samples, *specs)

    def kill_for_good(event: dict) -> None:
        if event.get("epoch") == 3:
            for pid, words in descendants(os.getpid()):
                if "RayTrainWorker" in words:
                    os.kill(pid, 9)

    failed = train_runs([one], Resources(cohort=1, max_failures=0, checkpoint_minutes=0), kill_for_good)
    assert set(failed) == {mark for mark, _ in one.members}
    epochs: list[tuple[str, int]] = []
    again = train_runs([one], Resources(), lambda e: epochs.append((e["member"], e["epoch"])) if "score" in e else None)
    assert again == {}
    assert all(mark in all_cached(store, "faces") for mark, _ in one.members)
    assert min(epoch for name, epoch in epochs if name == specs[0].name) > 1
    assert min(epoch for name, epoch in epochs if name == specs[1].name) == 1

    # As if it had been killed while the third member was published; and of the first the logits are lost, which are
    # written again from its checkpoint.
    (first, _), _, (mark, last) = one.members
    published = {name: store.read(name) for name in store.names("members/faces") + store.names("logits/faces")}
    for name in (f"members/faces/{mark}", f"logits/faces/{mark}", LogitStore.path("faces", first, "test")):
        store.remove(name)
    heard: list[dict] = []
    assert train_runs([one], Resources(), heard.append) == {}
    assert [event["member"] for event in heard if "cached" in event] == [specs[0].name, last.name]
    assert not [event for event in heard if "score" in event], "one was trained again"
    assert {name: store.read(name) for name in published} == published


@dataclass(frozen=True)
class OneRun:
    """A run of members of several kinds, one of which fails, on a few faces; at first there is no room for it.

    Attributes:
        failed: fingerprint -> why. said: what it says of itself.
    """

    store: Store
    samples: Samples
    run: Run
    failed: dict[str, str]
    said: list[str]


@pytest.fixture(scope="module")
def one_run(local_ray: None, small_faces: tuple[Store, Samples], tmp_path_factory: pytest.TempPathFactory) -> OneRun:
    import ray
    from ray.util import placement_group, remove_placement_group

    from ig3d_ray.on_ray.train import train_runs

    drawn, samples = small_faces
    store = copy_of(drawn, tmp_path_factory.mktemp("one-run"))
    table = samples.with_feature("emoca").table
    few = [i for i, split in enumerate(table["split"].to_pylist()) if split != "train"][::12]
    few += [i for i, split in enumerate(table["split"].to_pylist()) if split == "train"][:32]
    samples = Samples("faces", table.take(few))
    samples.save(store)
    # One label that is far off makes a huge loss, and a learning rate that survives the others' epochs does not then.
    sgd = RECIPE.model_copy(update={"optimizer": "sgd"})
    first, third = (member(loss=LossSpec(va_terms="mse", w1=w1), recipe=sgd) for w1 in (5, 6))
    short = RECIPE.model_copy(update={"epochs": 3})
    twice = Stage(loss=LossSpec(va_terms="ccc"), recipe=short)
    ddamfn = TrainingRecipe(batch_size=16, epochs=2, schedule="constant", max_lr=1e-3, augment="ddamfn")
    specs: list[TrainedSpec] = [
        first,
        first.model_copy(update={"loss": LossSpec(va_terms="mse", w1=1e38)}),
        third,
        member(loss=LossSpec(va_terms="mse"), recipe=short, monitor="ccc_mean", then=twice),
        IntermediateSpec(representation="emoca", subset="short", recipe=ddamfn, loss=LossSpec(va_terms="random")),
    ]
    members = tuple((fingerprint("faces", samples.fingerprint, spec), spec) for spec in specs)
    run = Run(store.uri, "faces", members)
    others, said = placement_group([{"CPU": 2.0}]), []
    ray.get(others.ready())

    def make_room_when_it_waits(event: dict) -> None:
        if "said" in event:
            said.append(event["said"])
            remove_placement_group(others)

    with pytest.MonkeyPatch.context() as patch:
        # Ray Train gives up after four times as long. If it withdraws a request while that is being granted, Ray 2.60
        # never frees the CPUs, and the next training waits for them forever: so not much shorter.
        patch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "2")
        failed = train_runs([run], Resources(events="tensorboard"), make_room_when_it_waits)
    return OneRun(store, samples, run, failed, said)


def test_a_training_waits_for_room_however_long_it_takes(one_run: OneRun) -> None:
    (first, *others) = one_run.run.members
    assert one_run.said == [f"{first[1].name} and {len(others)} more: waiting for room for 1 x 1 CPUs"]
    assert len(one_run.failed) < len(one_run.run.members)


def test_a_member_of_a_cohort_that_fails_keeps_its_last_good_weights(one_run: OneRun) -> None:
    store, (good, (bad, _), other, *_) = one_run.store, one_run.run.members
    ((mark, why),) = one_run.failed.items()
    assert mark == bad
    assert why.startswith("the loss became ")
    assert "in epoch 1, about step" in why
    assert json.loads(store.read(f"members/faces/{mark}/failed.json"))["why"] == why
    cached = all_cached(store, "faces")
    assert {good[0], other[0]} <= cached
    assert mark not in cached


def test_two_trainings_of_a_member_and_its_events(one_run: OneRun) -> None:
    store, mark = one_run.store, one_run.run.members[3][0]
    history = table_from_bytes(store.read(f"members/faces/{mark}/history.parquet")).to_pylist()
    assert [(row["stage"], row["epoch"]) for row in history] == [(s, e) for s in (1, 2) for e in (1, 2, 3)]
    table = LogitStore(store).read("faces", mark, "test")
    assert table.logits is None
    assert table.va is not None
    events = [name for name in store.names(f"members/faces/{mark}") if "/tensorboard/" in name]
    assert len(events) == 1
    assert b"dev_ccc_mean" in store.read(events[0])


def test_images_with_parameters_train_through_ray_and_their_logits_are_cached(one_run: OneRun) -> None:
    store, (mark, spec) = one_run.store, one_run.run.members[4]
    found = LogitStore(store).read("faces", mark, "test")
    there = one_run.samples.in_split("test")
    for feature in spec.features:
        there = there.with_feature(feature)
    assert sorted(found.ids.tolist()) == sorted(there.ids.tolist())
    history = table_from_bytes(store.read(f"members/faces/{mark}/history.parquet")).to_pylist()
    assert history[1]["loss"] < history[0]["loss"]
