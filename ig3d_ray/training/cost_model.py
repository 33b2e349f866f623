"""Recorded training times in the store, and estimates for other trainings: for the order of a run and for `ig3d plan`.

A training's cost is its number of samples times the network's cost per sample. The latter is taken, in this order,
from trainings of the same network on the same device; on another device, by the ratio of the two devices' speeds;
or from the network's arithmetic and the device's speed.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.spec import TrainedSpec
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store

WRITE_SECONDS = 10.0
Basis = Literal["measured", "scaled", "assumed"]

# Peak dense half-precision rate in units of 1e12 per second, by the makers' data sheets; a CPU core: vector units
# of eight at 3 GHz.
PEAKS = {"T4": 65, "V100": 125, "L4": 121, "A10G": 70, "A100": 312, "L40S": 362, "H100": 989, "H200": 989, "cpu": 0.05}
# Assumed for a GPU that was not named, or that isn't among these.
USUAL_GPU = "A10G"
# The share of the peak that a training reaches; and the minimum time of a step, in which the device is mostly idle.
FRACTION = {"cpu": 0.5, "gpu": 0.15}
STEP_SECONDS = {"cpu": 0.001, "gpu": 0.004}
# Forward, and backward for inputs and weights.
PASSES = 3.0


class Timing(BaseModel):
    """One training, from its first step to its cached logits.

    Attributes:
        network: the settings that determine the cost of a sample.
        device: the card's name, or cpu.
        samples: of an epoch.
        epochs: the number of epochs trained.
        most: the maximum number of epochs in its recipe.
        seconds: the duration; in a cohort, the member's share of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    """Of the member."""
    device: str
    """On which it was trained."""
    samples: int
    """Of the train split."""
    epochs: int
    """How many were trained."""
    most: int
    """How many it might have trained."""
    seconds: float
    """Of the training."""


@dataclass(frozen=True)
class Estimate:
    """The estimated duration of a training on one device, in seconds, and the basis of the estimate."""

    seconds: float
    basis: Basis


def estimate(spec: TrainedSpec, samples: int, known: Iterable[Timing], device: str, together: int = 1) -> Estimate:
    """Estimate the duration of a member's training on one device.

    Args:
        samples: of an epoch.
        known: earlier trainings.
        device: `cpu`, or a part of a card's name such as A10G.
        together: how many 3D classifiers train as one network and share the cost of its steps.
    """
    same = [timing for timing in known if timing.network == spec.cost_key]
    here = [timing for timing in same if on_device(timing, device)]
    most = sum(stage.recipe.epochs for stage in spec.stages)
    if here or same:
        basis: Basis = "measured" if here else "scaled"
        each = median(
            t.seconds / (t.samples * max(t.epochs, 1)) * (1 if here else _faster(t, device)) for t in here or same
        )
        # Trainings stop early: assume the same share of the recipe as in earlier trainings.
        return Estimate(each * samples * most * median(t.epochs / t.most for t in here or same), basis)
    kind = "cpu" if device == "cpu" else "gpu"
    seconds, shared = 0.0, together if spec.cohort is not None else 1
    for stage in spec.stages:
        passes = PASSES * (2 if stage.recipe.sam_rho else 1)
        arithmetic = spec.operations * passes * samples / (_speed_or_usual(device) * 1000 * FRACTION[kind])
        steps = samples / stage.recipe.batch_size * STEP_SECONDS[kind] / shared
        seconds += stage.recipe.epochs * max(arithmetic, steps)
    return Estimate(seconds, "assumed")


def speed(device: str) -> float:
    """A device's peak rate, 1e12 operations per second.

    Raises:
        Ig3dError: the device is unknown.
    """
    # L40S before L4, A100 before A10: the longest name that fits.
    for name in sorted(PEAKS, key=len, reverse=True):
        if name.lower() in device.lower():
            return PEAKS[name]
    raise Ig3dError(f"GPU {device!r}: its speed is not known; one of {', '.join(n for n in PEAKS if n != 'cpu')}")


def _speed_or_usual(device: str) -> float:
    """A GPU that isn't in the table is treated as a typical one, which suffices for ordering and a first estimate."""
    try:
        return speed(device)
    except Ig3dError:
        return PEAKS[USUAL_GPU]


def on_device(timing: Timing, device: str) -> bool:
    """Whether a training ran on such a device."""
    return device == timing.device if "cpu" in (device, timing.device) else device.lower() in timing.device.lower()


def _faster(timing: Timing, device: str) -> float:
    """The ratio of a training's duration on this device to that on the other device."""
    try:
        return speed(timing.device) / speed(device)
    except Ig3dError:
        return 1.0


class TimingLog:
    """The trainings of one driver, in a separate file; written periodically, since each write replaces the whole file.

    Args:
        driver: a unique identifier of the driver.
    """

    def __init__(self, store: Store, dataset: str, driver: str) -> None:
        self.store, self.name = store, paths.timing_log(dataset, driver)
        self.timings: list[Timing] = []
        self.written, self._at = 0, float("-inf")

    def note(self, event: Mapping[str, Any]) -> None:
        """Record a training, if the event reports one that began and ended here."""
        if event.get("timing"):
            self.timings.append(Timing(**event["timing"]))
            if time.monotonic() - self._at >= WRITE_SECONDS:
                self.write()

    def write(self) -> None:
        """Publish what was recorded since the last call."""
        if len(self.timings) > self.written:
            content = [timing.model_dump() for timing in self.timings]
            self.store.write(self.name, json.dumps(content).encode() + b"\n")
            self.written, self._at = len(content), time.monotonic()


def read_timings(store: Store, dataset: str) -> list[Timing]:
    """All recorded trainings of a store; files that can't be parsed are ignored."""
    found = []
    for name in store.names(paths.timings_folder(dataset)):
        try:
            found += [Timing(**timing) for timing in json.loads(store.read(name))]
        except (ValueError, TypeError, ValidationError):
            continue
    return found
