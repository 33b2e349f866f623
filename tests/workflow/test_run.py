"""The whole job, as a user runs it: undisturbed, killed at three moments, on S3, twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import SMALL_SPACE
from faulty_s3 import FAULTS, FaultyProxy

from ig3d_ray.storage.store import Store
from ig3d_ray.training.cost_model import read_timings

pytestmark = pytest.mark.slow
SECONDS = 240


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "ig3d_ray", *words]


def run_small(storage: str, *more: str) -> dict:
    done = subprocess.run(
        command("run", str(SMALL_SPACE), "--storage", storage, "--json", *more),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    return json.loads(done.stdout)


def lasting(store: Store) -> list[str]:
    """The names that every run leaves, but those of searches and of what trainings took."""
    return [name for name in store.names() if not name.startswith(("searches/", "timings/"))]


def spec_bytes(store: Store) -> bytes:
    (name,) = [n for n in store.names("searches") if n.endswith("best_ensemble.json")]
    return store.read(name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict]:
    store = Store(str(tmp_path_factory.mktemp("undisturbed")))
    return store, run_small(store.uri)


def test_a_run_trains_every_member_and_exports_a_spec(undisturbed: tuple[Store, dict]) -> None:
    store, message = undisturbed
    assert message["trained"] == 5
    assert message["missing"] == {}
    assert message["failed"] == {}
    for kind in ("checkpoint.pt", "spec.json", "history.parquet"):
        assert sum(name.endswith(kind) for name in store.names("members/faces")) == 5
    assert sum(name.endswith(".parquet") for name in store.names("logits/faces")) == 10
    assert store.names("train") == store.names("tune") == []
    timings = read_timings(store, "faces")
    assert len(timings) == 5
    assert all(t.device == "cpu" and t.epochs <= t.most == 3 and t.seconds > 0 for t in timings)
    spec = json.loads(spec_bytes(store))
    assert spec["scores"]["report"]["metrics"]["accuracy"]["value"] == message["report"]["value"]
    assert store.uri not in spec_bytes(store).decode()


def test_a_second_run_trains_nothing_and_says_the_same(undisturbed: tuple[Store, dict]) -> None:
    store, message = undisturbed
    before = {name: store.read(name) for name in store.names()}
    again = run_small(store.uri)
    assert again | {"trained": 5} == message
    assert again["trained"] == 0
    assert {name: store.read(name) for name in store.names()} == before


def test_predict_reproduces_the_reported_number_without_ray(undisturbed: tuple[Store, dict], tmp_path: Path) -> None:
    store, message = undisturbed
    out = tmp_path / "preds.parquet"
    words = ["ig3d", "predict", message["spec"], "--storage", store.uri, "--out", str(out), "--json"]
    blocked = f"import sys; sys.modules['ray'] = None; sys.argv = {words!r}; from ig3d_ray.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["reported"] == message["report"]["value"]
    assert said["compared_score"] == pytest.approx(message["report"]["value"], abs=1e-9)
    assert pq.read_table(out).num_rows == said["samples"]


@pytest.mark.long
def test_the_same_run_on_an_s3_that_fails_now_and_then_gives_the_same_spec(
    undisturbed: tuple[Store, dict], s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = undisturbed
    storage = f"{bucket}/ig3d"
    proxy = FaultyProxy(s3_server, share=0.1)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.url)
        run_small(storage)
    proxy.close()
    assert all(proxy.done[fault] for fault in FAULTS), proxy.done
    there = Store(storage)
    assert spec_bytes(there) == spec_bytes(store)
    assert lasting(there) == lasting(store)


def training_has_begun(store: Store) -> bool:
    return any("/checkpoint" in n or "state.pt" in n for n in store.names("train"))


def a_member_is_being_cached(store: Store) -> bool:
    done = {n.split("/")[2] for n in store.names("members/faces") if n.endswith("spec.json")}
    cached = {n.split("/")[2] for n in store.names("logits/faces") if n.endswith("test.parquet")}
    return bool(done - cached)


def the_search_has_begun(store: Store) -> bool:
    return any("/rounds/" in name for name in store.names("searches"))


def processes_of(session: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,sid="], capture_output=True, text=True, check=True).stdout
    return [int(pid) for pid, sid in (line.split() for line in listed.splitlines()) if int(sid) == session]


def kill_when(store: Store, moment: Callable[[Store], bool]) -> None:
    """Start a run and `kill -9` its driver when the moment has come; see its Ray off too."""
    log = Path(f"{store.uri}.{moment.__name__}.log")
    with log.open("w") as messages:
        driver = subprocess.Popen(
            command("run", str(SMALL_SPACE), "--storage", store.uri, "--set", "resources.checkpoint_minutes=0"),
            stdout=messages,
            stderr=messages,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SECONDS
        while not moment(store):
            assert driver.poll() is None, f"over before {moment.__name__}: {log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{moment.__name__} never came"
            time.sleep(0.01)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        # Ray's workers see that the driver is gone within 3 s; two of its agents linger.
        time.sleep(4)
        for pid in processes_of(driver.pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.long
def test_two_drivers_on_one_storage_share_the_work_and_end_with_the_same_spec(
    undisturbed: tuple[Store, dict], tmp_path: Path
) -> None:
    untouched, _ = undisturbed
    store = Store(str(tmp_path / "two"))
    drivers = [
        subprocess.Popen(
            command("run", str(SMALL_SPACE), "--storage", store.uri, "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ended = [driver.communicate(timeout=SECONDS) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], ended
    cached = sum(err.count("done and cached") for _, err in ended)
    assert cached == 5, "a member was trained twice"
    assert any("another driver" in err for _, err in ended)
    assert spec_bytes(store) == spec_bytes(untouched)
    assert lasting(store) == lasting(untouched)


def test_ctrl_c_says_how_to_continue(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "interrupted"))
    driver = subprocess.Popen(
        command("run", str(SMALL_SPACE), "--storage", store.uri),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in its background has them ignore Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert driver.stderr is not None
    for line in driver.stderr:
        if "to train" in line:
            break
    driver.send_signal(signal.SIGINT)
    assert "interrupted; finished work is stored: the same command resumes from there" in driver.stderr.read()
    assert driver.wait(timeout=60) == 130
    driver.stderr.close()


def checkpoints(store: Store) -> dict[str, int]:
    names = [name for name in store.names("members") if name.endswith("checkpoint.pt")]
    return {name: os.stat(store.locate(name)).st_mtime_ns for name in names}


def test_killed_three_times_the_run_ends_with_the_same_spec(undisturbed: tuple[Store, dict], tmp_path: Path) -> None:
    untouched, _ = undisturbed
    store = Store(str(tmp_path / "killed"))
    trained: dict[str, int] = {}
    for moment in (training_has_begun, a_member_is_being_cached, the_search_has_begun):
        kill_when(store, moment)
        now = checkpoints(store)
        assert trained.items() <= now.items(), "a finished member was trained again"
        trained = now
    assert len(trained) == 5
    message = run_small(store.uri)
    assert message["trained"] == 0
    assert checkpoints(store) == trained
    assert spec_bytes(store) == spec_bytes(untouched)
    assert lasting(store) == lasting(untouched)
    for name in untouched.names("logits") + untouched.names("members"):
        assert store.read(name) == untouched.read(name), name
    assert not list(Path(store.uri).rglob("*.partial"))
