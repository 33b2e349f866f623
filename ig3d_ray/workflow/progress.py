"""Progress display of a run: bars on a terminal, plain lines in a log."""

import logging
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ig3d_ray.search.explorer import Explorer

logger = logging.getLogger(__name__)
LINE_SECONDS = 5.0
NAMED = 3


class Reporter:
    """Progress of trainings and of the search: log records, and bars where there is a terminal.

    Args:
        console: the terminal of the bars; None, or a console without a terminal, for log records only.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console
        self.live = console is not None and console.is_terminal
        self.bars: Progress | None = None
        self.members: dict[str, TaskID] = {}
        self.done = self.total = 0
        self._last_line = 0.0

    def start_training(self, total: int, cached: int) -> None:
        """Before members are trained."""
        self.done, self.total = 0, total
        logger.info(f"train: {total} members to train, {cached} cached")
        if self.live:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[news]}"),
                TimeElapsedColumn(),
            )
            self.bars = Progress(*columns, console=self.console, transient=True)
            self.bars.start()

    def training(self, event: dict[str, Any]) -> None:
        """Process an event from a worker, or about all of them."""
        if "said" in event:
            logger.info(f"train: {event['said']}")
            return
        name = event["member"]
        if "cached" in event:
            self.done += 1
            if self.bars and name in self.members:
                self.bars.remove_task(self.members.pop(name))
            logger.info(f"train: {name} done and cached ({self.done} of {self.total})")
        elif "left" in event:
            why = "its machine is being taken away" if event["left"] == "preempted" else "terminated"
            logger.info(f"train: {name}: {why}; written at epoch {event['epoch']}, step {event['step']}")
        elif "resumed" in event:
            logger.info(f"train: {name} resumed at epoch {event['epoch']}, step {event['step']}")
        elif "steps" in event:
            news = f"epoch {event['epoch']} of at most {event['epochs']}, step {event['step']} of {event['steps']}"
            self._news(name, event, event["epoch"] - 1 + event["step"] / event["steps"], news)
        else:
            where = f"epoch {event['epoch']} of at most {event['epochs']}"
            self._news(name, event, event["epoch"], f"{where}, dev {event['score']:.4f}, best {event['best']:.4f}")

    def _news(self, name: str, event: dict[str, Any], epochs_done: float, news: str) -> None:
        if self.bars:
            if name not in self.members:
                self.members[name] = self.bars.add_task(name, total=event["epochs"], news=news)
            self.bars.update(self.members[name], completed=epochs_done, news=news)
        elif time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            logger.info(f"train: {name}: {news}")

    def end_training(self) -> None:
        """After the last member."""
        if self.bars:
            self.bars.stop()
            self.bars, self.members = None, {}

    def searching(self, explorer: Explorer) -> None:
        """After a round of the search."""
        best = explorer.best
        message = ""
        if best:
            who = " + ".join(best.members) if len(best.members) <= NAMED else f"{len(best.members)} members"
            message = f", best {best.score:.4f} ({who})"
        rate = explorer.scored / max(explorer.seconds, 1e-9)
        if self.live or explorer.over or time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            logger.info(f"search: {explorer.scored} candidates, {rate:,.0f} per second{message}")
