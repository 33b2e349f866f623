"""Throughput of the service, alone and under load, and growth of its memory; writes serving.json and serving.md.

    python -m benchmarks.serving [SPEC]

Without a spec the demo is run first (two minutes). Requests are an image with its 3D parameters as JSON, over
connections that stay open. While memory is measured, one request in ten is invalid: cut off, not an image, of another
type, or too large.
"""

import argparse
import base64
import http.client
import itertools
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ig3d_ray.data.images import ImageSet
from ig3d_ray.data.samples import load_samples
from ig3d_ray.ensembles.spec import read_ensemble, storage_of
from ig3d_ray.storage.store import Store

HERE = Path(__file__).parent
JSON = "application/json"
SECONDS = 10.0
AT_ONCE = (1, 8, 64, 256)
ROUNDS, ROUND = 8, 1000
MIB = 2**20
Question = tuple[str, bytes]


def demo(folder: str) -> str:
    """The spec of the demo's ensemble, made anew."""
    words = [
        sys.executable,
        "-m",
        "ig3d_ray",
        "run",
        str(HERE.parent / "search_spaces/faces.yaml"),
        "--storage",
        folder,
    ]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return str(next(Path(folder).glob("searches/faces/*/best_ensemble.json")))


def questions(spec: str, count: int = 64) -> list[Question]:
    """Requests with an image of the test set and its parameters."""
    store = Store(storage_of(spec))
    samples = load_samples(store, read_ensemble(spec).dataset).in_split("test")
    for feature in ("image", "emoca", "smirk"):
        samples = samples.with_feature(feature)
    images = ImageSet(store, samples, 64)
    vectors = {name: samples.params(name).tolist() for name in ("emoca", "smirk")}  # type: ignore[arg-type]
    found = []
    for row in range(min(count, len(images))):
        content: dict[str, Any] = {"images": [base64.b64encode(images.encoded(row)[0]).decode()]}
        content |= {name: [values[row]] for name, values in vectors.items()}
        found.append((JSON, json.dumps(content).encode()))
    return found


def hostile(good: Question) -> list[Question]:
    """Requests that must be refused."""
    image = base64.b64decode(json.loads(good[1])["images"][0])
    large = json.dumps({"images": [base64.b64encode(image).decode()] * 65}).encode()
    return [("image/png", image[:200]), ("image/jpeg", b"not an image"), ("text/html", b"<html>"), (JSON, large)]


@contextmanager
def service(spec: str) -> Iterator[int]:
    """`ig3d serve` on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "ig3d_ray", "serve", spec, "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "answers" in first, first
        yield port
    finally:
        process.terminate()
        process.wait(60)


def ask(port: int, asked: list[Question], at_once: int, seconds: float | None) -> tuple[Counter[int], np.ndarray]:
    """Send requests repeatedly for `seconds`, or each request once. Returns statuses and the seconds per response."""
    numbers = itertools.count()
    until = float("inf") if seconds is None else time.monotonic() + seconds
    last = len(asked) if seconds is None else sys.maxsize

    def one_after_another(_: int) -> list[tuple[int, float]]:
        found = []
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.monotonic() < until and (number := next(numbers)) < last:
            kind, content = asked[number % len(asked)]
            started = time.monotonic()
            connection.request("POST", "/predict", content, {"Content-Type": kind})
            answer = connection.getresponse()
            answer.read()
            found.append((answer.status, time.monotonic() - started))
        connection.close()
        return found

    with ThreadPoolExecutor(at_once) as pool:
        answers = [answer for part in pool.map(one_after_another, range(at_once)) for answer in part]
    return Counter(status for status, _ in answers), np.array([took for _, took in answers])


def throughput(port: int, asked: list[Question]) -> list[dict[str, Any]]:
    """Responses per second for each number of concurrent clients."""
    ask(port, asked, 8, 3.0)
    found = []
    for at_once in AT_ONCE:
        began = time.monotonic()
        statuses, took = ask(port, asked, at_once, SECONDS)
        # The last answers come after the last questions.
        elapsed = time.monotonic() - began
        assert set(statuses) == {200}, statuses
        half, most = np.percentile(took, [50, 95])
        found.append({"at_once": at_once, "per_second": len(took) / elapsed, "median": half, "p95": most})
        print(json.dumps(found[-1]), flush=True)
    return found


def resident() -> float:
    """MiB of the service's processes: the copy of the ensemble, and what takes requests in."""
    of = [p for p in psutil.process_iter(["name", "cmdline"]) if "Serve" in " ".join(p.info["cmdline"] or [])]
    assert of, "no process of Ray Serve's"
    return sum(process.memory_info().rss for process in of) / MIB


def growth(port: int, asked: list[Question]) -> dict[str, Any]:
    """Memory after each thousand requests, a tenth of them invalid."""
    wrong = hostile(asked[0])
    mixed = [wrong[i // 10 % len(wrong)] if i % 10 == 0 else asked[i % len(asked)] for i in range(ROUND)]
    sizes, total = [], Counter[int]()
    for _ in range(ROUNDS):
        statuses, _ = ask(port, mixed, 64, None)
        total += statuses
        sizes.append(resident())
        print(f"{sum(total.values())} requests: {sizes[-1]:.0f} MiB", flush=True)
    assert set(total) <= {200, 413, 415, 422}, total
    # The first half warms up: allocators keep what they once needed.
    later = sizes[ROUNDS // 2 :]
    slope = float(np.polyfit(np.arange(len(later)), later, 1)[0])
    return {"MiB": sizes, "statuses": {str(k): v for k, v in total.items()}, "MiB per 1000 later": slope}


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    machine, grown = found["machine"], found["memory"]
    alone = found["throughput"][0]["per_second"]
    lines = [
        "# Benchmark of the service",
        "",
        "Written by `python -m benchmarks.serving`. Requests are an image with its 3D parameters; the ensemble has",
        f"{found['members']} members. Clients and service run on the same machine.",
        "",
        f"This run: {machine['cores']} cores, Python {machine['python']}, commit {machine['commit']}.",
        "",
        "| concurrent clients | responses per second | relative to one client | median (s) | 95 % within (s) |",
        "|---|---|---|---|---|",
    ]
    for one in found["throughput"]:
        ratio = one["per_second"] / alone
        row = f"{one['per_second']:.0f} | {ratio:.1f} | {one['median']:.3f} | {one['p95']:.3f}"
        lines.append(f"| {one['at_once']} | {row} |")
    statuses = ", ".join(f"{count:,} with status {status}" for status, count in sorted(grown["statuses"].items()))
    sizes = ", ".join(f"{size:.0f}" for size in grown["MiB"])
    lines += [
        "",
        f"Memory of the service after each {ROUND:,} requests, one in ten of them invalid, 64 at the same time:",
        f"{sizes} MiB; in the second half {grown['MiB per 1000 later']:+.1f} MiB per {ROUND:,}. Responses: {statuses}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", help="a best_ensemble.json; by default the demo's")
    given = parser.parse_args().spec
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()  # noqa: S607
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "commit": commit}
    with tempfile.TemporaryDirectory() as folder:
        spec = given or demo(folder)
        asked = questions(spec)
        with service(spec) as port:
            found: dict[str, Any] = {"machine": machine, "members": len(read_ensemble(spec).members)}
            found["throughput"] = throughput(port, asked)
            found["memory"] = growth(port, asked)
    (HERE / "serving.json").write_text(json.dumps(found, indent=2) + "\n")
    (HERE / "serving.md").write_text(page(found))
    print(page(found))


if __name__ == "__main__":
    main()
