"""Leases: one of many gets a name, the living keep it, the dead lose it, and nothing is left behind."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import leases as rules
from ig3d_ray.storage.leases import Leases, exclusive
from ig3d_ray.storage.store import Store


def test_of_many_drivers_one_gets_a_name_and_nothing_is_left(store: Store) -> None:
    drivers = [Leases(Store(store.uri)) for _ in range(6)]
    for driver in drivers:
        driver.__enter__()
    with ThreadPoolExecutor(len(drivers)) as pool:
        owners = list(pool.map(lambda driver: driver.acquire("members/x"), drivers))
    (winner,) = [driver for driver, owner in zip(drivers, owners, strict=True) if owner is None]
    assert {owner.token for owner in owners if owner is not None} == {winner.token}
    assert winner.acquire("members/x") is None
    loser = next(driver for driver in drivers if driver is not winner)
    winner.release("members/x")
    assert loser.acquire("members/x") is None
    for driver in drivers:
        driver.__exit__()
    assert store.names() == []


def kill_a_driver_that_claims(store: Store, name: str) -> None:
    code = (
        "import os, sys; from ig3d_ray.storage.leases import Leases; from ig3d_ray.storage.store import Store\n"
        f"leases = Leases(Store({store.uri!r})); leases.__enter__()\n"
        f"assert leases.acquire({name!r}) is None; os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    assert store.names("leases/" + name)


def test_a_killed_drivers_claim_goes_at_once_to_one_on_the_same_machine(store: Store) -> None:
    kill_a_driver_that_claims(store, "members/x")
    one, other = Leases(store), Leases(Store(store.uri))
    with one, other:
        with ThreadPoolExecutor(2) as pool:
            owners = list(pool.map(lambda driver: driver.acquire("members/x"), (one, other)))
        assert sorted(owner is None for owner in owners) == [False, True]
    assert store.names() == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells processes apart by Linux's /proc")
def test_another_process_of_a_dead_drivers_number_does_not_keep_its_claim(store: Store) -> None:
    dead = Leases(store)
    dead.__enter__()
    dead.acquire("members/x")
    dead._over.set()
    with subprocess.Popen(["sleep", "60"]) as unrelated, Leases(Store(store.uri)) as here:
        for began, holds in ((rules._began(unrelated.pid), True), (1, False)):
            sign = rules.Owner(dead.token, "host", unrelated.pid, rules._machine(), time.time(), began)
            store.write(f"leases/drivers/{dead.token}.json", json.dumps(vars(sign)).encode())
            assert (here.acquire("members/x") is not None) == holds
        unrelated.kill()


def test_who_looks_while_a_claim_is_given_back_looks_again(store: Store) -> None:
    with Leases(store) as one, Leases(Store(store.uri)) as other:
        listed = other.store.names
        assert one.acquire("members/x") is None

        def list_and_lose(prefix: str = "") -> list[str]:
            found = listed(prefix)
            one.release("members/x")
            return found

        other.store.names = list_and_lose  # type: ignore[method-assign]
        assert other.acquire("members/x") is None


def test_a_sign_that_cannot_be_read_is_no_dead_drivers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with Leases(store) as one, Leases(Store(store.uri)) as other:
        assert one.acquire("members/x") is None
        read = Store.read_if_there

        def refused(self: Store, name: str) -> bytes | None:
            return refuse() if "drivers" in name else read(self, name)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "read_if_there", refused)
            with pytest.raises(Ig3dError, match="no"):
                other.acquire("members/x")
        assert other.acquire("members/x") is not None


def test_a_stray_file_among_claims_is_passed_over(store: Store) -> None:
    store.write("leases/members/x/.DS_Store", b"")
    with Leases(store) as leases:
        assert leases.acquire("members/x") is None


def test_elsewhere_a_driver_is_given_up_when_it_has_been_silent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(rules, "_machine", lambda: "another machine")
        kept = Leases(store)
        kept.__enter__()
        kept.acquire("members/x")
        kept._over.set()
    with Leases(store) as here:
        owner = here.acquire("members/x")
        assert owner is not None
        assert owner.machine == "another machine"
        # Its clock may say what it likes: the storage's time of its heartbeat counts.
        sign = json.loads(store.read(f"leases/drivers/{kept.token}.json")) | {"beats": time.time() + 3600, "new": 1}
        store.write(f"leases/drivers/{kept.token}.json", json.dumps(sign).encode())
        assert here.acquire("members/x") is not None
        monkeypatch.setattr(rules, "EXPIRES_SECONDS", -5.0)
        assert here.acquire("members/x") is None
        # The silent one comes back: it learns of it, and must not take away what is no longer its own.
        monkeypatch.setattr(rules, "EXPIRES_SECONDS", 60.0)
        with pytest.raises(Ig3dError, match="another driver took it over"):
            kept.verify("members/x")
        kept.release("members/x")
        assert here.store.names("leases/members/x") == ["leases/members/x/000001"]


def test_a_driver_that_cannot_show_itself_stops(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(rules, "EXPIRES_SECONDS", 0.4)
    leases = Leases(Store(str(tmp_path)))
    with leases:
        time.sleep(0.6)
        leases.check()
        monkeypatch.setattr(Store, "write", refuse)
        time.sleep(0.6)
        with pytest.raises(Ig3dError, match=r"could not be written for .* another driver may have taken over"):
            leases.check()


def test_a_driver_that_was_asleep_knows_it(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with Leases(Store(str(tmp_path))) as leases:
        leases.check()
        modified = Store.modified
        with monkeypatch.context() as patch:
            # Its own clock stood still meanwhile; the storage's did not.
            later = timedelta(seconds=rules.EXPIRES_SECONDS + 1)
            patch.setattr(Store, "modified", lambda self, name: modified(self, name) + later)
            leases._beat()
        with pytest.raises(Ig3dError, match="another driver may have taken over"):
            leases.check()


def refuse(*_: object) -> NoReturn:
    raise Ig3dError("no")


def test_who_waits_begins_when_the_other_has_ended(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rules, "WAIT_SECONDS", 0.05)
    caplog.set_level("INFO", "ig3d_ray")
    store, order = Store(str(tmp_path)), []

    def second() -> None:
        with exclusive(Store(store.uri), "search"):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with exclusive(store, "search"):
            waiting = pool.submit(second)
            time.sleep(0.4)
            order.append("first")
        waiting.result(timeout=10)
    assert order == ["first", "second"]
    assert caplog.messages == [
        f"another driver ({os.uname().nodename}, pid {os.getpid()}) works on search: waiting for it"
    ]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"pid": "x", "beats": [], "host": 7}', b"\xff\xfe", b"[" * 10_000]
)
def test_a_heartbeat_that_is_none_is_judged_by_its_age(content: bytes, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("leases/members/x/000000", b"someone")
    store.write("leases/drivers/someone.json", content)
    with Leases(store) as here:
        owner = here.acquire("members/x")
        assert owner is not None
        assert owner.host == "an unknown machine"
        long_ago = time.time() - 120
        os.utime(tmp_path / "leases/drivers/someone.json", (long_ago, long_ago))
        assert here.acquire("members/x") is None


def test_where_the_storage_has_no_times_a_change_is_a_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "modified", lambda self, name: None)
    monkeypatch.setattr(rules, "EXPIRES_SECONDS", 0.3)
    store, sign = Store(str(tmp_path)), "leases/drivers/someone.json"
    store.write("leases/members/x/000000", b"someone")
    with Leases(store) as here:
        for beat in range(3):
            store.write(sign, json.dumps({"beats": beat}).encode())
            assert here.acquire("members/x") is not None
            time.sleep(0.2)
        time.sleep(0.3)
        assert here.acquire("members/x") is None
