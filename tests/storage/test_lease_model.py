"""All orders of events of a few drivers that lease the same work and publish: at most one publishes on each state.

The drivers run the real code. A driver's next call to the storage follows from what the storage answered it so far, so
a state is the storage's content and each driver's answers, and every state that can be reached is visited once. In some
of the orders drivers die anywhere, or a machine stands still anywhere until others take its heartbeat for dead, its own
clock having stood still with it, so that it doesn't notice.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import leases as rules
from ig3d_ray.storage.leases import Leases, Owner
from ig3d_ray.storage.store import Seen

CHANGED = Ig3dError("changed")
WORK, TARGET = "work", "target"
STANDSTILL = 100.0


class Call(NamedTuple):
    """What a driver asks of the storage."""

    operation: str
    arguments: tuple[Any, ...]


class Asked(BaseException):
    """The driver's next call has no answer yet."""

    def __init__(self, call: Call) -> None:
        self.call = call


class State(NamedTuple):
    """The storage, and each driver's answers so far, both by number.

    Attributes:
        files: what there is. now: the storage's time. answers: of each driver. dead: drivers.
        pauses: how many may still happen. deaths: likewise.
    """

    files: int
    now: float
    answers: tuple[int, ...]
    dead: frozenset[int]
    pauses: int
    deaths: int


Files = tuple[tuple[str, bytes, float], ...]
"""Name, content and time of each file, sorted."""
Answers = tuple[Any, ...]
"""Operation, answer and time of each call."""


class Answered:
    """A storage that gives the answers that it gave before, and then stops the driver."""

    def __init__(self, answers: Answers) -> None:
        self.left = iter(answers)
        self.leases: Leases | None = None

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            answer = next(self.left, None)
            if answer is None:
                raise Asked(Call(operation, (*arguments, *named.values())))
            _, value, now = answer
            # It knows the storage's time by its heartbeats, which go on meanwhile.
            if self.leases is not None:
                self.leases._clock = now, 0.0
            if isinstance(value, Exception):
                raise value
            return value

        return call

    def locate(self, name: str) -> str:
        return name


def name_of(driver: int) -> str:
    return "abc"[driver]


def work(driver: int, answers: Answers, is_fenced: bool, tries: int) -> Call | None:
    """What a driver asks next; None at its end."""
    store = Answered(answers)
    leases = Leases(store)  # type: ignore[arg-type]
    leases.token, leases._clock, leases._shown = name_of(driver), (0.0, 0.0), 0.0
    store.leases = leases
    try:
        for _ in range(tries):
            if leases.acquire(WORK) is None:
                break
        else:
            return None
        fence = leases.fence(WORK, TARGET)
        fence.verify()
        # What is published is based on what was there.
        data = f"{name_of(driver)} after {fence.over.version}".encode()
        leases.store.replace(TARGET, data, fence.over) if is_fenced else leases.store.write(TARGET, data)
        leases.release(WORK)
    except Asked as asked:
        # Drivers may give way to each other for ever: each tries a few times.
        again = asked.call.operation == "create" and sum(one[0] == "create" for one in answers) >= tries
        return None if again else asked.call
    except Ig3dError:
        return None
    return None


def done(files: Files, now: float, call: Call) -> tuple[Files, Any]:
    """The storage after a call, and its answer."""
    there = {name: (data, time) for name, data, time in files}
    answer: Any = None
    match call:
        case ("names", (prefix,)):
            return files, tuple(name for name in there if name.startswith(f"{prefix}/"))
        case ("read_if_there", (name,)):
            return files, there.get(name, (None, 0.0))[0]
        case ("modified", (name,)):
            return files, datetime.fromtimestamp(there[name][1], UTC) if name in there else None
        case ("seen", (name,)):
            return files, version(there, name)
        case ("create", (name, data)):
            answer = name not in there or there[name][0] == data
            there.setdefault(name, (data, now))
        case ("remove", (prefix,)):
            there = {name: one for name, one in there.items() if name != prefix and not name.startswith(f"{prefix}/")}
        case ("replace", (name, data, over)):
            if over != version(there, name):
                return files, CHANGED
            there[name] = data, now
        case ("write", (name, data)):
            there[name] = data, now
        case _:
            raise AssertionError(call)
    return tuple(sorted((name, *one) for name, one in there.items())), answer


def version(files: dict[str, tuple[bytes, float]], name: str) -> Seen:
    return Seen(files[name][0].decode() if name in files else None)


