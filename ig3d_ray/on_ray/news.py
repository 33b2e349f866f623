"""A worker's progress reports to the driver, posted on the driver's board."""

import time
from dataclasses import dataclass, field
from typing import Any

from ig3d_ray.training.cost_model import Timing
from ig3d_ray.training.state import Epoch, State

# Long epochs are also reported in between.
NEWS_SECONDS = 20.0


@dataclass
class News:
    """Reports of the first worker of a training; the others send none.

    Attributes:
        board: the driver's, an actor that takes dictionaries.
        rank: of this worker.
    """

    board: Any
    rank: int
    _told: float = field(default_factory=time.monotonic)

    def epoch(self, called: str, epochs: int, epoch: Epoch) -> None:
        """Report a finished epoch."""
        numbers = {"epoch": epoch.number, "loss": epoch.loss, "score": epoch.score, "best": epoch.best_score}
        self._tell({"member": called, "epochs": epochs} | numbers)

    def within(self, called: str, epochs: int, steps: int, state: State) -> None:
        """Report progress within an epoch, if the last report is old."""
        self._tell({"member": called, "epochs": epochs, "steps": steps} | _where(state))

    def is_due(self) -> bool:
        """Whether this worker's last report to the driver is old."""
        return self.rank == 0 and time.monotonic() - self._told >= NEWS_SECONDS

    def resumed(self, called: str, state: State) -> None:
        """Report a training that resumes from a checkpoint."""
        self._tell({"member": called, "resumed": True} | _where(state))

    def left(self, called: str, why: str, state: State) -> None:
        """Report a training that wrote its checkpoint and stops early."""
        self._tell({"member": called, "left": why} | _where(state))

    def cached(self, called: str, size: int, timing: Timing | None) -> None:
        """Report a member's published logits with their size, and the duration if all of it was on this worker."""
        message = timing.model_dump() if timing is not None else None
        self._tell({"member": called, "cached": True, "bytes": size, "timing": message})

    def _tell(self, news: dict[str, Any]) -> None:
        if self.rank == 0:
            self.board.post.remote(news)
            self._told = time.monotonic()


def _where(state: State) -> dict[str, int]:
    """Progress of a training: the current epoch, and its completed steps."""
    progress = state["progress"] if isinstance(state["progress"], list) else [state["progress"]]
    within = state["within"]
    return {"epoch": 1 + max(len(p["history"]) for p in progress), "step": within["step"] if within else 0}
