"""A line from every command that lasts: what it is doing, every few seconds."""

import logging
import threading
import time

from ig3d_ray.cli.say import say
from ig3d_ray.errors import without_password

SILENCE = 4.5
PACKAGE = "ig3d_ray"


class Steps(logging.Handler):
    """Shows what has been going on for longer than `SILENCE` without another line.

    Records of level DEBUG name steps, such as one of a search's fits; each is shown only if it lasts.

    Args:
        lines: where such lines go; stderr by default.
        first: the step until the first record.
    """

    def __init__(self, lines: logging.Handler | None = None, first: str | None = None) -> None:
        super().__init__()
        self.lines, self.step = lines, first
        self.begun = self.shown = time.monotonic()
        self.is_over = False
        threading.Thread(target=self._watch, daemon=True, name="progress").start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a step, or of a line that is shown."""
        self.step, self.begun = without_password(record.getMessage()), time.monotonic()
        if self.lines is None and record.levelno >= logging.WARNING:
            say(self.step, err=True)
        if record.levelno >= (logging.WARNING if self.lines is None else self.lines.level):
            self.shown = self.begun

    def _watch(self) -> None:
        while not self.is_over:
            time.sleep(SILENCE / 10)
            now = time.monotonic()
            if self.step is not None and now - max(self.shown, self.begun) >= SILENCE:
                self._show(f"{self.step}: still running, {now - self.begun:.0f} s")
                self.shown = now

    def _show(self, text: str) -> None:
        if self.is_over:
            return
        if self.lines is None:
            say(f"ig3d: {text}", err=True)
        else:
            self.lines.handle(logging.LogRecord(PACKAGE, logging.INFO, __file__, 0, text, None, None))


def show_steps(lines: logging.Handler | None = None, first: str | None = None) -> None:
    """Show what lasts, in place of what showed it before.

    Args:
        lines: a handler that shows this package's records too; without one only warnings are shown, on stderr.
        first: what is going on now.
    """
    hide_steps()
    logger = logging.getLogger(PACKAGE)
    logger.handlers = [*([lines] if lines else []), Steps(lines, first)]
    logger.setLevel(logging.DEBUG)


def hide_steps() -> None:
    """Show nothing more, such as before a command's error."""
    logger = logging.getLogger(PACKAGE)
    for handler in logger.handlers:
        if isinstance(handler, Steps):
            handler.is_over = True
            logger.removeHandler(handler)
            # Those who import this package decide what they see of it.
            logger.setLevel(logging.NOTSET if handler.lines is None else logging.INFO)
