"""Leases under every order of events: drivers that end, die or are paused while others look, and clocks that are wrong.

The drivers run the real code, in threads, on a storage in memory; each call to the storage waits for its turn, and a
seed decides whose turn it is.
"""

import json
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import leases as rules
from ig3d_ray.storage.leases import Leases, Owner

ORDERS = int(os.environ.get("IG3D_FUZZ", "400"))
NAME = "work"


class Killed(BaseException):
    """The driver's process is gone."""


@dataclass
class World:
    """Threads of which one runs at a time, and a storage with its own clock.

    Attributes:
        seed: of the order. files: name -> content and time. now: the storage's time.
        events: what the drivers did: (driver, "publishes" or "published").
    """

    seed: int
    files: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    now: float = 1e9
    events: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random, self.change = random.Random(self.seed), threading.Condition()
        self.waiting: set[str] = set()
        self.running: set[str] = set()
        self.turn = ""
        self.dead: set[str] = set()

    def wait_for_turn(self, driver: str) -> None:
        with self.change:
            self.waiting.add(driver)
            self.change.notify_all()
            self.change.wait_for(lambda: self.turn == driver)
            self.turn = ""
            self.waiting.discard(driver)
        if driver in self.dead:
            raise Killed

    def run(self, drivers: dict[str, Callable[[], None]], may_die: bool, may_pause: bool) -> None:
        def thread(name: str, work: Callable[[], None]) -> None:
            try:
                self.wait_for_turn(name)
                work()
            except Killed:
                pass
            finally:
                with self.change:
                    self.running.discard(name)
                    self.change.notify_all()

        self.running = set(drivers)
        threads = [threading.Thread(target=thread, args=one, daemon=True) for one in drivers.items()]
        for one in threads:
            one.start()
        while True:
            with self.change:
                done = self.change.wait_for(lambda: not self.turn and self.waiting == self.running, timeout=20)
                assert done, "a driver does not go on"
                if not self.running:
                    break
                chosen = self.random.choice(sorted(self.waiting))
                if may_die and self.random.random() < 0.02:
                    self.dead.add(chosen)
                if may_pause and self.random.random() < 0.05:
                    # Everybody else goes on with their heartbeats; one machine stands still.
                    self.now += 100
                    for name in self.running - {chosen} - self.dead:
                        self.beat(name)
                self.now += 0.01
                self.turn = chosen
                self.change.notify_all()
        for one in threads:
            one.join()

    def beat(self, driver: str) -> None:
        sign = f"leases/drivers/{driver}.json"
        if sign in self.files:
            self.files[sign] = self.files[sign][0], self.now


class Turns:
    """A driver's view of the storage: each call waits for its turn, and is then done at once."""

    def __init__(self, world: World, driver: str) -> None:
        self.world, self.driver = world, driver

    def _turn(self) -> None:
        self.world.wait_for_turn(self.driver)

    def names(self, prefix: str = "") -> list[str]:
        self._turn()
        return sorted(name for name in self.world.files if name.startswith(f"{prefix}/"))

    def read_if_there(self, name: str) -> bytes | None:
        self._turn()
        return self.world.files.get(name, (None, 0.0))[0]

    def modified(self, name: str) -> datetime | None:
        self._turn()
        found = self.world.files.get(name)
        return None if found is None else datetime.fromtimestamp(found[1], UTC)

    def create(self, name: str, data: bytes) -> bool:
        self._turn()
        if name in self.world.files:
            return self.world.files[name][0] == data
        self.world.files[name] = data, self.world.now
        return True

    def remove(self, name: str) -> None:
        self._turn()
        for one in [one for one in self.world.files if one == name or one.startswith(f"{name}/")]:
            del self.world.files[one]

    def locate(self, name: str) -> str:
        return name


def driver(world: World, name: str, times: int, clock_error: float) -> Callable[[], None]:
    """A driver that claims the work, publishes and gives it back, some times over."""
    leases = Leases(Turns(world, name))  # type: ignore[arg-type]
    leases.token = name
    # By its own clock, which may be wrong by a minute, in a heartbeat with a field of a later version.
    owner = vars(Owner(name, machine=f"of {name}", beats=world.now + clock_error)) | {"later": [1]}
    world.files[f"leases/drivers/{name}.json"] = json.dumps(owner).encode(), world.now

    def work() -> None:
        left = times
        for _ in range(12):
            # Its heartbeat goes on while it works.
            world.beat(name)
            leases._clock = world.now, rules.time.monotonic()
            if leases.acquire(NAME) is not None:
                continue
            try:
                leases.verify(NAME)
                world.events.append((name, "publishes"))
                world.wait_for_turn(name)
                world.events.append((name, "published"))
            except Ig3dError:
                world.events.append((name, "lost it"))
                return
            leases.release(NAME)
            left -= 1
            if not left:
                break
        world.wait_for_turn(name)
        world.files.pop(f"leases/drivers/{name}.json", None)

    return work


def overlaps(events: list[tuple[str, str]], dead: set[str]) -> bool:
    """Whether one began to publish while another one did."""
    open_by: set[str] = set()
    for name, what in events:
        if what == "publishes":
            if open_by - dead:
                return True
            open_by.add(name)
        elif what == "published":
            open_by.discard(name)
    return False


def violations(patch: pytest.MonkeyPatch, may_die: bool, may_pause: bool) -> list[int]:
    patch.setattr(rules, "AGAIN_SECONDS", 0.0)
    patch.setattr(rules, "_machine", lambda: "of nobody")
    found, lost = [], 0
    for seed in range(ORDERS):
        world = World(seed)
        rng = random.Random(seed)
        drivers = {name: driver(world, name, rng.choice((1, 2)), rng.choice((0, -55, 55))) for name in "abc"}
        world.run(drivers, may_die, may_pause)
        if overlaps(world.events, world.dead):
            found.append(seed)
        assert world.events or world.dead, "nobody published"
        lost += sum(what == "lost it" for _, what in world.events)
    assert lost or not may_pause, "no work was ever taken over from a paused driver"
    return found


@pytest.mark.parametrize(("may_die", "may_pause"), [(False, False), (True, False), (False, True), (True, True)])
def test_no_order_of_events_lets_two_publish(may_die: bool, may_pause: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert violations(monkeypatch, may_die, may_pause) == []


def test_without_the_second_look_two_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    def any_lease(*_: Any) -> bool:
        return True

    monkeypatch.setattr(Leases, "_is_mine", any_lease)
    assert violations(monkeypatch, may_die=False, may_pause=False)
