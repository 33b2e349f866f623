"""Leases and heartbeats: two drivers on one storage never train the same member or run the same search at once.

A driver shows that it is alive by a heartbeat: a small file that it rewrites every few seconds. It leases work by
creating a name that must not exist yet; the lease is valid while its driver is alive. The lease of a dead driver
is not deleted, which two others could do at once, but superseded by the next number, which only one can create.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store, at_once

logger = logging.getLogger(__name__)
BEAT_SECONDS = 10.0
# Allows for three lost heartbeats, or half a minute of retries against the storage.
EXPIRES_SECONDS = 60.0
WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class Owner:
    """A driver, as described by its heartbeat.

    Attributes:
        token: unique.
        host: where it runs.
        pid: number of its process there.
        machine: distinguishes its process numbers from other machines'.
        beats: time of the last heartbeat, in seconds since 1970.
        began: start time of its process on its machine, because process numbers are reused; 0 if unknown.
    """

    token: str
    host: str
    pid: int
    machine: str
    beats: float
    began: int = 0

    @property
    def lives(self) -> bool:
        """Whether it may still be running: judged by its process on this machine, elsewhere by its last heartbeat."""
        if self.machine == _machine():
            return _process_exists(self.pid, self.began)
        return time.time() - self.beats < EXPIRES_SECONDS


class Leases:
    """The leases of this driver. A context manager: it writes heartbeats inside, and releases all leases at exit.

    Machines' clocks must agree to a few seconds, as cloud machines' do.

    Args:
        store: shared by all drivers.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.token = store, uuid.uuid4().hex
        self.held: dict[str, str] = {}
        self._over = threading.Event()
        self._shown, self._was_silent = time.time(), False

    def __enter__(self) -> "Leases":
        self._sweep()
        self._beat()
        self._heart = threading.Thread(target=self._live, name="ig3d-leases", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join()
        self.release_all()
        self.store.remove(self._sign(self.token))

    def acquire(self, name: str) -> Owner | None:
        """Claim a name: returns None on success, otherwise the driver that holds it."""
        if name in self.held:
            return None
        while True:
            listed = self.store.names(paths.lease_folder(name))
            numbers = [key.number for key in map(paths.parse_lease, listed) if key is not None]
            if numbers:
                token = self.store.read_if_there(paths.lease(name, numbers[-1]))
                if token is None:
                    continue  # released since it was listed
                owner = self._owner(token.decode())
                if owner is not None and owner.lives:
                    return owner
            mine = paths.lease(name, numbers[-1] + 1 if numbers else 0)
            if self.store.create(mine, self.token.encode()):
                self.held[name] = mine
                return None

    def acquire_all(self, names: Sequence[str]) -> dict[str, Owner]:
        """Claim names concurrently: returns the holders of those that this driver didn't get."""
        owners = dict(zip(names, at_once(self.acquire, names), strict=True))
        return {name: owner for name, owner in owners.items() if owner is not None}

    def release_all(self) -> None:
        """Release all leases."""
        at_once(self.release, list(self.held))

    def release(self, name: str) -> None:
        """Release a lease, together with any leftover leases of dead drivers on the same name."""
        mine = self.held.pop(name, None)
        if mine:
            # Never a later one: it would belong to a driver that took over.
            for older in [n for n in self.store.names(paths.lease_folder(name)) if n <= mine]:
                self.store.remove(older)

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
            Ig3dError: no heartbeat was written for so long that another driver may have taken over its work.
        """
        self._look_back(time.time())
        if self._was_silent:
            raise Ig3dError(
                f"{self.store.locate(paths.LEASES)}: could not be written for {EXPIRES_SECONDS:.0f} s, so another"
                " driver may have taken over; is the storage reachable? The same command goes on from here"
            )

    def _owner(self, token: str) -> Owner | None:
        """The driver with this token; None if it has no heartbeat. An unreadable heartbeat is not a missing one."""
        sign = self.store.read_if_there(self._sign(token))
        return None if sign is None else Owner(**json.loads(sign))

    @staticmethod
    def _sign(token: str) -> str:
        return paths.heartbeat(token)

    def _beat(self) -> None:
        now = time.time()
        # Before the next heartbeat hides the gap: the machine was asleep, or the storage was unreachable.
        self._look_back(now)
        sign = Owner(self.token, socket.gethostname(), os.getpid(), _machine(), now, _began(os.getpid()))
        self.store.write(self._sign(self.token), json.dumps(vars(sign)).encode() + b"\n")
        self._shown = now

    def _look_back(self, now: float) -> None:
        self._was_silent |= now - self._shown > EXPIRES_SECONDS

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
            if owner is not None and not owner.lives:
                self.store.remove(name)


@contextlib.contextmanager
def exclusive(store: Store, name: str) -> Iterator[None]:
    """Context manager for exclusive work under a name; waits for a driver that holds it, and logs the wait.

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
        yield


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
