"""The simulated cluster of benchmarks/scale.py: what it must not get wrong."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation import Costs, Fleet, Job, first_come, longest, lower_bound, simulate
from ig3d_ray.training.schedule import makespan

FREE = Costs(start=0.0, each=0.0, driver=0.0, interval=60.0, write=0.0)
REAL = Costs(start=10.0, each=0.1, driver=0.5, interval=60.0, write=2.0)
JOBS = st.lists(st.lists(st.integers(1, 40_000), min_size=1, max_size=5), min_size=1, max_size=30)


def jobs(members: list[list[int]]) -> list[Job]:
    return [Job(place, tuple(map(float, each))) for place, each in enumerate(members)]


@given(JOBS, st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_without_losses_it_is_list_scheduling(members: list[list[int]], gpus: int) -> None:
    made = jobs(members)
    for order in (longest, first_come):
        message = simulate(made, Fleet(gpus), FREE, order)
        expected = makespan([job.work for job in sorted(made, key=order)], gpus) / 3600
        assert message.hours == pytest.approx(expected)
        assert (message.lost, message.taken) == (0, 0)
        assert message.idle == pytest.approx(gpus * message.hours - sum(job.work for job in made) / 3600, abs=1e-9)


@given(JOBS, st.integers(1, 6), st.floats(0.05, 2.0), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_no_work_vanishes_when_machines_are_taken_away(
    members: list[list[int]], gpus: int, rate: float, notice: float, seed: int
) -> None:
    made = jobs(members)
    message = simulate(made, Fleet(gpus, rate, notice, 300.0, seed), REAL, longest)
    work = sum(job.work for job in made) / 3600
    assert message.hours >= max(max(job.members) for job in made) / 3600
    assert message.hours * gpus >= work + message.lost
    # A loss costs a pause between checkpoints at most, and a second with notice.
    assert message.lost <= message.taken * (REAL.pause + 1) / 3600 + 1e-9
    if notice == 1.0:
        assert message.lost <= message.taken * REAL.step / 3600 + 1e-9


def test_without_checkpoints_a_lost_machine_costs_the_member() -> None:
    made = jobs([[3600]])
    never = Costs(start=0.0, each=0.0, driver=0.0, interval=float("inf"), write=0.0)
    often = simulate(made, Fleet(1, 1.0, seed=4), FREE, longest)
    message = simulate(made, Fleet(1, 1.0, seed=4), never, longest)
    assert message.taken >= often.taken > 0
    assert message.lost > often.lost
    assert message.hours > often.hours


def test_lost_work_follows_from_rate_and_interval() -> None:
    # A machine is lost at a random moment between two checkpoints: half an interval each time.
    made = jobs([[100 * 3600]])
    costs = Costs(start=0.0, each=0.0, driver=0.0, interval=600.0, write=0.0)
    message = [simulate(made, Fleet(1, 0.5, seed=seed), costs, longest) for seed in range(40)]
    assert sum(t.lost for t in message) / sum(t.taken for t in message) == pytest.approx(300 / 3600, rel=0.1)


def test_a_job_waits_until_its_machine_was_lost() -> None:
    draw = random.Random(0)
    for seed in range(50):
        made = jobs([[draw.randint(3600, 36_000)] for _ in range(3)])
        message = simulate(made, Fleet(3, 0.3, seed=seed), FREE, longest)
        assert message.hours >= lower_bound([job.work for job in made], Fleet(3))
