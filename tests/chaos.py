"""A cluster whose machines, workers and drivers are killed at random moments, and a run that ends as if nothing was.

    python tests/chaos.py --drivers 10 --losses 20 --seed 1      (`make chaos`)

The cluster is three raylets on this machine: a head and two machines of one CPU. The driver is killed and started
again, machines vanish and others come, training workers are killed. At the end the spec, the checkpoints and the logits
must be those of an undisturbed run, byte for byte, and nothing else may be left. Printed is what was killed, and how
many epochs were trained more than once.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from conftest import SMALL_SPACE
from ray_head import end_session
from raylets import Raylets, raylets

from ig3d_ray.storage import Store

HERE = Path(__file__).parent
# Trainings of half a minute or so, in three runs on two machines.
LONGER = ["pool.0.recipe.epochs=200", "pool.0.recipe.patience=200", "pool.1.recipe.epochs=400"]
LONGER += ["pool.1.recipe.patience=400", "resources.cohort=2", "resources.members_per_run=2"]
LONGER += ["resources.checkpoint_minutes=0.02", "resources.max_failures=100"]
# What varies from run to run.
VARIES = ("run.json", "timings/")


def start(store: Store, log: Path, cluster: Raylets) -> "subprocess.Popen[bytes]":
    words = [sys.executable, str(HERE / "chaos_driver.py"), str(SMALL_SPACE), store.uri, f"{log}.notes"]
    with log.open("ab") as lines:
        return subprocess.Popen(
            [*words, cluster.address, *LONGER],
            env=cluster.environment,
            stdout=lines,
            stderr=lines,
            start_new_session=True,
        )


def training_workers(cluster: Raylets) -> list[int]:
    """The training workers on a cluster's machines."""
    sessions = {machine.pid for machine in cluster.machines}
    listed = subprocess.run(["ps", "-eo", "pid=,sid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [int(r[0]) for r in rows if len(r) == 3 and int(r[1]) in sessions and "RayTrainWorker" in r[2]]


def lose_something(cluster: Raylets, draw: random.Random, killed: Counter[str]) -> None:
    """A machine, which is replaced, or a training worker if there is one."""
    workers = training_workers(cluster)
    if workers and draw.random() < 0.5:
        os.kill(draw.choice(workers), signal.SIGKILL)
        killed["workers"] += 1
    else:
        cluster.lose(draw.randrange(len(cluster.machines)))
        cluster.add()
        killed["machines"] += 1


def outputs(store: Store) -> dict[str, bytes]:
    """All that a run leaves but what varies, such as time."""
    return {name: store.read(name) for name in store.names() if not any(part in name for part in VARIES)}


def epochs(notes: Path) -> tuple[int, int]:
    """How many epochs were trained, and how many different ones."""
    events = [json.loads(line) for line in notes.read_text().splitlines()]
    trained = [(event["member"], event["epoch"]) for event in events if "score" in event]
    return len(trained), len(set(trained))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drivers", type=int, default=10)
    parser.add_argument("--losses", type=int, default=20, help="machines and workers together")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    draw, killed, place = random.Random(told.seed), Counter[str](), Path(tempfile.mkdtemp(prefix="chaos"))
    calm, wild = Store(str(place / "calm")), Store(str(place / "wild"))
    with raylets(place, machines=2) as cluster:
        began = time.monotonic()
        assert start(calm, place / "calm.log", cluster).wait() == 0, (place / "calm.log").read_text()[-2000:]
        seconds = time.monotonic() - began
        began, losses, log = time.monotonic(), 0, place / "wild.log"
        next_loss = time.monotonic() + draw.uniform(12, 30)
        while True:
            driver = start(wild, log, cluster)
            end = time.monotonic() + (draw.uniform(5, seconds) if killed["drivers"] < told.drivers else 10_000)
            while driver.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
                if losses < told.losses and time.monotonic() > next_loss:
                    lose_something(cluster, draw, killed)
                    losses += 1
                    next_loss = time.monotonic() + draw.uniform(8, 25)
            if driver.poll() is not None:
                end_session(driver.pid)
                assert driver.returncode == 0, f"left with {driver.returncode}:\n{log.read_text()[-3000:]}"
                break
            driver.kill()
            driver.wait()
            killed["drivers"] += 1
            end_session(driver.pid)
        took = time.monotonic() - began
    (all_trained, different), needed = epochs(Path(f"{log}.notes")), epochs(Path(f"{place / 'calm.log'}.notes"))[1]
    same = outputs(wild) == outputs(calm)
    print(f"killed {dict(killed)} in {took:.0f} s; undisturbed it takes {seconds:.0f} s")
    print(f"{all_trained} epochs trained, {different} different ones, {needed} needed: {all_trained - different} twice")
    extra = sorted(set(outputs(wild)) ^ set(outputs(calm)))
    print("same spec, checkpoints and logits, nothing else" if same else f"DIFFERENT: {extra[:10]}; {place}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
