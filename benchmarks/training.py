"""`python -m benchmarks.training [--quick]`: reading parameters, an epoch, a cohort, data-parallel workers.

Writes training.json and the table in training.md. Peers are the plain ways of doing the same, on the same files.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ig3d_ray.data.ingest.feature_files import read_many
from ig3d_ray.data.representations import groups_of, width_of
from ig3d_ray.models.inputs import Inputs
from ig3d_ray.models.mlp3d.network import Mlp3d
from ig3d_ray.models.recipe import LossSpec, Stage, TrainingRecipe
from ig3d_ray.models.scaling import Scaling, Standardized
from ig3d_ray.training.cohort import CohortTrainer
from ig3d_ray.training.trainer import Labeled, Trainer

HERE = Path(__file__).parent
CLASSES, BATCH = 8, 64
KEYS = [f"{name}_params" for name, _ in groups_of("smirk")]


def drawn(samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters `[N, 358]`, classes and valence-arousal that depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, width_of("smirk"))).astype(np.float32)
    labels = (x[:, :CLASSES] + 0.5 * rng.standard_normal((samples, CLASSES))).argmax(1)
    return x, labels, np.tanh(x[:, :2])


def write_json(folder: Path, x: np.ndarray) -> list[str]:
    """One JSON file per sample, as the published scripts read them."""
    paths = []
    for number, row in enumerate(x):
        parts, start = {}, 0
        for (_, size), key in zip(groups_of("smirk"), KEYS, strict=True):
            parts[key], start = row[start : start + size].tolist(), start + size
        paths.append(str(folder / f"{number}.json"))
        Path(paths[-1]).write_text(json.dumps(parts))
    return paths


def write_npy(folder: Path, samples: int) -> list[str]:
    """A folder of five .npy files per sample, as EMOCA's demo writes them."""
    rng, paths = np.random.default_rng(1), []
    for number in range(samples):
        place = folder / f"{number}00"
        place.mkdir()
        for name, size in groups_of("emoca"):
            np.save(place / f"{name}.npy", rng.standard_normal(size).astype(np.float32))
        paths.append(str(place))
    return paths


def seconds(work: Callable[[], Any], repeats: int = 1) -> float:
    """The best of a few runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def ingestion(samples: int) -> dict[str, Any]:
    """Files read into one array, compared with a plain loop over the same files, in the page cache."""
    found: dict[str, Any] = {"samples": samples}
    with tempfile.TemporaryDirectory() as place:
        jsons = write_json(Path(place), drawn(samples)[0])

        def plain_json() -> np.ndarray:
            rows = []
            for path in jsons:
                with open(path) as file:
                    content = json.load(file)
                rows.append(np.concatenate([np.array(content[key], dtype=np.float32) for key in KEYS]))
            return np.stack(rows)

        reference = plain_json()
        assert (read_many(jsons, "smirk", folders=False).vectors == reference).all()
        found["json"] = {
            "plain": seconds(plain_json, 2),
            "ours": seconds(lambda: read_many(jsons, "smirk", folders=False), 3),
        }
    with tempfile.TemporaryDirectory() as place:
        folders = write_npy(Path(place), samples)

        def plain_npy() -> np.ndarray:
            rows = [np.concatenate([np.load(f"{f}/{name}.npy") for name, _ in groups_of("emoca")]) for f in folders]
            return np.stack(rows)

        assert (read_many(folders, "emoca", folders=True).vectors == plain_npy()).all()
        found["npy"] = {
            "plain": seconds(plain_npy, 2),
            "ours": seconds(lambda: read_many(folders, "emoca", folders=True), 3),
        }
    return found


class JsonPerSample(Dataset[Any]):
    """The published scripts' way: a file per sample and access, whose lists of numbers are collated one by one."""

    def __init__(self, paths: list[str], labels: np.ndarray, va: np.ndarray) -> None:
        self.paths, self.labels, self.va = paths, labels, va

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        with open(self.paths[index]) as file:
            return json.load(file), int(self.labels[index]), self.va[index, 0], self.va[index, 1]


def trainer(width: int, seed: int, data: Labeled, dev: Labeled, epochs: int) -> Trainer:
    torch.manual_seed(seed)
    network = Standardized(Mlp3d(width_of("smirk"), CLASSES + 2, width), Scaling((width_of("smirk"),), fitted=True))
    recipe = TrainingRecipe(batch_size=BATCH, epochs=epochs, patience=None)
    stage = Stage(loss=LossSpec(va_terms="random"), recipe=recipe)
    return Trainer(network, data, dev, stage, seed, CLASSES, "accuracy")


