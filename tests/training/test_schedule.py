"""What a training is expected to take, and the order that follows."""

import itertools
import json

import pytest
from conftest import SMALL_SPACE
from hypothesis import given, settings
from hypothesis import strategies as st

from ig3d_ray.cli.app import main
from ig3d_ray.config.load import load_space
from ig3d_ray.config.resources import Resources, places
from ig3d_ray.data.samples import Samples
from ig3d_ray.models.cnn.spec import CnnSpec
from ig3d_ray.models.ddamfn.spec import DdamfnSpec
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.models.recipe import TrainingRecipe
from ig3d_ray.models.spec import TrainedSpec
from ig3d_ray.on_ray.cluster import Slots, workers_that_fit
from ig3d_ray.storage.store import Store
from ig3d_ray.training.cost_model import Estimate, Timing, TimingLog, estimate, read_timings
from ig3d_ray.training.runs import (
    PACK_SECONDS,
    START_SECONDS,
    TRAINED_SPLITS,
    Run,
    all_cached,
    all_trained,
    make_runs,
)
from ig3d_ray.training.schedule import forecast, longest_first, makespan, run_seconds
from ig3d_ray.workflow.inventory import take_inventory
from ig3d_ray.workflow.train import Machines, runs_of

MLP = Mlp3dSpec(representation="emoca", subset="full", recipe=TrainingRecipe(epochs=20))
SECONDS = st.lists(st.integers(1, 1000), min_size=1, max_size=7)


def took(spec: TrainedSpec, seconds: float, **more: object) -> Timing:
    """Ten of twenty epochs of a hundred samples, unless given otherwise."""
    usual = {"device": "NVIDIA A10G", "samples": 100, "epochs": 10, "most": 20}
    return Timing(network=spec.cost_key, seconds=seconds, **(usual | more))  # type: ignore[arg-type]


def runs_that_take(seconds: list[int]) -> tuple[list[Run], dict[str, Estimate], set[str]]:
    """A run of one member for each."""
    members = [(f"f{i}", CnnSpec(seed=i)) for i in range(len(seconds))]
    runs = [Run("file:///nowhere", "faces", (member,)) for member in members]
    return runs, {f"f{i}": Estimate(float(s), "measured") for i, s in enumerate(seconds)}, {f for f, _ in members}


def test_what_ran_before_on_this_device_is_taken_as_it_was() -> None:
    known = [took(MLP, 50.0), took(MLP, 70.0), took(MLP, 60.0), took(MLP, 9e9, device="NVIDIA A100-SXM4-40GB")]
    found = estimate(MLP, 300, known, "A10G")
    # Three times the samples, and again half of the epochs that the recipe allows.
    assert found == Estimate(180.0, "measured")


def test_what_ran_on_another_device_is_scaled_by_their_speeds() -> None:
    found = estimate(MLP, 100, [took(MLP, 60.0, device="NVIDIA A100-SXM4-40GB")], "A10G")
    assert found.basis == "scaled"
    assert found.seconds == pytest.approx(60.0 * 312 / 70)


def test_a_trainings_cost_depends_on_network_and_not_on_loss_or_seed() -> None:
    other = MLP.model_copy(update={"seed": 3})
    wider = MLP.model_copy(update={"width": 256})
    assert estimate(other, 100, [took(MLP, 60.0)], "A10G").basis == "measured"
    assert estimate(wider, 100, [took(MLP, 60.0)], "A10G").basis == "assumed"


def test_what_never_ran_is_assumed_from_its_arithmetic() -> None:
    small, large = CnnSpec(width=16), DdamfnSpec()
    on = {device: estimate(large, 10_000, [], device) for device in ("T4", "A10G", "A100", "cpu")}
    assert {found.basis for found in on.values()} == {"assumed"}
    assert on["A100"].seconds <= on["A10G"].seconds <= on["T4"].seconds < on["cpu"].seconds
    assert estimate(small, 10_000, [], "cpu").seconds < on["cpu"].seconds
    assert estimate(large, 20_000, [], "cpu").seconds == pytest.approx(2 * on["cpu"].seconds)
    sharp = DdamfnSpec(recipe=TrainingRecipe(sam_rho=0.05))
    assert estimate(sharp, 10_000, [], "cpu").seconds == pytest.approx(2 * on["cpu"].seconds)


