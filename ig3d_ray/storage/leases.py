"""Who works on what: two drivers on one storage never train the same member or run the same search at once.

A driver shows that it lives by one small file, written anew every few seconds. What it works on it leases by
creating a name that must not exist yet; the claim holds as long as its driver lives. A claim of a driver that died
is not deleted, which two others could do at once, but followed by one of the next number, which only one gets.
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
# Three beats may be lost, or a storage may have to be asked for half a minute.
EXPIRES_SECONDS = 60.0
WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class Owner:
    """A driver, as its sign of life describes it.

    Attributes:
        token: unique.
        host: where it runs.
        pid: like `host`.
        machine: distinguishes its process numbers from other machines'.
        beats: seconds since 1970 of the last sign.
        began: when its process began, as its machine counts; a number is used again. 0 where that is unknown.
    """

    token: str
    host: str
    pid: int
    machine: str
    beats: float
    began: int = 0

    @property
    def lives(self) -> bool:
        """Whether it may still be at work: on this machine its process is looked at, elsewhere the time of its sign."""
        if self.machine == _machine():
            return _process_exists(self.pid, self.began)
        return time.time() - self.beats < EXPIRES_SECONDS


class Leases:
    """The leases of this driver. A context: it lives inside, and what it holds at the end is given back.

    Machines' clocks must agree to a few seconds, as cloud machines' do.

    Args:
        store: where drivers meet.
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
        """Claim a name: None if it is this driver's now, otherwise who has it."""
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
        """Claim names, many at the same time: who has those that this driver didn't get."""
        owners = dict(zip(names, at_once(self.acquire, names), strict=True))
        return {name: owner for name, owner in owners.items() if owner is not None}

    def release_all(self) -> None:
        """Give back all that is held."""
        at_once(self.release, list(self.held))

    def release(self, name: str) -> None:
        """Give a claim back, with what is left of dead drivers' leases to the same."""
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
        """See that the others still know that this driver lives.

        Raises:
            Ig3dError: it could not show itself for so long that its work may have been taken over.
        """
        self._look_back(time.time())
        if self._was_silent:
            raise Ig3dError(
                f"{self.store.locate(paths.LEASES)}: could not be written for {EXPIRES_SECONDS:.0f} s, so another"
                " driver may have taken over; is the storage reachable? The same command goes on from here"
            )

    def _owner(self, token: str) -> Owner | None:
        """Whose token it is; None if it has no sign. A sign that can't be read is not one that isn't there."""
        sign = self.store.read_if_there(self._sign(token))
        return None if sign is None else Owner(**json.loads(sign))

    @staticmethod
    def _sign(token: str) -> str:
        return paths.heartbeat(token)

    def _beat(self) -> None:
        now = time.time()
        # Before the next sign hides it: a machine that was asleep, or a storage that was away.
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
        """Delete the signs of drivers that are gone."""
        for name in self.store.names(paths.heartbeats()):
            owner = self._owner(Path(name).stem)
            if owner is not None and not owner.lives:
                self.store.remove(name)


@contextlib.contextmanager
def exclusive(store: Store, name: str) -> Iterator[None]:
    """Inside, no other driver works under this name; one that does is waited for, which is logged.

    Args:
        store: where the drivers meet.
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
    """Where a process number means the same process: this boot of this machine, and this container of it."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        parts.append("?")
    return " ".join(parts)


def _stat(pid: int) -> list[str]:
    """Linux's fields of a process after its name, its state first; nothing elsewhere."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _began(pid: int) -> int:
    """When a process began, in ticks since its machine did; 0 where that is unknown."""
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
