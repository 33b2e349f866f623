"""Clusters whose machines come and go, each in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ig3d_ray.on_ray.cluster import ENVIRONMENT

pytestmark = pytest.mark.long


def run_script(name: str, place: Path) -> str:
    """Run a script of this folder beside this session's Ray: its last line."""
    script = Path(__file__).parents[1] / name
    # Nothing of this session's Ray, whose variables and token would keep another head from starting.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= ENVIRONMENT | {"HOME": str(place), "PYTHONPATH": str(script.parent), "RAY_USAGE_STATS_ENABLED": "0"}
    words = [sys.executable, str(script), str(place / "store")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


def test_a_machine_that_is_lost_in_the_middle_of_a_search_changes_nothing(tmp_path: Path) -> None:
    assert run_script("lose_a_machine.py", tmp_path) == "lost 1 of 3 machines, same results"


def test_a_training_leaves_a_machine_that_is_taken_away_and_loses_no_step(tmp_path: Path) -> None:
    message = json.loads(run_script("drain_a_machine.py", tmp_path))
    assert message["failed"] == {}
    news = message["news"]
    (drained,) = [event for event in news if "drained" in event]
    (left,) = [event for event in news if "left" in event]
    (resumed,) = [event for event in news if "resumed" in event]
    assert left["left"] == "preempted"
    assert left["step"] > 0, "not in the middle of an epoch"
    assert (left["epoch"], left["step"]) == (resumed["epoch"], resumed["step"])
    assert left["at"] - drained["at"] < 15
    assert resumed["at"] - drained["at"] < 30, "the notice was over"
    assert drained["drained"] not in resumed["on"]
    epochs = [event["epoch"] for event in news if "score" in event]
    assert epochs == list(range(1, 5))
