"""5,000 members on 8 to 1,000 GPUs, simulated; and many short ones on a real cluster of three machines on this one.

    python -m benchmarks.scale              writes scale.json and scale.md
    python -m benchmarks.scale --rate 0.2   other spot machines: losses per machine and hour

The pool is search_spaces/affectnet8_all.yaml with other seeds, its trainings' lengths are what `ig3d plan` says of
an A10G. What Ray costs is measured first, in the same run.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import overhead
from benchmarks.scale_page import page
from benchmarks.simulation import Costs, Fleet, Job, Told, first_come, longest, lower_bound, simulate
from ig3d_ray.config.load import load_space
from ig3d_ray.models.spec import TrainedSpec
from ig3d_ray.on_ray.watch import CHECKPOINT_SHARE
from ig3d_ray.storage.store import Store
from ig3d_ray.training.cost_model import estimate
from ig3d_ray.training.runs import PACK_SECONDS, make_runs
from ig3d_ray.training.schedule import makespan

HERE = Path(__file__).parent
MEMBERS, SAMPLES = 5000, 258_886  # of AffectNet-8's train, less a tenth for dev
GPUS = (8, 32, 100, 320, 1000)
INTERVALS = (10.0, 60.0, 300.0, 900.0, 3600.0, math.inf)
SEEDS = range(5)
# A checkpoint of the largest network, 31 million parameters with its optimizer's state, written to S3.
WRITE_SECONDS = 4.0
# Half of all losses are told in time; GPUs of another kind of machine come after five minutes.
NOTICE, REPLACEMENT = 0.5, 300.0
HEAD_CORES = 8
OLD_RUN = 8


def pool() -> list[tuple[str, TrainedSpec]]:
    """The paper's and the compared networks with many seeds, in the order in which a space names them: by kind."""
    space = load_space(HERE.parent / "search_spaces" / "affectnet8_all.yaml")
    kinds = space.trainable()
    seeds = -(-MEMBERS // len(kinds))
    made = [spec.model_copy(update={"seed": seed}) for spec in kinds for seed in range(seeds)][:MEMBERS]
    return [(f"{i:04d}", spec) for i, spec in enumerate(made)]


def jobs(members: Sequence[tuple[str, TrainedSpec]], seconds: dict[str, float], size: int, packs: bool) -> list[Job]:
    """Runs as this package makes them, or of so many members whatever they take."""
    runs = make_runs(Store("/nowhere"), "affectnet8", members, size, seconds if packs else None)
    return [Job(place, tuple(seconds[f] for f, _ in run.members)) for place, run in enumerate(runs)]


def mean(message: Sequence[Told]) -> dict[str, float]:
    """Of several seeds."""
    return {name: sum(asdict(t)[name] for t in message) / len(message) for name in asdict(message[0])}


def simulated(found: dict[str, Any], rate: float) -> dict[str, Any]:
    """Policies against GPUs, and lost hours against the time between checkpoints."""
    members = pool()
    seconds = {f: estimate(spec, SAMPLES, [], "A10G", 32).seconds for f, spec in members}
    costs = Costs(
        start=found["start"],
        each=found["each"],
        driver=found["head"]["seconds"] / HEAD_CORES,
        interval=60.0,
        write=WRITE_SECONDS,
        share=CHECKPOINT_SHARE,
    )
    ours, eights = jobs(members, seconds, 32, True), jobs(members, seconds, OLD_RUN, False)
    alone = jobs(members, seconds, 1, False)
    policies = {
        "ours": (ours, costs, longest),
        "fifo": (ours, costs, first_come),
        "eights": (eights, costs, first_come),
        "trials": (alone, replace(costs, interval=math.inf, write=0.0), first_come),
    }
    rows = []
    for gpus in GPUS:
        row: dict[str, Any] = {"gpus": gpus}
        for name, (made, at, order) in policies.items():
            row[name] = mean([simulate(made, Fleet(gpus, rate, NOTICE, REPLACEMENT, s), at, order) for s in SEEDS])
        row["bound"] = lower_bound(list(seconds.values()), Fleet(gpus, rate, NOTICE, REPLACEMENT))
        rows.append(row)
    waste = []
    for interval, share in [(each, 1.0) for each in INTERVALS] + [(60.0, 0.05), (60.0, CHECKPOINT_SHARE)]:
        for notice in (0.0, NOTICE):
            at = replace(costs, interval=interval, share=share, write=0.0 if math.isinf(interval) else WRITE_SECONDS)
            message = mean([simulate(ours, Fleet(100, rate, notice, REPLACEMENT, s), at, longest) for s in SEEDS])
            waste.append(
                {"interval": interval if interval < math.inf else None, "share": share, "notice": notice} | message
            )
    shape = {"members": len(members), "runs": len(ours), "work": sum(seconds.values()) / 3600}
    shape |= {"longest": max(seconds.values()) / 3600, "pack": PACK_SECONDS}
    return {"rate": rate, "notice": NOTICE, "replacement": REPLACEMENT, "pool": shape, "policies": rows, "waste": waste}


def real(found: dict[str, Any]) -> dict[str, Any]:
    """Many short members on three raylets of this machine, against what the simulation says of them."""
    import ray
    from ray.cluster_utils import Cluster

    from ig3d_ray.data.synthetic.faces import make_faces
    from ig3d_ray.on_ray.train import train_runs

    count, size, places = 64, 8, 2
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(places):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            make_faces(store, 2000, seed=5)
            runs = make_runs(store, "faces", overhead.members(store, count, 0), size)
            began = time.perf_counter()
            failed = train_runs(runs, overhead.RESOURCES, lambda event: None)
            wall = time.perf_counter() - began
            assert not failed, failed
    finally:
        ray.shutdown()
        cluster.shutdown()
    plain = (found["seconds"]["plain-32"] - found["seconds"]["plain-1"]) / 31
    run = found["start"] + size * (plain + found["each"])
    expected = makespan([run] * (count // size), places)
    return {
        "members": count,
        "runs": count // size,
        "places": places,
        "wall": wall,
        "more": wall * places / count - plain,
        "expected": expected,
        "plain": plain,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=0.05, help="losses per machine and hour")
    rate = parser.parse_args().rate
    found = overhead.measure()
    message = {"machine": {"cores": os.cpu_count()}, "overhead": found, "real": real(found)} | simulated(found, rate)
    (HERE / "scale.json").write_text(json.dumps(message, indent=1) + "\n")
    text = page(message)
    (HERE / "scale.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
