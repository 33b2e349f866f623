"""What one training run asks of the cluster."""

from typing import Literal

from pydantic import Field, field_validator

from ig3d_ray.types import Frozen


def places(there: float, each: float) -> int:
    """How many shares of a machine's CPUs or GPUs there are; a share of less than one GPU is on a single GPU."""
    # 1 / 0.2 is a little less than 5 in binary fractions.
    return int(int(there) * int(1 / each + 1e-9) if each < 1 else there / each + 1e-9)


class Resources(Frozen):
    """What one training run asks of the cluster."""

    workers: int = Field(default=1, ge=1)
    """Workers of one training run, which split each batch between them."""
    cpus_per_worker: int = Field(default=1, ge=1)
    """CPUs that each worker takes."""
    gpus_per_worker: float = Field(default=0.0, ge=0)
    """A whole number of GPUs, or a part of one: 0.2 for five workers on each."""
    members_per_run: int = Field(default=8, ge=1)
    """Short trainings that a run does one after another, at most: starting a run costs about 10 s. Long ones have a run
    each."""
    max_failures: int = Field(default=10, ge=0)
    """How often a run is resumed after a worker is lost without notice, as in long trainings on spot machines."""
    checkpoint_minutes: float = Field(default=1.0, ge=0)
    """Interval between training checkpoints for resuming, also within an epoch; 0: after every epoch."""
    cohort: int = Field(default=32, ge=1)
    """3D classifiers of a run that differ in loss weights, inputs and seeds train as one network, up to this many."""
    image_memory_gib: float = Field(default=2.0, ge=0)
    """Decoded images of a split are kept on the device up to this size; more are decoded again in every epoch."""
    compile: Literal["none", "images"] = "none"
    """Whether torch.compile is applied to image networks: minutes at the start, for trainings of hours on GPUs."""
    events: Literal["none", "tensorboard"] = "none"
    """Beside history.parquet, the same numbers as TensorBoard's event files in each member's folder."""

    @field_validator("gpus_per_worker")
    @classmethod
    def _whole_or_part(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("a worker takes a whole number of GPUs, or a part of one")
        return value
