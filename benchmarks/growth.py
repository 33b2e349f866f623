"""(d) and (e): how time and memory grow with members and samples; what 2,000 resamples cost.

Each size is measured in a process of its own: `python -m benchmarks.growth MEMBERS SAMPLES`.
"""

import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score

from benchmarks.pairs import as_pool, space_of
from benchmarks.pools import draws
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.bootstrap import Bootstrap
from ig3d_ray.search.candidates import always_scored
from ig3d_ray.search.scoring import score_batch
from ig3d_ray.types import Task

METHODS = ("stack", "greedy", "coordinate")


def measure(members: int, samples: int) -> dict[str, Any]:
    """Seconds of scoring every member and fitting every method once, and the peak memory of all of it."""
    draw = draws(max(1, members // 12), members - max(1, members // 12), samples, 8, seed=0, times=1)[0]
    pool = as_pool(draw)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    space = space_of(pool, fusion={"methods": METHODS})
    found: dict[str, Any] = {"members": members, "samples": samples, "pool_gib": draw.logits.nbytes / 2**30}
    started = time.perf_counter()
    batch = always_scored(space, pool)
    score_batch(pool, [one for one in batch if not one.method], space)
    found["singles"] = time.perf_counter() - started
    results = score_batch(pool, [one for one in batch if one.method], space)
    found["seconds"] = time.perf_counter() - started
    found["accuracy"] = max(result.score for result in results)
    found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found["before_gib"] = before
    return found


def growth(members: list[int], samples: list[int], largest: tuple[int, int]) -> dict[str, Any]:
    """Members at the fewest samples, samples at the fewest members, the largest pool; and the fitted exponents."""
    by_members = [_apart(m, samples[0]) for m in members]
    by_samples = [_apart(members[0], n) for n in samples]
    return {
        "by_members": by_members,
        "by_samples": by_samples,
        "largest": _apart(*largest),
        "exponents": {
            f"{what}_in_{of}": _exponent([run[of] for run in runs], [run[what] for run in runs])
            for of, runs in (("members", by_members), ("samples", by_samples))
            for what in ("seconds", "peak_gib")
        },
    }


def _exponent(sizes: list[float], values: list[float]) -> float:
    """The slope of log(value) over log(size)."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _apart(members: int, samples: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.growth", str(members), str(samples)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def resamples(samples: list[int]) -> list[dict[str, float]]:
    """(e): the seconds of 2,000 stratified resamples with every metric's interval, against a loop over resamples."""
    found = []
    for count in samples:
        draw = draws(1, 1, count, 8, seed=0, times=1)[0]
        statistics = metrics.statistics(Task.EXPRESSION, draw.logits[0].astype(np.float64), draw.labels)
        started = time.perf_counter()
        bootstrap = Bootstrap.of(Task.EXPRESSION, draw.labels, seed=0)
        bootstrap.intervals(statistics)
        first = time.perf_counter() - started
        started = time.perf_counter()
        bootstrap.intervals(statistics)
        again = time.perf_counter() - started
        found.append({"samples": count, "first": first, "further": again, "loop": _loop(draw.logits[0], draw.labels)})
    return found


def _loop(logits: np.ndarray, labels: np.ndarray, timed: int = 50) -> float:
    """Accuracy and macro F1 by scikit-learn, a resample at a time; timed on a few and multiplied."""
    rng, top = np.random.default_rng(0), logits.argmax(axis=1)
    started = time.perf_counter()
    for _ in range(timed):
        rows = rng.integers(len(labels), size=len(labels))
        accuracy_score(labels[rows], top[rows])
        f1_score(labels[rows], top[rows], average="macro")
    return (time.perf_counter() - started) * 2000 / timed


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
