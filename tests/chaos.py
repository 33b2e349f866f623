"""Runs that are killed again and again at random moments, and end as one that was left alone.

    python tests/chaos.py --drivers 10 --workers 20 --seed 1      (`make chaos`)

Each round starts a run on the same storage; it is killed with its driver, or loses training workers, after a random
time. At the end the spec, the checkpoints and the logits must be those of the undisturbed run, byte for byte, and
nothing else may be left. Printed is what was killed, and how many epochs were trained more than once.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from conftest import SMALL_SPACE
from ray_head import end_session

from ig3d_ray.storage import Store

LONGER = ["--set", "pool.0.recipe.epochs=12", "--set", "pool.1.recipe.epochs=12", "--set", "resources.cohort=2"]
LONGER += ["--set", "resources.checkpoint_minutes=0.02"]


def start(store: Store, log: Path) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "ig3d_ray", "run", str(SMALL_SPACE), "--storage", store.uri, *LONGER]
    with log.open("ab") as lines:
        return subprocess.Popen(words, stdout=lines, stderr=lines, start_new_session=True)


def workers_below(session: int) -> list[int]:
    """The training workers of a driver's Ray."""
    listed = subprocess.run(["ps", "-eo", "pid=,sid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [int(r[0]) for r in rows if len(r) == 3 and int(r[1]) == session and "RayTrainWorker" in r[2]]


def outputs(store: Store) -> dict[str, bytes]:
    """All that a run leaves but what varies, such as time."""
    return {name: store.read(name) for name in store.names() if not name.endswith("run.json")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drivers", type=int, default=10)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    draw, killed, place = random.Random(told.seed), Counter[str](), Path(tempfile.mkdtemp(prefix="chaos"))
    calm, wild, log = Store(str(place / "calm")), Store(str(place / "wild")), place / "log"
    began = time.monotonic()
    assert start(calm, place / "calm.log").wait() == 0, (place / "calm.log").read_text()[-2000:]
    seconds = time.monotonic() - began
    rounds = 0
    while True:
        rounds += 1
        driver = start(wild, log)
        end = time.monotonic() + (draw.uniform(1, seconds) if killed["drivers"] < told.drivers else 10_000)
        next_worker = time.monotonic() + draw.uniform(5, 12)
        while driver.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            if killed["workers"] < told.workers and time.monotonic() > next_worker:
                for pid in workers_below(driver.pid)[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed["workers"] += 1
                next_worker = time.monotonic() + draw.uniform(1, 6)
        if driver.poll() is None:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            killed["drivers"] += 1
            time.sleep(4)
            end_session(driver.pid)
            continue
        end_session(driver.pid)
        assert driver.returncode == 0, f"left with {driver.returncode}:\n{log.read_text()[-3000:]}"
        break
    same = outputs(wild) == outputs(calm)
    extra = sorted(set(wild.names()) ^ set(calm.names()))
    text = log.read_text()
    resumed = len(re.findall("goes on at epoch", text))
    print(f"killed {killed['drivers']} drivers and {killed['workers']} workers in {rounds} runs, {resumed} resumptions")
    print("same spec, checkpoints and logits" if same else f"DIFFERENT: {extra[:10]}")
    print(f"logs and stores: {place}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