def labeled(samples: int, seed: int = 0, device: str = "cpu") -> Labeled:
    x, labels, va = drawn(samples, seed)
    to = torch.device(device)
    return Labeled(
        Inputs([torch.from_numpy(x).to(to)]), torch.from_numpy(labels).to(to), torch.from_numpy(va).float().to(to)
    )


def one_epoch(samples: int, width: int, device: str = "cpu") -> dict[str, Any]:
    """Samples per second of a training epoch: this package, the published way, and each without the network."""
    x, labels, va = drawn(samples)
    dev = labeled(64, 1, device)
    with tempfile.TemporaryDirectory() as place:
        dataset = JsonPerSample(write_json(Path(place), x), labels, va)
        network = Mlp3d(width_of("smirk"), CLASSES + 2, width).to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

        def published(workers: int, train: bool) -> None:
            for content, classes, _, _ in DataLoader(dataset, BATCH, num_workers=workers, drop_last=True):
                parts = [torch.stack(list(content[key]), dim=1) for key in KEYS]
                inputs = torch.cat(parts, dim=1).float().to(device)
                if train:
                    loss = torch.nn.functional.cross_entropy(network(inputs)[:, :CLASSES], classes.to(device))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()

        rates = {f"published, {w} loaders": samples / seconds(lambda w=w: published(w, True)) for w in (0, 2)}
        feeding = {f"published, {w} loaders": samples / seconds(lambda w=w: published(w, False)) for w in (0, 2)}
    one = trainer(width, 0, labeled(samples, device=device), dev, epochs=1)
    one.network.to(device)
    rates["ours"] = samples / seconds(lambda: one.run(lambda epoch, state: None))
    order = list(torch.randperm(samples).split(BATCH))
    feeding["ours"] = samples / seconds(lambda: list(one.train.x.batches(order)), 3)
    profile = {} if device == "cuda" else profiled(trainer(width, 0, labeled(1024), dev, epochs=1))
    return {"samples": samples, "width": width, "epoch": rates, "feeding": feeding, "profile": profile}


