"""What Ray costs beyond the training itself: the same members trained through Ray Train and without, in one run.

    python -m benchmarks.overhead

Ray is started once, before. A group of n members takes `start + n * each` longer than the plain loop: both are
found by two group sizes. Where a worker's time goes is asked of Python's profiler in a run of its own.
"""

import contextlib
import cProfile
import io
import json
import os
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ig3d_ray.config.resources import Resources
from ig3d_ray.data.datasets import dataset
from ig3d_ray.data.samples import load_samples
from ig3d_ray.data.synthetic.faces import make_faces
from ig3d_ray.models.build import build_network
from ig3d_ray.models.inputs import Feeding, member_inputs, member_samples
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.models.recipe import TrainingRecipe
from ig3d_ray.models.spec import fingerprint
from ig3d_ray.on_ray import cluster, train, train_loop
from ig3d_ray.storage.store import Store
from ig3d_ray.training.publish import publish
from ig3d_ray.training.runs import make_runs
from ig3d_ray.training.trainer import Labeled, Trainer, Worker

SIZES = (1, 32)
REPEATS = 3
RECIPE = TrainingRecipe(epochs=5, patience=5, batch_size=64)
RESOURCES = Resources(cohort=1)
HEAD_PROCESSES = ("ray::TrainController", "ray::PlacementGroup", "ray::Synchronization", "ray::Preemption")
PARTS = ("run", "publish", "trainer", "labeled", "_write", "all_cached", "load_samples", "_last_state")


def members(store: Store, count: int, first: int) -> list[tuple[str, Mlp3dSpec]]:
    """So many small 3D classifiers that differ in their seeds."""
    samples = load_samples(store, "faces")
    specs = [
        Mlp3dSpec(representation="emoca", subset="full", width=256, seed=first + i, recipe=RECIPE) for i in range(count)
    ]
    return [(fingerprint("faces", samples.fingerprint, spec), spec) for spec in specs]


def with_ray(store: Store, count: int, first: int, on_event: Callable[[Any], None] = lambda event: None) -> float:
    """Seconds of one worker group that trains so many."""
    runs = make_runs(store, "faces", members(store, count, first), count)
    started = time.perf_counter()
    failed = train.train_runs(runs, RESOURCES, on_event)
    assert not failed, failed
    return time.perf_counter() - started


def without_ray(store: Store, count: int, first: int) -> float:
    """Seconds of a plain script: data read once, then each member trained and its weights and logits written."""
    made, started = members(store, count, first), time.perf_counter()
    samples, about, feeding = load_samples(store, "faces"), dataset("faces"), Feeding(torch.device("cpu"), 0, 0)
    torch.set_num_threads(RESOURCES.cpus_per_worker)
    data = {}
    for split in ("train", "dev"):
        chosen = member_samples(made[0][1], samples, split)
        labels, va = torch.from_numpy(chosen.expression), torch.from_numpy(chosen.va).nan_to_num()
        data[split] = Labeled(member_inputs(made[0][1], chosen, store, feeding), labels, va)
    for mark, spec in made:
        torch.manual_seed(spec.seed)
        trainer = Trainer(
            network=build_network(spec, about, 0),
            train=data["train"],
            dev=data["dev"],
            stage=spec.stages[0],
            seed=spec.seed,
            classes=len(about.class_names),
            monitor=spec.monitor,
            attention="none",
            groups=spec.parameter_groups,
            worker=Worker(),
            compiled=False,
        )
        rows = trainer.run(lambda epoch, state: None, None, lambda state: None)
        publish(store, samples, mark, spec, trainer.network, rows, feeding, False)
    return time.perf_counter() - started


def profiled(config: dict[str, Any]) -> Any:
    """The loop, and in the store the seconds of its parts."""
    began, profile = time.time(), cProfile.Profile()
    result = profile.runcall(train_loop.train_loop, config)
    rows = pstats.Stats(profile, stream=io.StringIO()).stats.items()  # type: ignore[attr-defined]
    spent = dict.fromkeys(PARTS, 0.0)
    for (file, _, name), (_, _, _, cumulative, _) in rows:
        if name in spent and "ig3d_ray" in file:
            spent[name] = max(spent[name], cumulative)
    Store(config["storage"]).write("profile.json", json.dumps({"began": began, "ended": time.time()} | spent).encode())
    return result


def on_head() -> dict[str, tuple[float, float]]:
    """Of each process of Ray Train that is no worker, by pid and name: processor seconds and MiB that it has alone."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            title = (process / "cmdline").read_text().split("\0")[0].strip()
            if title.startswith(HEAD_PROCESSES):
                times = (process / "stat").read_text().rsplit(")", 1)[1].split()
                rows = (process / "smaps_rollup").read_text().splitlines()
                own = sum(int(row.split()[1]) for row in rows if row.startswith("Private_"))
                found[f"{process.name} {title.split('.')[0]}"] = (
                    sum(map(int, times[11:13])) / os.sysconf("SC_CLK_TCK"),
                    own / 1024,
                )
    return found


def measure() -> dict[str, Any]:
    """Both ways at two group sizes, the least of some repeats each, and the parts of a worker's time."""
    import ray

    for name, value in cluster.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    began = time.perf_counter()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    up = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        make_faces(store, 2000, seed=5)
        with_ray(store, 1, 9_000)
        took: dict[tuple[str, int], float] = {}
        first = 0
        for _ in range(REPEATS):
            for size in SIZES:
                for name, way in (("ray", with_ray), ("plain", without_ray)):
                    first += size
                    took[name, size] = min(took.get((name, size), np.inf), way(store, size, first))
        began_at, real = time.time(), train.train_loop
        train.train_loop = profiled  # type: ignore[assignment]
        seen: dict[str, tuple[float, float]] = {}
        with_ray(store, SIZES[-1], first + 1000, lambda event: seen.update(on_head() if event.get("cached") else {}))
        train.train_loop, ended_at = real, time.time()
        inside = json.loads(store.read("profile.json"))
    ray.shutdown()
    extra = {size: took["ray", size] - took["plain", size] for size in SIZES}
    each = (extra[SIZES[1]] - extra[SIZES[0]]) / (SIZES[1] - SIZES[0])
    parts = {"until the loop begins": inside["began"] - began_at, "the loop": inside["ended"] - inside["began"]}
    parts["after the loop"] = ended_at - inside["ended"]
    return {
        "sizes": SIZES,
        "ray_up": up,
        "seconds": {f"{name}-{size}": value for (name, size), value in took.items()},
        "start": extra[SIZES[0]] - each,
        "each": each,
        "per_member": extra[SIZES[1]] / SIZES[1],
        "head": {"seconds": sum(s for s, _ in seen.values()), "mib": sum(m for _, m in seen.values())},
        "processes": {name.split(" ", 1)[1]: both for name, both in seen.items()},
        "parts": parts,
        "inside": {name: inside[name] for name in PARTS},
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
