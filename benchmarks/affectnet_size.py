"""Memory and time of a run at AffectNet's size, on generated data: writes benchmarks/affectnet_size.md.

`python -m benchmarks.affectnet_size`; five minutes on two cores. 291,650 samples with EMOCA's and SMIRK's parameters
and no images; eight 3D classifiers of one epoch.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from ig3d_ray.data.representations import subset_columns, width_of
from ig3d_ray.data.samples import Samples
from ig3d_ray.storage.store import Store

PAGE = Path(__file__).with_name("affectnet_size.md")
COMMAND = Path(sys.executable).parent / "ig3d"
SAMPLES = 291_650
DATASET = "affectnet8"
SPACE = """dataset: affectnet8
objective: accuracy
pool:
  - kind: mlp3d
    representation: [emoca, smirk]
    subset: [short, full]
    seed: [0, 1]
    width: 64
    recipe: {epochs: 1, batch_size: 4096, patience: null}
search: {budget: 20}
"""
MIB = 2**20
SHOWN = 6000
FIRST_EPOCH = re.compile(rb"\[ *([\d.]+) s\] train: .*epoch 1 of")


def make(store: Store, count: int) -> None:
    """A data set whose parameters tell the class, most of the time.

    Args:
        store: where.
        count: of the samples.
    """
    rng, rows = np.random.default_rng(0), np.arange(count)
    classes = rng.integers(0, 8, count)
    columns = {
        "sample_id": pa.array([f"train/{row:07d}" for row in range(count)]),
        "split": pa.array(np.where(rows % 73 == 0, "test", np.where(rows % 10 == 0, "dev", "train"))),
        "expression": pa.array(classes.astype(np.int8)),
        "valence": pa.array(rng.uniform(-1, 1, count).astype(np.float32)),
        "arousal": pa.array(rng.uniform(-1, 1, count).astype(np.float32)),
        "image": pa.nulls(count, pa.string()),
        "group": pa.nulls(count, pa.string()),
    }
    for name in ("emoca", "smirk"):
        values = rng.standard_normal((count, width_of(name)), dtype=np.float32)
        values[rows, classes] += 2
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), width_of(name))
    Samples(DATASET, pa.table(columns)).save(store)


@dataclass
class Watched:
    """A command that ran.

    Attributes:
        seconds: that it took.
        peaks: role -> highest resident memory of one process, in MiB.
        together: highest sum of the unique memory of the driver and the training workers, in MiB.
        first_epoch: seconds until one had ended; None if none had.
        code: its exit status.
    """

    seconds: float = 0.0
    peaks: dict[str, float] = field(default_factory=dict)
    together: float = 0.0
    first_epoch: float | None = None
    code: int = 0


def watch(*words: str | Path) -> Watched:
    """Run a command and look at its processes five times a second."""
    found, started = Watched(), time.perf_counter()
    output = b""
    with subprocess.Popen(
        [str(COMMAND), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        while process.poll() is None:
            output += process.stdout.read() or b""
            _look(psutil.Process(process.pid), found)
            time.sleep(0.2)
        output += process.stdout.read() or b""
    shown = output.decode(errors="replace")
    print(shown if len(shown) < SHOWN else f"{shown[: SHOWN // 2]}\n[...]\n{shown[-SHOWN // 2 :]}", flush=True)
    found.seconds, found.code = time.perf_counter() - started, process.returncode
    steps = FIRST_EPOCH.search(output)
    found.first_epoch = float(steps[1]) if steps else None
    return found


def _look(driver: psutil.Process, found: Watched) -> None:
    together = 0.0
    for one in (driver, *_children(driver)):
        try:
            role = "driver" if one.pid == driver.pid else _role(one.cmdline())
            resident = one.memory_info().rss / MIB
            if role in ("driver", "training worker"):
                together += one.memory_full_info().pss / MIB
        except psutil.Error:
            continue
        if role is not None:
            found.peaks[role] = max(found.peaks.get(role, 0.0), resident)
    found.together = max(found.together, together)


def _children(driver: psutil.Process) -> list[psutil.Process]:
    try:
        return driver.children(recursive=True)
    except psutil.Error:
        return []


def _role(words: list[str]) -> str | None:
    name = " ".join(words)[:200]
    if "RayTrainWorker" in name or "TrainWorker" in name:
        return "training worker"
    return "other Ray worker" if name.startswith("ray::") else None


def imports() -> float:
    """The resident memory of a driver that has imported what a run needs, in MiB."""
    modules = "psutil, torch, ray.train, ray.tune, ig3d_ray.workflow.pipeline, ig3d_ray.on_ray.train as t"
    code = f"import {modules}, ig3d_ray.on_ray.search"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(psutil.Process().memory_info().rss)"], capture_output=True, check=True
    )
    return int(done.stdout.split()[-1]) / MIB


def tensors_of(count: int) -> float:
    """What a worker trains on, in MiB: the standardized parameters of each distinct input of the cohort."""
    widths = [len(subset_columns(name, subset)) for name in ("emoca", "smirk") for subset in ("short", "full")]
    return 4 * count * len(widths) * max(widths) * (1 - 1 / 73) / MIB


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("affectnet-size"))
    parser.add_argument("--samples", type=int, default=SAMPLES)
    words = parser.parse_args()
    shutil.rmtree(words.work, ignore_errors=True)
    words.work.mkdir(parents=True)
    storage, space = words.work / "runs", words.work / "space.yaml"
    store = Store(str(storage))
    store.prepare()
    make(store, words.samples)
    space.write_text(SPACE)
    tensors = tensors_of(words.samples)
    base = imports()
    plan = watch("plan", space, "--storage", storage)
    listing = watch("ls", "--storage", storage)
    check = watch("data", "check", "--dataset", DATASET, "--storage", storage)
    run = watch("run", space, "--storage", storage)
    again = watch("search", space, "--storage", storage)
    driver, worker = run.peaks.get("driver", 0.0), run.peaks.get("training worker", 0.0)
    rows = [
        ("driver of `ig3d run`, beyond its imports", f"{driver - base:,.0f} MiB", "1,024 MiB", "5.7 GB in all"),
        ("training worker", f"{worker:,.0f} MiB", f"its tensors ({tensors:,.0f} MiB) and 1,024 MiB", "4.7 GB"),
        ("both side by side, proportional", f"{run.together:,.0f} MiB", "6,144 MiB", "12.5 GB"),
        (
            "from `ig3d run` to the end of the first epoch",
            f"{run.first_epoch or float('nan'):.0f} s",
            "30 s to its first step",
            "150 s",
        ),
        ("`ig3d plan`", f"{plan.seconds:.1f} s", "10 s", ""),
        ("`ig3d ls`", f"{listing.seconds:.1f} s", "10 s", ""),
        ("`ig3d data check`", f"{check.seconds:.1f} s", "10 s", ""),
        ("`ig3d search` of the eight members again", f"{again.seconds:.1f} s", "", ""),
        ("the whole run", f"{run.seconds:.0f} s", "", ""),
    ]
    for row in rows:
        print(" | ".join(row))
    if any(one.code not in (0, 1) for one in (plan, listing, check)) or run.code:
        raise SystemExit("a command failed; see above")
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    PAGE.write_text(TEXT.format(samples=words.samples, table=table, base=base))


TEXT = """# Memory and time at AffectNet's size

Written by `python -m benchmarks.affectnet_size` on generated data: {samples:,} samples with EMOCA's and SMIRK's
parameters (334 and 358 numbers), no images; eight `mlp3d` classifiers of width 64, one epoch. Resident memory is the
highest of one process, looked at five times a second. "Before" is a trial with four members, before parameters were
stored apart from the table.

| | here | goal | before |
|---|---|---|---|
{table}

A training worker holds torch and Ray (about 500 MiB), the table with both representations (780 MiB), and the
standardized parameters of every distinct input; until they are standardized also the raw ones, which it then releases.
The imports of the driver alone take {base:,.0f} MiB.
"""


if __name__ == "__main__":
    main()