class Model:
    """Every state that drivers can reach.

    Args:
        drivers: how many.
        is_fenced: whether they publish over what they saw.
        tries: how often each tries to lease.
    """

    def __init__(self, drivers: int, is_fenced: bool = True, tries: int = 2) -> None:
        self.drivers, self.is_fenced, self.tries = drivers, is_fenced, tries
        self.numbers: dict[Any, int] = {}
        self.contents: list[Any] = []
        self.calls: dict[tuple[int, int], Call | None] = {}
        self.effects: dict[Any, tuple[int, Any]] = {}

    def number(self, content: Any) -> int:
        """A number that stands for files or answers."""
        found = self.numbers.setdefault(content, len(self.contents))
        if found == len(self.contents):
            self.contents.append(content)
        return found

    def call(self, driver: int, answers: int) -> Call | None:
        key = driver, answers
        if key not in self.calls:
            self.calls[key] = work(driver, self.contents[answers], self.is_fenced, self.tries)
        return self.calls[key]

    def effect(self, files: int, now: float, call: Call) -> tuple[int, Any]:
        key = files, now, call
        if key not in self.effects:
            after, answer = done(self.contents[files], now, call)
            self.effects[key] = self.number(after), answer
        return self.effects[key]

    def following(self, state: State) -> Iterator[State]:
        """Every state that can come next."""
        for driver in range(self.drivers):
            call = None if driver in state.dead else self.call(driver, state.answers[driver])
            if call is None:
                continue
            files, answer = self.effect(state.files, state.now, call)
            longer = self.number((*self.contents[state.answers[driver]], (call.operation, answer, state.now)))
            answers = (*state.answers[:driver], longer, *state.answers[driver + 1 :])
            yield state._replace(files=files, answers=answers)
            if state.deaths:
                yield state._replace(dead=state.dead | {driver}, deaths=state.deaths - 1)
            holds = any(one[0] == "create" and one[1] for one in self.contents[state.answers[driver]])
            # Of a machine that holds nothing nobody judges the heartbeat.
            if state.pauses and holds:
                yield self.paused(state, driver)

    def paused(self, state: State, driver: int) -> State:
        """One machine has stood still; the others' heartbeats went on."""
        now, own = state.now + STANDSTILL, rules.paths.heartbeat(name_of(driver))
        beats = rules.paths.heartbeats()
        files = tuple(
            (name, data, now if name.startswith(f"{beats}/") and name != own else time)
            for name, data, time in self.contents[state.files]
        )
        return state._replace(files=self.number(files), now=now, pauses=state.pauses - 1)

    def is_lost(self, state: State) -> bool:
        """Whether what a driver published is neither there nor what the content there is based on."""
        files = self.contents[state.files]
        there = next((data.decode().split(" after ") for name, data, _ in files if name == TARGET), [])
        histories = enumerate(map(self.contents.__getitem__, state.answers))
        return any(name_of(d) not in there and has_published(answers) for d, answers in histories)

    def explore(self, pauses: int, deaths: int) -> tuple[int, int, int]:
        """How many states there are, in how many a publication is lost, and in how many all drivers published."""
        owners = {d: Owner(name_of(d), machine=f"of {name_of(d)}") for d in range(self.drivers)}
        files = tuple(
            (rules.paths.heartbeat(name_of(d)), json.dumps(vars(owner)).encode(), 0.0) for d, owner in owners.items()
        )
        nothing = (self.number(()),) * self.drivers
        start = State(self.number(files), 0.0, nothing, frozenset(), pauses, deaths)
        seen, waiting, lost, all_published = {start}, [start], 0, 0
        while waiting:
            state = waiting.pop()
            lost += self.is_lost(state)
            all_published += all(has_published(self.contents[answers]) for answers in state.answers)
            new = [after for after in self.following(state) if after not in seen]
            seen.update(new)
            waiting += new
        return len(seen), lost, all_published


def has_published(answers: Answers) -> bool:
    return any(operation in ("replace", "write") and answer is None for operation, answer, _ in answers)


@pytest.fixture(autouse=True)
def no_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(rules, "_machine", lambda: "of nobody")
    still = SimpleNamespace(monotonic=lambda: 0.0, time=lambda: 0.0, sleep=lambda _: None)
    monkeypatch.setattr(rules, "time", still)


@pytest.mark.parametrize(("drivers", "pauses", "deaths"), [(3, 0, 0), (2, 1, 1)])
def test_no_order_of_events_loses_a_publication(drivers: int, pauses: int, deaths: int) -> None:
    states, lost, all_published = Model(drivers).explore(pauses, deaths)
    assert (lost, states > 100_000, all_published > 10_000) == (0, True, True)


@pytest.mark.long
@pytest.mark.parametrize(("pauses", "deaths", "tries"), [(0, 1, 2), (1, 0, 1)])
def test_no_order_of_three_drivers_of_which_one_dies_or_stands_still_loses_a_publication(
    pauses: int, deaths: int, tries: int
) -> None:
    states, lost, all_published = Model(3, tries=tries).explore(pauses, deaths)
    assert (lost, states > 400_000, all_published > 10_000) == (0, True, True)


def test_without_the_fence_one_that_stood_still_overwrites_its_successors_publication() -> None:
    assert Model(2, is_fenced=False).explore(pauses=1, deaths=0)[1]


def test_without_the_second_look_two_publish_and_the_fence_refuses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leases, "_is_mine", lambda *_: True)
    assert Model(3, is_fenced=False).explore(pauses=0, deaths=0)[1]
    assert not Model(3).explore(pauses=0, deaths=0)[1]
