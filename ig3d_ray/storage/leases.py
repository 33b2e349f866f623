"""Leases and heartbeats: two drivers on one storage never train the same member or run the same search at once.

A driver shows that it is alive by a heartbeat: a small file that it rewrites every few seconds. It leases work by
creating a numbered name that must not exist yet, and then looks again: the lease is its own if no other lease of that
work belongs to a living driver. Of two that create leases at the same time at least one sees the other's, and whoever
sees one gives way. The leases of dead drivers are superseded by higher numbers, and deleted with the last one.

Whether a driver elsewhere lives is judged by the times that the storage itself gives to the heartbeats, not by clocks.
"""

import contextlib
import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Seen, Store, at_once

logger = logging.getLogger(__name__)
BEAT_SECONDS = 10.0
# Allows for three lost heartbeats, or half a minute of retries against the storage.
EXPIRES_SECONDS = 60.0
WAIT_SECONDS = 2.0
# At most this long a driver that gave way to one that gave way to it waits before it tries again.
AGAIN_SECONDS = 0.2


@dataclass(frozen=True)
class Owner:
    """A driver, as described by its heartbeat.

    Attributes:
        token: unique.
        host: where it runs.
        pid: number of its process there.
        machine: distinguishes its process numbers from other machines'.
        beats: time of the last heartbeat by its own clock, in seconds since 1970; for people.
        began: start time of its process on its machine, because process numbers are reused; 0 if unknown.
    """

    token: str
    host: str = "an unknown machine"
    pid: int = 0
    machine: str = ""
    beats: float = 0.0
    began: int = 0

    @staticmethod
    def parse(token: str, data: bytes) -> "Owner":
        """A heartbeat of this version or another: fields that it doesn't know are passed over, and so is what is no
        heartbeat at all, which is then judged by its age alone.

        Args:
            token: of the driver.
            data: the file.
        """
        try:
            content = json.loads(data)
            texts = {name: content[name] for name in ("host", "machine") if isinstance(content.get(name), str)}
            numbers = {name: content[name] for name in ("pid", "began") if isinstance(content.get(name), int)}
            return Owner(token, **texts, **numbers, beats=float(content.get("beats", 0.0)))
        except (ValueError, AttributeError, TypeError, RecursionError):
            return Owner(token)


