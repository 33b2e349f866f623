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

from ig3d_ray.storage.store import Store

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


class Chaos:
    """Kills at random moments until as many are counted as were asked for."""

    def __init__(self, cluster: Raylets, drivers: int, losses: int, seed: int) -> None:
        self.cluster, self.drivers, self.losses, self.draw = cluster, drivers, losses, random.Random(seed)
        self.killed: Counter[str] = Counter()

    @property
    def is_over(self) -> bool:
        return self.killed["drivers"] >= self.drivers and self.lost >= self.losses

    @property
    def lost(self) -> int:
        return self.killed["machines"] + self.killed["workers"]

    def run(self, store: Store, log: Path, seconds: float) -> None:
        """One run, killed again and again, until it ends by itself; `seconds` is what it takes undisturbed."""
        next_loss = time.monotonic() + self.draw.uniform(8, 25)
        while True:
            driver = start(store, log, self.cluster)
            end = self.draw.uniform(3, 0.7 * seconds) if self.killed["drivers"] < self.drivers else 10_000.0
            end += time.monotonic()
            while driver.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
                if self.lost < self.losses and time.monotonic() > next_loss:
                    lose_something(self.cluster, self.draw, self.killed)
                    next_loss = time.monotonic() + self.draw.uniform(8, 25)
            if driver.poll() is not None:
                end_session(driver.pid)
                assert driver.returncode == 0, f"left with {driver.returncode}:\n{log.read_text()[-3000:]}"
                return
            driver.kill()
            driver.wait()
            self.killed["drivers"] += 1
            end_session(driver.pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drivers", type=int, default=10)
    parser.add_argument("--losses", type=int, default=20, help="machines and workers together")
    parser.add_argument("--seed", type=int, default=0)
    message = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="chaos"))
    calm = Store(str(place / "calm"))
    with raylets(place, machines=2) as cluster:
        began = time.monotonic()
        assert start(calm, place / "calm.log", cluster).wait() == 0, (place / "calm.log").read_text()[-2000:]
        seconds = time.monotonic() - began
        needed = epochs(Path(f"{place / 'calm.log'}.notes"))[1]
        print(f"undisturbed: {seconds:.0f} s, {needed} epochs", flush=True)
        chaos, runs = Chaos(cluster, message.drivers, message.losses, message.seed), 0
        while not chaos.is_over:
            runs += 1
            before, began = Counter(chaos.killed), time.monotonic()
            wild, log = Store(str(place / f"wild{runs}")), place / f"wild{runs}.log"
            chaos.run(wild, log, seconds)
            trained, different = epochs(Path(f"{log}.notes"))
            lost = ", ".join(f"{count} {kind}" for kind, count in (chaos.killed - before).items())
            again = f"{trained - different} of {trained} epochs trained twice"
            print(f"run {runs}: killed {lost}; {time.monotonic() - began:.0f} s, {again}", flush=True)
            extra = sorted(set(outputs(wild)) ^ set(outputs(calm)))
            if outputs(wild) != outputs(calm):
                sys.exit(f"DIFFERENT: {extra[:10]}; {place}")
    print(f"{runs} runs, killed {dict(chaos.killed)}: the same spec, checkpoints and logits, and nothing else")


if __name__ == "__main__":
    main()
