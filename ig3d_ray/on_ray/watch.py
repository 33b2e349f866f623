"""When a training writes its checkpoint, and when it then stops because its machine or its driver stops."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import ray
import ray.train
from ray.train.collective import broadcast_from_rank_zero

Word = Literal["go on", "checkpoint", "preempted", "stopped"]
# A check takes some milliseconds: it queries the driver's board, Ray Train and the other workers.
CHECK_SECONDS = 0.5
# Writing checkpoints takes no more than this share of a training's time. At spot machines' usual rates of loss a larger
# share costs more than it saves (docs/scale.md).
CHECKPOINT_SHARE = 0.01


class Leave(Exception):
    """A training has written its checkpoint and ends here; `why` is the reason."""

    def __init__(self, why: Word) -> None:
        super().__init__(why)
        self.why = why


@dataclass
class Watch:
    """Called after every step; its result is the same on all workers of a training.

    Attributes:
        board: the driver's, where it tells all workers to stop.
        rank: of this worker.
        world: the number of workers.
        minutes: between checkpoints; 0 for one after each epoch.
    """

    board: Any
    rank: int
    world: int
    minutes: float
    _steps: int = 0
    _next_check: int = 1
    _checked: float = field(default_factory=time.monotonic)
    _written: float = field(default_factory=time.monotonic)
    _cost: float = 0.0

    def after_step(self) -> Word:
        """What to do now, within an epoch."""
        self._steps += 1
        return "go on" if self._steps < self._next_check else self._ask(False)

    def after_epoch(self) -> Word:
        """What to do now, between two epochs."""
        return self._ask(True)

    def written(self, seconds: float) -> None:
        """Record the duration of writing a checkpoint."""
        self._cost, self._written = seconds, time.monotonic()

    def _ask(self, epoch_is_over: bool) -> Word:
        # Ray Train tells all workers of a training when a machine of one of them is about to be taken away.
        preempted = ray.train.get_preemption_info() is not None
        word: Word = "go on"
        if self.rank == 0 and ray.get(self.board.is_stopping.remote()):
            word = "stopped"
        elif preempted:
            word = "preempted"
        elif self._is_due(epoch_is_over):
            word = "checkpoint"
        if self.world > 1:
            # With different intervals, workers would wait for one another at different steps.
            word, pace = broadcast_from_rank_zero((word, self._pace()))
        else:
            pace = self._pace()
        self._steps, self._next_check, self._checked = 0, pace, time.monotonic()
        return word

    def _is_due(self, epoch_is_over: bool) -> bool:
        if self.minutes == 0:
            return epoch_is_over
        pause = max(60 * self.minutes, self._cost / CHECKPOINT_SHARE)
        return time.monotonic() - self._written >= pause

    def _pace(self) -> int:
        """Steps until the next check: as many as take about `CHECK_SECONDS`."""
        seconds = max(time.monotonic() - self._checked, 1e-6)
        wanted = int(self._steps * CHECK_SECONDS / seconds)
        return max(1, min(wanted, 4 * self._next_check))