class Leases:
    """The leases of this driver. A context manager: it writes heartbeats inside, and releases all leases at exit.

    Args:
        store: shared by all drivers.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.token = store, uuid.uuid4().hex
        self.held: dict[str, str] = {}
        self._over = threading.Event()
        self._shown, self._was_silent, self._lost = time.monotonic(), False, ""
        # The storage's time at the last heartbeat, and this process's; None if the storage gives none.
        self._clock: tuple[float, float] | None = None
        # Of other drivers, where the storage gives no times: the last heartbeat, and when it was first seen.
        self._seen: dict[str, tuple[bytes, float]] = {}

    def __enter__(self) -> "Leases":
        self._beat()
        self._sweep()
        self._heart = threading.Thread(target=self._live, name="ig3d-leases", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join()
        # First the heartbeat: of a process that is killed between the two, a lease is left, by which one can tell.
        self.store.remove(self._sign(self.token))
        self.release_all()

    def acquire(self, name: str) -> Owner | None:
        """Claim a name: returns None on success, otherwise the driver that holds it."""
        if name in self.held:
            return None
        while True:
            numbers = self._numbers(name)
            owner = self._living(name, numbers)
            if owner is not None:
                return owner
            number = numbers[-1] + 1 if numbers else 0
            mine = paths.lease(name, number)
            if not self.store.create(mine, self.token.encode()):
                continue
            if self._is_mine(name, number):
                self.held[name] = mine
                return None
            self.store.remove(mine)
            time.sleep(AGAIN_SECONDS * random.random())

    def _numbers(self, name: str) -> list[int]:
        """The numbers of all leases of a name, ascending."""
        found = map(paths.parse_lease, self.store.names(paths.lease_folder(name)))
        return sorted(key.number for key in found if key is not None and key.name == name)

    def _living(self, name: str, numbers: Sequence[int]) -> Owner | None:
        """A living driver, other than this one, among the owners of leases; the newest first."""
        for number in reversed(numbers):
            token = self.store.read_if_there(paths.lease(name, number))
            if token is None or token.decode(errors="replace") == self.token:
                continue  # released since it was listed, or this driver's
            owner = self._owner(token.decode(errors="replace"))
            if owner is not None and self._lives(owner):
                return owner
        return None

    def _is_mine(self, name: str, number: int) -> bool:
        """Whether a lease that was just created holds: it is still there, and no other one is a living driver's."""
        numbers = self._numbers(name)
        return number in numbers and self._living(name, [other for other in numbers if other != number]) is None

    def sweep_abandoned(self, below: str) -> None:
        """Delete the leases of dead drivers on work below a folder.

        Args:
            below: the folder's name, such as `searches/`.
        """
        leased = filter(None, map(paths.parse_lease, self.store.names(paths.LEASES)))
        for key in [key for key in leased if key.name.startswith(below)]:
            if self._living(key.name, [key.number]) is None:
                self.store.remove(paths.lease(key.name, key.number))

    def is_abandoned(self, name: str) -> bool:
        """Whether there are leases of a name, all of them of dead drivers."""
        numbers = self._numbers(name)
        return bool(numbers) and self._living(name, numbers) is None

    def verify(self, name: str) -> None:
        """Look again, before something is published, whether the lease of a name is still this driver's.

        Args:
            name: that was acquired.

        Raises:
            Ig3dError: another driver took it over, because this one was silent for so long.
        """
        held = self.held.get(name)
        key = None if held is None else paths.parse_lease(held)
        if key is None or not self._is_mine(name, key.number):
            self._lost = self._lost or name
        self.check()

    def fence(self, name: str, target: str) -> "Fence":
        """What an older holder's publication is refused by; to be taken before what it is based on is read.

        Args:
            name: that was acquired.
            target: the name of what will be published.
        """
        return Fence(self, name, self.store.seen(target))

    def acquire_all(self, names: Sequence[str]) -> dict[str, Owner]:
        """Claim names concurrently: returns the holders of those that this driver didn't get."""
        owners = dict(zip(names, at_once(self.acquire, names), strict=True))
        return {name: owner for name, owner in owners.items() if owner is not None}

    def release_all(self) -> None:
        """Release all leases."""
        at_once(self.release, list(self.held))

    def release(self, name: str) -> None:
        """Release a lease, together with leftover leases of dead drivers on the same name."""
        mine = self.held.pop(name, None)
        key = None if mine is None else paths.parse_lease(mine)
        if mine is None or key is None:
            return
        for number in self._numbers(name):
            # A later one belongs to a driver that took over; an earlier one may be of a driver about to give way.
            if number < key.number and self._living(name, [number]) is None:
                self.store.remove(paths.lease(name, number))
        self.store.remove(mine)

    def forget(self, names: Sequence[str]) -> None:
        """Delete all leases of finished work."""
        leased = map(paths.parse_lease, self.store.names(paths.LEASES))
        left = {lease.name for lease in leased if lease is not None}
        finished = sorted(left & set(names))
        for name in finished:
            self.held.pop(name, None)
        at_once(lambda name: self.store.remove(paths.lease_folder(name)), finished)

    def check(self) -> None:
        """Check that the other drivers still see this driver's heartbeat as current.

        Raises:
            Ig3dError: no heartbeat was written for so long that another driver may have taken over its work, or has.
        """
        self._look_back()
        if self._lost:
            raise Ig3dError(
                f"{self.store.locate(self._lost)}: another driver took it over, because this one was silent for"
                f" {EXPIRES_SECONDS:.0f} s (was the machine paused?); nothing was published; the same command goes on"
            )
        if self._was_silent:
            raise Ig3dError(
                f"{self.store.locate(paths.LEASES)}: could not be written for {EXPIRES_SECONDS:.0f} s, so another"
                " driver may have taken over; is the storage reachable? The same command goes on from here"
            )

    def _owner(self, token: str) -> Owner | None:
        """The driver with this token; None if it has no heartbeat. An unreadable heartbeat is not a missing one."""
        sign = self.store.read_if_there(self._sign(token))
        if sign is None:
            return None
        if self._seen.get(token, (b"", 0.0))[0] != sign:
            self._seen[token] = sign, time.monotonic()
        return Owner.parse(token, sign)

    def _lives(self, owner: Owner) -> bool:
        """Whether a driver may still be running: judged by its process on this machine, elsewhere by the age of its
        last heartbeat in the storage's own time; where that has none, by how long it has not changed."""
        if owner.machine == _machine():
            return _process_exists(owner.pid, owner.began)
        shown = self.store.modified(self._sign(owner.token))
        if self._clock is not None and shown is not None:
            now = self._clock[0] + time.monotonic() - self._clock[1]
            return now - shown.timestamp() < EXPIRES_SECONDS
        return time.monotonic() - self._seen[owner.token][1] < EXPIRES_SECONDS

    @staticmethod
    def _sign(token: str) -> str:
        return paths.heartbeat(token)

    def _beat(self) -> None:
        # Before the next heartbeat hides the gap: the storage was unreachable.
        self._look_back()
        sign = Owner(self.token, socket.gethostname(), os.getpid(), _machine(), time.time(), _began(os.getpid()))
        started = time.monotonic()
        self.store.write(self._sign(self.token), json.dumps(vars(sign)).encode() + b"\n")
        self._shown = time.monotonic()
        shown = self.store.modified(self._sign(self.token))
        if shown is not None:
            # A paused machine's own clock may have stood still; the storage's did not.
            before = self._clock
            self._was_silent |= before is not None and shown.timestamp() - before[0] > EXPIRES_SECONDS
            self._clock = shown.timestamp(), started

    def _look_back(self) -> None:
        self._was_silent |= time.monotonic() - self._shown > EXPIRES_SECONDS

    def _live(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                self._beat()
            except Ig3dError:
                continue  # `check` raises when it has lasted too long

    def _sweep(self) -> None:
        """Delete the heartbeats of dead drivers."""
        for name in self.store.names(paths.heartbeats()):
            owner = self._owner(Path(name).stem)
            if owner is not None and not self._lives(owner):
                self.store.remove(name)


@dataclass(frozen=True)
class Fence:
    """The state on which a holder's work is based: a holder that was paused, while another one took over and
    published, can't write over that.

    Attributes:
        leases: the holder's.
        name: of the lease.
        over: what was there when the work began, see `Store.replace`.
    """

    leases: Leases
    name: str
    over: Seen

    def verify(self) -> None:
        """Look again whether the lease holds, as `Leases.verify`."""
        self.leases.verify(self.name)


def was_interrupted(store: Store, name: str) -> bool:
    """Whether the last driver that worked under a name was killed before it gave the name back.

    Args:
        store: shared by the drivers.
        name: of the work.
    """
    with Leases(store) as leases:
        return leases.is_abandoned(name)


@contextlib.contextmanager
def exclusive(store: Store, name: str) -> Iterator[Leases]:
    """Context manager for exclusive work under a name; waits for a driver that holds it, and logs the wait. It gives
    the leases, so that what takes long can `verify` the name before it publishes.

    Args:
        store: shared by the drivers.
        name: of the work.

    Raises:
        Ig3dError: the storage could not be written for too long.
    """
    with Leases(store) as leases:
        logged = False
        while owner := leases.acquire(name):
            if not logged:
                logger.info(f"another driver ({owner.host}, pid {owner.pid}) works on {name}: waiting for it")
                logged = True
            leases.check()
            time.sleep(WAIT_SECONDS)
        yield leases


def _machine() -> str:
    """The scope in which process numbers are unique: this boot of this machine, and this container on it."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        parts.append("?")
    return " ".join(parts)


def _stat(pid: int) -> list[str]:
    """The status fields of a process after its name, state first, on Linux; empty on other systems."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _began(pid: int) -> int:
    """Start time of a process, in ticks since the machine booted; 0 if unknown."""
    message = _stat(pid)
    return int(message[19]) if message else 0


def _process_exists(pid: int, began: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    message = _stat(pid)
    # A killed child that was not waited for has ended; so has an earlier process of this number.
    return not message or (message[0] != "Z" and began in (0, _began(pid)))
