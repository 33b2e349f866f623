"""The state from which a training resumes after a failure: reported to Ray Train periodically, and loaded from it."""

import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.train
from ray.train import Checkpoint

from ig3d_ray.models.checkpoint import from_bytes, to_bytes
from ig3d_ray.on_ray.watch import Leave, Word
from ig3d_ray.on_ray.work import Work
from ig3d_ray.training.state import State

STATE_FILE = "state.pt"


def last_state() -> dict[str, Any] | None:
    """The state that Ray Train registered last, of whichever members it was."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        path = Path(folder) / STATE_FILE
        return from_bytes(path.read_bytes(), str(path))


def obey(word: Word, work: Work, content: State, current: Callable[[], State]) -> None:
    """Act on the watch's decision: continue, with or without writing the state first, or stop.

    Args:
        content: identifies the training: `members`, `called`, and other fields of its state beside the trainer's.
        current: the trainer's state now.

    Raises:
        Leave: the state is written, and the training must not continue here.
    """
    if word == "go on":
        return
    started = time.monotonic()
    _write(work.rank, content, current)
    work.watch.written(time.monotonic() - started)
    if word != "checkpoint":
        work.news.left(content["called"], word, current())
        raise Leave(word)


def _write(rank: int, content: State, current: Callable[[], State]) -> None:
    """All workers report, rank 0 with the state."""
    if rank > 0:
        ray.train.report({})
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / STATE_FILE).write_bytes(to_bytes(content | {"state": current()}))
        name = f"{content['members'][0]}-{uuid.uuid4().hex[:12]}"
        ray.train.report({}, checkpoint=Checkpoint.from_directory(folder), checkpoint_dir_name=name)
