"""Where a run goes: a machine without room for it, and addresses where no cluster answers."""

import re
import socket
import subprocess
import sys
import time

import pytest
from conftest import SMALL_SPACE

from ig3d_ray.config.load import load_space
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.pipeline import run
from ig3d_ray.workflow.progress import Reporter

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "resources.cpus_per_worker=512",
            "one training asks for 1 workers of 512 CPUs, this machine has room for 0 .its largest machine",
        ),
        (
            "resources.gpus_per_worker=1",
            "one training asks for 1 workers of 1 CPUs and 1 GPUs, this machine has room for 0",
        ),
    ],
)
def test_more_than_there_is_is_said_at_once(faces: tuple[Store, Samples], override: str, message: str) -> None:
    import torch

    if torch.cuda.is_available():
        override = override.replace("gpus_per_worker=1", "gpus_per_worker=99")
        message = message.replace("and 1 GPU", "and 99 GPU")
    store, _ = faces
    store.write("datasets/faces/drawn.json", b'{"samples": 240, "seed": 3}')
    # In a process of its own: this one may have another test's Ray.
    words = [sys.executable, "-m", "ig3d_ray", "run", str(SMALL_SPACE), "--storage", store.uri, "--set", override]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert re.search(message, done.stderr)


def test_an_address_that_refuses_or_is_mute(faces: tuple[Store, Samples]) -> None:
    store, _ = faces
    store.write("datasets/faces/drawn.json", b'{"samples": 240, "seed": 3}')
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        port = mute.getsockname()[1]
        for address, message in (
            (f"127.0.0.1:{port}", "no Ray cluster answers within 10 s"),
            ("127.0.0.1:1", "no Ray cluster answers .*refused"),
            ("nonsense", "no Ray cluster answers"),
            ("ray://127.0.0.1:1", "Ray client addresses are not supported"),
        ):
            started = time.monotonic()
            with pytest.raises(Ig3dError, match=message):
                run(store, load_space(SMALL_SPACE), "small", address, Reporter())
            assert time.monotonic() - started < 10
