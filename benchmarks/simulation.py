"""A cluster of GPUs that come and go, simulated event by event: what order, packing and checkpoints are worth.

A machine has one GPU. It is taken away after a time drawn from an exponential distribution, with notice or without,
and another comes in its place. A run that loses its machine resumes from what it had written, on the next one that
is free. Nothing of the trainings themselves is simulated: a run is seconds of work.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

Order = Callable[["Job"], float]


@dataclass(frozen=True)
class Fleet:
    """Machines of one GPU each.

    Attributes:
        gpus: how many. rate: of being taken away, per machine and hour. notice: the share that is told in time.
        replacement: mean seconds until another machine is there. seed: of all that is random.
    """

    gpus: int
    rate: float = 0.0
    notice: float = 0.0
    replacement: float = 300.0
    seed: int = 0


@dataclass(frozen=True)
class Costs:
    """Seconds beyond the training itself.

    Attributes:
        start: until a run's workers train. each: for every member. driver: of the head's processor for a run; one
            run after another passes it. interval: between checkpoints; infinite for none, which loses the member.
        write: for one checkpoint. share: at most this much of the time is spent on checkpoints.
        step: what a training with notice loses.
    """

    start: float
    each: float
    driver: float
    interval: float
    write: float
    share: float = 0.01
    step: float = 1.0

    @property
    def pause(self) -> float:
        """Seconds of training between two checkpoints."""
        return max(self.interval, self.write / self.share)

    @property
    def slowing(self) -> float:
        """What a second of training takes, with its share of the checkpoints."""
        return 1 + self.write / self.pause


@dataclass(frozen=True)
class Job:
    """A run: what its members still take, one after another. place: in the order of the space."""

    place: int
    members: tuple[float, ...]

    @property
    def work(self) -> float:
        """Seconds of training that are left."""
        return sum(self.members)


@dataclass(frozen=True)
class Told:
    """The result of a simulated run, in hours.

    Attributes:
        hours: from first to last. lost: trained more than once. overhead: starting, checkpoints and each member's
            own. idle: of machines that were there with nothing to do before the end. taken: machines that went away.
    """

    hours: float
    lost: float
    overhead: float
    idle: float
    taken: int


def longest(job: Job) -> float:
    """Longest first, by what is left: our order."""
    return -job.work


def first_come(job: Job) -> float:
    """In the order of the space."""
    return job.place


def simulate(jobs: Sequence[Job], fleet: Fleet, costs: Costs, order: Order) -> Told:
    """Work all jobs off.

    Jobs that lose their machine queue again, by the same order.
    """
    draw = random.Random(fleet.seed)
    waiting = [(order(job), job.place, job) for job in jobs]
    heapq.heapify(waiting)
    # (when it is free, number, when it will be taken away)
    machines = [(0.0, number, _taken_at(0.0, fleet, draw)) for number in range(fleet.gpus)]
    heapq.heapify(machines)
    # Jobs whose machine will be lost at a time that is known now, but not before it has come: (when, place, job).
    returning: list[tuple[float, int, Job]] = []
    head_free = busy = overhead = lost = end = 0.0
    taken = 0
    presence = [0.0] * fleet.gpus
    came = [0.0] * fleet.gpus

    def lose(number: int, until: float) -> None:
        nonlocal taken
        taken += 1
        presence[number] += until - came[number]
        came[number] = until + draw.expovariate(1 / fleet.replacement)
        heapq.heappush(machines, (came[number], number, _taken_at(came[number], fleet, draw)))

    while waiting or returning:
        now, number, until = heapq.heappop(machines)
        # It has nothing to do before this.
        wanted = now if waiting else max(now, returning[0][0])
        if until <= wanted:
            lose(number, until)
            continue
        if wanted > now:
            heapq.heappush(machines, (wanted, number, until))
            continue
        while returning and returning[0][0] <= now:
            _, place, job = heapq.heappop(returning)
            heapq.heappush(waiting, (order(job), place, job))
        _, place, job = heapq.heappop(waiting)
        # The head starts one run at a time.
        begin = max(now, head_free)
        head_free = begin + costs.driver
        done = begin + costs.start + job.work * costs.slowing + costs.each * len(job.members)
        if done <= until:
            end = max(end, done)
            busy += job.work
            overhead += done - now - job.work
            heapq.heappush(machines, (done, number, until))
            continue
        spent = max(0.0, until - now)
        noticed = draw.random() < fleet.notice
        kept, trained = _kept(job, until - begin - costs.start, costs, noticed)
        busy += kept
        lost += trained - kept
        overhead += spent - trained
        heapq.heappush(returning, (until, place, _after(job, kept)))
        lose(number, until)
    for number in range(fleet.gpus):
        presence[number] += max(0.0, end - came[number])
    hour = 3600
    idle = max(0.0, sum(presence) - busy - lost - overhead)
    return Told(end / hour, lost / hour, overhead / hour, idle / hour, taken)


def _taken_at(came: float, fleet: Fleet, draw: random.Random) -> float:
    return came + draw.expovariate(fleet.rate / 3600) if fleet.rate else float("inf")


def _kept(job: Job, seconds: float, costs: Costs, noticed: bool) -> tuple[float, float]:
    """Of a job that had its workers for so long, the seconds of training that survive, and all of them."""
    left = max(0.0, seconds)
    kept = 0.0
    for member in job.members:
        takes = member * costs.slowing + costs.each
        if left >= takes:
            # It is done, and cached.
            left, kept = left - takes, kept + member
            continue
        within = min(member, left / costs.slowing)
        if noticed:
            return kept + max(0.0, within - costs.step), kept + within
        written = within // costs.pause * costs.pause if costs.pause != float("inf") else 0.0
        return kept + written, kept + within
    return kept, kept


def _after(job: Job, kept: float) -> Job:
    """What is left of a job of which so much is kept."""
    members = list(job.members)
    while members and kept >= members[0]:
        kept -= members.pop(0)
    if members:
        members[0] -= kept
    return replace(job, members=tuple(members))


def lower_bound(members: Sequence[float], fleet: Fleet) -> float:
    """Hours that no order, packing or checkpoint can beat: the longest member, or all work on the machines' time."""
    there = 1.0 if not fleet.rate else 1 / (1 + fleet.rate / 3600 * fleet.replacement)
    return max(max(members), sum(members) / (fleet.gpus * there)) / 3600