@given(SECONDS, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_longest_first_is_at_most_a_third_longer_than_the_best_order(seconds: list[int], places: int) -> None:
    runs, expected, wanted = runs_that_take(seconds)
    ordered = [run_seconds(run, expected, wanted) for run in longest_first(runs, expected, wanted)]
    assert ordered == sorted(ordered, reverse=True)
    orders = itertools.permutations(ordered) if places > 1 else [ordered]
    best = min(makespan(order, places) for order in orders)
    assert best <= makespan(ordered, places) <= best * (4 / 3 - 1 / (3 * places)) + 1e-6


def test_a_run_takes_what_is_left_of_it() -> None:
    members = tuple((f"f{i}", CnnSpec(seed=i)) for i in range(3))
    run = Run("file:///nowhere", "faces", members)
    expected = {f: Estimate(100.0, "measured") for f, _ in members}
    assert run_seconds(run, expected, {"f0", "f2"}) == START_SECONDS + 200
    assert run_seconds(run, expected, set()) == 0


def test_a_forecast_counts_what_is_missing() -> None:
    runs, expected, wanted = runs_that_take([3600, 7200, 3600, 5])
    found = forecast(runs, expected, wanted - {"f3"}, 2)
    assert (found.trainings, found.runs, found.bases["measured"]) == (3, 3, 3)
    assert found.busy == pytest.approx((14400 + 3 * START_SECONDS) / 3600)
    assert found.hours == pytest.approx((7200 + 2 * START_SECONDS) / 3600)
    assert found.longest == (CnnSpec(seed=1).name, 1, pytest.approx((7200 + START_SECONDS) / 3600))


def test_the_log_of_each_driver_is_remembered_and_a_broken_one_says_nothing(store: Store) -> None:
    for driver, seconds in (("a", 1.0), ("b", 2.0)):
        log = TimingLog(store, "faces", driver)
        log.note({"member": "x", "epoch": 1})
        log.note({"member": "x", "cached": True, "timing": None})
        assert store.names("timings") == ([] if driver == "a" else ["timings/faces/a.json"])
        log.note({"member": "x", "cached": True, "timing": took(MLP, seconds).model_dump()})
    store.write("timings/faces/c.json", b"[{")
    store.write("timings/faces/d.json", b'[{"network": 1}]')
    store.write("timings/other/e.json", json.dumps([took(MLP, 9.0).model_dump()]).encode())
    assert sorted(t.seconds for t in read_timings(store, "faces")) == [1.0, 2.0]


def test_a_member_is_cached_when_its_weights_spec_and_both_tables_are_there(store: Store) -> None:
    for member, files, splits in (
        ("whole", ["checkpoint.pt", "spec.json", "history.parquet"], ["dev", "test"]),
        ("no-spec", ["checkpoint.pt"], ["dev", "test"]),
        ("no-test", ["checkpoint.pt", "spec.json"], ["dev"]),
        ("no-weights", [], ["dev", "test"]),
    ):
        for file in files:
            store.write(f"members/faces/{member}/{file}", b"x")
        for split in splits:
            store.write(f"logits/faces/{member}/{split}.parquet", b"x")
    # What a file browser leaves.
    store.write("members/faces/.DS_Store", b"x")
    store.write("logits/faces/.DS_Store", b"x")
    assert all_trained(store, "faces") == {"whole", "no-test"}
    assert all_cached(store, "faces") == {"whole"}


def on_gpus(monkeypatch: pytest.MonkeyPatch, store: Store, *more: str) -> int:
    monkeypatch.setattr("sys.argv", ["ig3d", "plan", str(SMALL_SPACE), "--storage", store.uri, *more])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_plan_tells_hours_money_and_what_it_assumed(
    small_faces: tuple[Store, Samples], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _ = small_faces
    words = ["--set", "resources.gpus_per_worker=1", "--gpus", "4", "--gpu-type", "T4", "--price", "100000"]
    assert on_gpus(monkeypatch, store, *words) == 0
    message = " ".join(capsys.readouterr().out.split())
    assert "on 4 T4 GPUs" in message
    assert "at 100000 per hour" in message
    assert "5 by the network's arithmetic" in message
    assert f"starting a run takes {START_SECONDS:.0f} s" in message


def test_plan_takes_what_trainings_took_before(
    faces: tuple[Store, Samples], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _ = faces
    space = load_space(SMALL_SPACE, ("resources.gpus_per_worker=1",))
    (cnn,) = [spec for spec in space.trainable() if spec.kind == "cnn"]
    log = TimingLog(store, "faces", "d")
    log.note({"timing": took(cnn, 7200.0, samples=100_000, epochs=3, most=3, device="Tesla T4").model_dump()})
    words = ["--set", "resources.gpus_per_worker=1", "--gpus", "2", "--price", "1"]
    assert on_gpus(monkeypatch, store, *words) == 0
    message = " ".join(capsys.readouterr().out.split())
    assert "on 2 Tesla T4 GPUs" in message
    assert "from: 1 trainings by earlier ones on such a device" in message
    assert "4 by the network's arithmetic" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpus", "8"], "resources.gpus_per_worker is 0"),
        (["--set", "resources.gpus_per_worker=1", "--gpu-type", "Voodoo"], "'Voodoo': its speed is not known"),
        (["--set", "resources.gpus_per_worker=1", "--set", "resources.workers=2", "--gpus", "1"], "takes 2"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    small_faces: tuple[Store, Samples],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert on_gpus(monkeypatch, small_faces[0], *words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_every_trainable_member_of_a_space_is_in_one_run(small_faces: tuple[Store, Samples]) -> None:
    store, _ = small_faces
    space = load_space(SMALL_SPACE)
    inventory = take_inventory(store, space)
    names = [fingerprint for run in runs_of(store, space, inventory) for fingerprint, _ in run.members]
    assert sorted(names) == sorted(w.fingerprint for w in inventory.missing(TRAINED_SPLITS) if w.fingerprint)


def test_short_trainings_share_a_run_and_long_ones_have_their_own() -> None:
    members: list[tuple[str, TrainedSpec]] = [(f"c{i}", CnnSpec(seed=i)) for i in range(7)]
    members += [(f"d{i}", DdamfnSpec(seed=i)) for i in range(3)]
    takes = {f"c{i}": PACK_SECONDS / 3 for i in range(7)} | {f"d{i}": 9000.0 for i in range(3)}
    store = Store("/nowhere")
    packed = [[f for f, _ in run.members] for run in make_runs(store, "faces", members, 8, takes)]
    assert packed == [["c0", "c1", "c2"], ["c3", "c4", "c5"], ["c6"], ["d0"], ["d1"], ["d2"]]
    assert [len(run.members) for run in make_runs(store, "faces", members, 2, dict.fromkeys(takes, 0.0))] == [
        2,
        2,
        2,
        1,
        2,
        1,
    ]


def test_trainings_shorter_than_a_start_share_a_run_whatever_their_kinds() -> None:
    members: list[tuple[str, TrainedSpec]] = [("c0", CnnSpec()), ("c1", CnnSpec(seed=1)), ("d0", DdamfnSpec())]
    members += [("m0", MLP), ("m1", MLP.model_copy(update={"seed": 1}))]
    store = Store("/nowhere")

    def packed(size: int, takes: dict[str, float] | None) -> list[list[str]]:
        return [[f for f, _ in run.members] for run in make_runs(store, "faces", members, size, takes)]

    quick = {"c0": 3.0, "c1": 2.0, "d0": 4.8, "m0": 1.0, "m1": 0.5}
    assert packed(8, quick) == [["c0", "c1", "d0"], ["m0", "m1"]]
    assert packed(8, quick | {"d0": 3.5}) == [["c0", "c1", "d0", "m0", "m1"]]
    assert packed(3, quick | {"d0": 3.5}) == [["c0", "c1", "d0"], ["m0", "m1"]]
    assert packed(8, quick | {"d0": 600.0}) == [["c0", "c1"], ["d0"], ["m0", "m1"]]
    assert packed(8, None) == [["c0", "c1"], ["d0"], ["m0", "m1"]], "nothing is known of how long they take"


def test_runs_keep_their_names_whatever_was_measured_or_cached(faces: tuple[Store, Samples]) -> None:
    store, _ = faces
    space = load_space(SMALL_SPACE)
    before = [run.name for run in runs_of(store, space, take_inventory(store, space))]
    log = TimingLog(store, "faces", "d")
    for spec in space.trainable():
        log.note({"timing": took(spec, 1e6, device="cpu").model_dump()})
    log.write()
    assert len(read_timings(store, "faces")) == 5
    assert [run.name for run in runs_of(store, space, take_inventory(store, space))] == before


def test_a_cohort_shares_the_price_of_its_steps_on_a_gpu() -> None:
    alone, shared = (estimate(MLP, 10_000, [], "A10G", together) for together in (1, 32))
    assert alone.seconds / 32 <= shared.seconds < alone.seconds / 2
    assert estimate(DdamfnSpec(), 10_000, [], "A10G", 32) == estimate(DdamfnSpec(), 10_000, [], "A10G")


def test_a_card_that_is_not_in_the_table_is_taken_for_a_usual_one() -> None:
    there = took(MLP, 60.0, device="NVIDIA GeForce RTX 4090")
    ddamfn = DdamfnSpec()
    assert estimate(MLP, there.samples, [there], "NVIDIA GeForce RTX 4090").basis == "measured"
    assert estimate(ddamfn, 1000, [there], "NVIDIA GeForce RTX 4090") == estimate(ddamfn, 1000, [], "A10G")
    assert estimate(ddamfn, 1000, [], "A10G") != estimate(ddamfn, 1000, [], "H100")


def test_a_plan_takes_the_card_of_earlier_trainings_whatever_it_is(
    faces: tuple[Store, Samples], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _ = faces
    TimingLog(store, "faces", "d").note({"timing": took(MLP, 60.0, device="NVIDIA GeForce RTX 4090").model_dump()})
    assert on_gpus(monkeypatch, store, "--set", "resources.gpus_per_worker=1") == 0
    assert "RTX 4090" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("there", "each", "fit"),
    [(1, 0.2, 5), (1, 0.1, 10), (8, 0.6, 8), (8, 0.3, 24), (4, 0.75, 4), (8, 1, 8), (8, 2, 4), (7, 2, 3), (0, 0.5, 0)],
)
def test_a_part_of_a_gpu_lies_on_one(there: float, each: float, fit: int) -> None:
    assert places(there, each) == fit
    machine, needs = {"CPU": 100.0, "GPU": float(there)}, Resources(gpus_per_worker=each)
    assert workers_that_fit([machine, machine], needs) == 2 * fit
    assert Machines("A10G", int(there), each, workers=2).places == fit // 2


def test_no_more_trainings_side_by_side_than_the_drivers_machine_holds() -> None:
    assert Slots(wanted=8, by_memory=20).count == 8
    assert Slots(wanted=64, by_memory=20).count == 20
    assert Slots(wanted=0, by_memory=0).count == 1
    assert str(Slots(wanted=64, by_memory=20)).startswith("20 of 64 trainings side by side: each takes 0.5 GiB")