def profiled(one: Trainer) -> dict[str, float]:
    """Shares of CPU time in an epoch of this package, measured by torch's profiler; they sum to 1."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        one.run(lambda epoch, state: None)
    spent = {event.key: float(event.self_cpu_time_total) for event in profile.key_averages()}
    total = sum(spent.values())
    shares = {"matrix products": sum(spent.get(f"aten::{name}", 0.0) for name in ("mm", "addmm")) / total}
    shares["optimizer"] = sum(value for name, value in spent.items() if "adam" in name.lower()) / total
    return shares | {"the rest": 1.0 - sum(shares.values())}


def cohort(members: int, width: int, samples: int, device: str = "cpu") -> dict[str, Any]:
    """An epoch of a cohort, compared with its members trained one after another."""
    data, dev = labeled(samples, device=device), labeled(256, 1, device)

    def synchronized(work: Callable[[], Any]) -> float:
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def made(count: int) -> list[Trainer]:
        trainers = [trainer(width, seed, data, dev, epochs=1) for seed in range(count)]
        for one in trainers:
            one.network.to(device)
        return trainers

    synchronized(lambda: made(1)[0].run(lambda epoch, state: None))
    synchronized(lambda: CohortTrainer(made(2)).run(lambda epochs, state: None))
    alone, together = made(members), CohortTrainer(made(members))
    after = synchronized(lambda: [one.run(lambda epoch, state: None) for one in alone])
    at_once = synchronized(lambda: together.run(lambda epochs, state: None))
    return {
        "members": members,
        "width": width,
        "samples": samples,
        "one after another": after,
        "cohort": at_once,
        "ratio": after / at_once,
    }


def data_parallel(samples: int, width: int, epochs: int) -> dict[str, Any]:
    """Seconds per epoch on one and on two Ray Train workers of one core each, after the first epoch."""
    import pyarrow as pa

    from ig3d_ray.config.resources import Resources
    from ig3d_ray.data.samples import Samples
    from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
    from ig3d_ray.models.spec import fingerprint
    from ig3d_ray.on_ray.cluster import connected
    from ig3d_ray.on_ray.train import train_runs
    from ig3d_ray.storage.store import Store
    from ig3d_ray.training.runs import make_runs

    x, labels, va = drawn(samples + 400)
    split = ["train"] * samples + ["dev"] * 200 + ["test"] * 200
    table = pa.table(
        {
            "sample_id": [str(i) for i in range(len(x))],
            "split": split,
            "expression": labels,
            "valence": va[:, 0],
            "arousal": va[:, 1],
            "smirk": list(x),
        }
    )
    found: dict[str, Any] = {"samples": samples, "width": width}
    with connected(None, Resources()):
        for workers in (1, 2):
            place = tempfile.mkdtemp()
            store, made = Store(place), Samples("affectnet8", table)
            made.save(store)
            recipe = TrainingRecipe(batch_size=256, epochs=epochs, patience=None)
            loss = LossSpec(va_terms="random")
            spec = Mlp3dSpec(
                representation="smirk", subset="full", width=width, recipe=recipe, workers=workers, loss=loss
            )
            runs = make_runs(store, "affectnet8", [(fingerprint("affectnet8", made.fingerprint, spec), spec)], 1)
            times: list[float] = []

            def listen(event: dict[str, Any], times: list[float] = times) -> None:
                if "epoch" in event:
                    times.append(time.perf_counter())

            failed = train_runs(runs, Resources(workers=workers), listen)
            assert not failed, failed
            found[f"{workers} workers"] = (times[-1] - times[0]) / (len(times) - 1)
            shutil.rmtree(place)
    found["ratio"] = found["1 workers"] / found["2 workers"]
    return found


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    machine = found["machine"]
    lines = [
        "# Benchmarks of reading and training",
        "",
        "Written by `make bench-training`. Every ratio compares two measurements made in sequence in the same run,",
        "on the same files or arrays. The published way is a JSON file per sample, read in each epoch by a DataLoader",
        "that collates its numbers one by one; the published scripts also decode the image, which is left out here.",
        "",
        f"This run: {machine['cores']} cores, Python {machine['python']}, torch {machine['torch']}, commit"
        f" {machine['commit']}.",
        "",
        "| measurement | this package | peer | ratio |",
        "|---|---|---|---|",
    ]
    read = found["ingestion"]
    for form, what in (("json", "JSON files"), ("npy", "EMOCA folders of five .npy files")):
        ours, plain = read["samples"] / read[form]["ours"], read["samples"] / read[form]["plain"]
        what = f"reading {read['samples']:,} {what} from the page cache"
        lines.append(f"| {what} | {ours:,.0f}/s | plain loop {plain:,.0f}/s | {ours / plain:.1f} |")
    for epoch in found["epochs"]:
        for kind, what in (("epoch", "an `mlp3d` epoch"), ("feeding", "data loading alone, no network")):
            rates = dict(epoch[kind])
            ours = rates.pop("ours")
            name, peer = max(rates.items(), key=lambda item: item[1])
            what = f"{what}, width {epoch['width']}, batch {BATCH}, samples"
            lines.append(f"| {what} | {ours:,.0f}/s | {name} {peer:,.0f}/s | {ours / peer:,.1f} |")
        shares = ", ".join(f"{share:.0%} {what}" for what, share in epoch["profile"].items())
        lines.append(f"| time in this package's epoch, width {epoch['width']} | {shares} | | |")
    for one in found["cohorts"]:
        what = f"{one['members']} 3D classifiers of width {one['width']}, an epoch of {one['samples']:,}"
        times = f"{one['cohort']:.2f} s as a cohort | {one['one after another']:.2f} s one after another"
        lines.append(f"| {what} | {times} | {one['ratio']:.2f} |")
    two = found["data_parallel"]
    what = f"an epoch of {two['samples']:,} on two workers of one core, width {two['width']}"
    lines.append(f"| {what} | {two['2 workers']:.2f} s | one worker {two['1 workers']:.2f} s | {two['ratio']:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()  # noqa: S607
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__}
    found: dict[str, Any] = {"machine": machine | {"commit": commit}}
    found["ingestion"] = ingestion(2000 if quick else 20000)
    print(json.dumps(found["ingestion"]), flush=True)
    found["epochs"] = [one_epoch(1024 if quick else 8192, width) for width in (2048, 256)]
    print(json.dumps(found["epochs"]), flush=True)
    found["cohorts"] = [cohort(16, width, 512 if quick else 1024) for width in (2048, 1024, 256, 64)]
    print(json.dumps(found["cohorts"]), flush=True)
    found["data_parallel"] = data_parallel(1024 if quick else 8192, 512, 3 if quick else 6)
    text = page(found)
    print(text)
    if not quick:
        (HERE / "training.json").write_text(json.dumps(found, indent=2) + "\n")
        (HERE / "training.md").write_text(text)


if __name__ == "__main__":
    main()
