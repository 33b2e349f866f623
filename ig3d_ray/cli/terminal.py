"""What a terminal shows while a command runs, and how an interruption ends it."""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType
from rich.logging import RichHandler
from rich.segment import Segment
from rich.text import Text

from ig3d_ray.cli.say import say
from ig3d_ray.cli.steps import show_steps
from ig3d_ray.errors import Terminated, printable, without_password

INTERRUPTED = 130
TERMINATED = 143
LOG_WIDTH = 140


class _PlainConsole(Console):
    """A console for which text is text: neither markup nor control characters in names have an effect."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


class _LineHandler(RichHandler):
    """Log records as plain lines, above the bars of a progress display on the same console."""

    def render(self, *, record: Any, traceback: Any, message_renderable: ConsoleRenderable) -> ConsoleRenderable:
        return message_renderable


class _Elapsed(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self.started = time.time()

    def format(self, record: logging.LogRecord) -> str:
        return f"[{record.created - self.started:6.1f} s] {printable(without_password(record.getMessage()))}"


def log_to_stderr() -> Console:
    """Show this package's log records on stderr, so that stdout holds results alone; and whatever lasts.

    Returns:
        The console of stderr, for progress bars.
    """
    console = _PlainConsole(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
    handler = _LineHandler(console=console, markup=False, highlighter=None, level=logging.INFO)
    handler.setFormatter(_Elapsed())
    show_steps(handler)
    return console


def stdout_console(at_least: int = 0, log_width: int = LOG_WIDTH) -> Console:
    """The console of results. A log has no width of its own: a table is then as wide as it needs.

    Args:
        at_least: its width in characters, also where the terminal is narrower.
        log_width: its width where stdout is no terminal.
    """
    console = _PlainConsole()
    width = max(at_least, console.width if sys.stdout.isatty() else log_width)
    return console if width == console.width else _PlainConsole(width=width)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Context in which Ctrl-C and SIGTERM print how to resume, and exit although threads still wait for Ray."""
    received: list[tuple[str, int]] = []

    def interrupt(*_: object) -> None:
        received.append(("interrupted", INTERRUPTED))
        raise KeyboardInterrupt

    def terminate(*_: object) -> None:
        received.append(("terminated", TERMINATED))
        raise Terminated

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] is signal.default_int_handler:  # not where a shell made its background ignore Ctrl-C
        signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except BaseException:
        # A compiled function in which a signal arrives may raise another exception in its place (see `Terminated`).
        if not received:
            raise
        _exit(*received[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(reason: str, code: int) -> None:
    say(f"\nig3d: {reason}; finished work is stored: the same command resumes from there", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
