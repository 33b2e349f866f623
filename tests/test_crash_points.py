"""Commands that are killed before a change to the disk and run again: nothing is refused, differs or is left over."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from crash_points import COMMANDS

SCRIPT = Path(__file__).with_name("crash_points.py")


def wrong_points(place: Path, at_most: int, *commands: str) -> dict[str, object]:
    """Of each command, what went wrong at which of its points."""
    words = [sys.executable, str(SCRIPT), str(place), str(at_most), *commands]
    done = subprocess.run(words, capture_output=True, text=True, timeout=890)
    assert done.returncode == 0, done.stderr[-3000:]
    table = json.loads(done.stdout.splitlines()[-1])
    assert all(about["points"] > 2 for about in table.values())
    return {name: about["wrong"] for name, about in table.items() if about["wrong"]}


@pytest.mark.slow
def test_a_killed_import_is_run_again(tmp_path: Path) -> None:
    assert wrong_points(tmp_path, 5, "data rafdb", "import predictions") == {}


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_killed_anywhere_is_run_again(command: str, tmp_path: Path) -> None:
    assert wrong_points(tmp_path, 10**6, command) == {}
