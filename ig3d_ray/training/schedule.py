"""The order in which runs start (longest first), and the total duration with a given number of parallel runs."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from ig3d_ray.data.samples import Samples
from ig3d_ray.models.spec import TrainedSpec
from ig3d_ray.training.cost_model import Basis, Estimate, Timing, estimate
from ig3d_ray.training.runs import START_SECONDS, Run


@dataclass(frozen=True)
class Forecast:
    """The estimated duration of training on given machines.

    Attributes:
        trainings: how many members.
        runs: that train them, each a few.
        busy: total hours of all runs, including startup.
        hours: elapsed time from the first start to the last end.
        longest: the longest run: the name of its first member, its number of members and its hours; no number of
            machines is faster than that.
        bases: how many estimates are measured, scaled and assumed.
    """

    trainings: int
    runs: int
    busy: float
    hours: float
    longest: tuple[str, int, float]
    bases: dict[Basis, int]


def estimates(
    members: Sequence[tuple[str, TrainedSpec]],
    samples: Samples,
    known: Sequence[Timing],
    device: str,
    together: int = 1,
) -> dict[str, Estimate]:
    """The estimated duration of each member's training, by fingerprint.

    Args:
        members: (fingerprint, spec).
        known: earlier trainings.
        together: 3D classifiers that train as one network.
    """
    train = samples.in_split("train")
    counts: dict[tuple[str, ...], int] = {}
    found = {}
    for fingerprint, spec in members:
        if spec.features not in counts:
            seen = train
            for feature in spec.features:
                seen = seen.with_feature(feature)
            counts[spec.features] = len(seen)
        found[fingerprint] = estimate(spec, counts[spec.features], known, device, together)
    return found


def run_seconds(run: Run, expected: dict[str, Estimate], wanted: set[str]) -> float:
    """What is left of a run, starting included; members train one after another, or share a device as a cohort."""
    left = [expected[fingerprint].seconds for fingerprint, _ in run.members if fingerprint in wanted]
    return START_SECONDS + sum(left) if left else 0.0


def longest_first(runs: Sequence[Run], expected: dict[str, Estimate], wanted: set[str]) -> list[Run]:
    """The order with the earliest end: a long run that starts last would leave all other machines idle.

    At most a third longer than the optimal order (Graham 1969); ties keep the space's order.
    """
    return sorted(runs, key=lambda run: -run_seconds(run, expected, wanted))


def makespan(seconds: Sequence[float], places: int) -> float:
    """When the last of these ends, if each starts in this order in the first free slot."""
    free = [0.0] * max(1, places)
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def forecast(runs: Sequence[Run], expected: dict[str, Estimate], wanted: set[str], places: int) -> Forecast:
    """The estimated duration of training these, with a given number of parallel runs."""
    ordered = [run for run in longest_first(runs, expected, wanted) if run_seconds(run, expected, wanted)]
    seconds = [run_seconds(run, expected, wanted) for run in ordered]
    bases: dict[Basis, int] = {"measured": 0, "scaled": 0, "assumed": 0}
    for fingerprint in wanted:
        bases[expected[fingerprint].basis] += 1
    longest = ("", 0, 0.0)
    if ordered:
        left = [spec for fingerprint, spec in ordered[0].members if fingerprint in wanted]
        longest = (left[0].name, len(left), seconds[0] / 3600)
    return Forecast(len(wanted), len(ordered), sum(seconds) / 3600, makespan(seconds, places) / 3600, longest, bases)
