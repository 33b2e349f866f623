"""How a signal ends a command, wherever it arrives."""

import signal
import subprocess
import sys

import pytest

# What Cython and CPython do with an exception that a signal's handler raises inside a compiled function.
INSIDE_A_COMPILED_FUNCTION = """
import os, signal, time
from ig3d_ray.cli.terminal import interruptible
with interruptible():
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(10)
    except BaseException as error:
        {then}
"""


@pytest.mark.parametrize("then", ["raise", "raise SystemError('a result with an exception set') from error"])
@pytest.mark.parametrize(("name", "reason", "code"), [("SIGTERM", "terminated", 143), ("SIGINT", "interrupted", 130)])
def test_a_signal_prints_how_to_resume_whatever_exception_arrives(name: str, reason: str, code: int, then: str) -> None:
    script = INSIDE_A_COMPILED_FUNCTION.format(name=name, then=then)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        # A shell that starts the tests in its background has them ignore Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.stderr.splitlines()[-1] == (
        f"ig3d: {reason}; finished work is stored: the same command resumes from there"
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code
