"""(b): many members, against AutoGluon's ensemble selection, CMA-ES, the plain mean and the best single member."""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import as_pool, space_of
from benchmarks.pools import Draw, draws
from ig3d_ray.evaluation.metrics import score_one
from ig3d_ray.fusion.fit import fit_weights
from ig3d_ray.search.explorer import run_local
from ig3d_ray.search.held_out import fused_scores
from ig3d_ray.search.protocol import plan
from ig3d_ray.search.selection import Families
from ig3d_ray.types import Task

PEERS = Path(__file__).parent.parent / ".peers" / "bin" / "python"


def many_members(seeds: int, seconds_for_cma: float, samples: int) -> dict[str, Any]:
    """72 members x 12,271 x 7, fitted on one draw and scored on another, so many seeds."""
    runs = [_one_seed(seed, seconds_for_cma, samples) for seed in range(seeds)]
    found: dict[str, Any] = {}
    for name in runs[0]:
        accuracies = [run[name]["accuracy"] for run in runs]
        took = [run[name]["seconds"] for run in runs]
        found[name] = {"accuracy": float(np.mean(accuracies)), "seconds": float(np.median(took)), "seeds": accuracies}
    autogluon = [name for name in found if name.startswith("AutoGluon")]
    best = max(autogluon, key=lambda name: found[name]["accuracy"])
    for ours in ("stack of logits", "automatic"):
        wins = sum(a >= max(runs[i][p]["accuracy"] for p in autogluon) for i, a in enumerate(found[ours]["seeds"]))
        found[ours]["at_or_above_the_best_AutoGluon"] = f"{wins} of {seeds} seeds"
        found[ours]["times_faster_than_AutoGluon_100_accuracy"] = (
            found["AutoGluon 100, accuracy"]["seconds"] / found[ours]["seconds"]
        )
    return {"methods": found, "best_AutoGluon": best}


def _one_seed(seed: int, seconds_for_cma: float, samples: int) -> dict[str, dict[str, float]]:
    fit, fresh = draws(6, 66, samples, 7, seed)

    def accuracy(weights: np.ndarray) -> float:
        fused = np.tensordot(weights.astype(np.float32), fresh.logits, 1)
        return score_one(Task.EXPRESSION, fused, fresh.labels, "accuracy")

    singles = (fit.logits.argmax(axis=2) == fit.labels).mean(axis=1)
    found = {
        "best single member": {"seconds": 0.0, "accuracy": accuracy(np.eye(72)[singles.argmax()])},
        "plain mean": {"seconds": 0.0, "accuracy": accuracy(np.full(72, 1 / 72))},
    }
    started = time.perf_counter()
    weights = fit_weights("stack", "logits", fit.logits, fit.labels, "accuracy")
    found["stack of logits"] = {"seconds": time.perf_counter() - started, "accuracy": accuracy(weights)}
    found["automatic"] = automatic(fit, fresh)
    return found | _peers(fit, fresh, seconds_for_cma)


def automatic(fit: Draw, fresh: Draw) -> dict[str, float]:
    """What the package chooses by itself: every method on all members, the best by cross-fitting inside `fit`."""
    pools = {"dev": as_pool(fit), "test": as_pool(fresh, "test")}
    # Pairs and subsets are another benchmark's.
    space = space_of(pools["dev"], search={"budget": 0, "enumerate_up_to": 0})
    started = time.perf_counter()
    arranged = plan(space.protocol, pools, space.seed)  # type: ignore[arg-type]
    families = Families(arranged, run_local(space, arranged.parts), "accuracy")
    chosen = families.choose(0)
    took = time.perf_counter() - started
    fused = fused_scores(chosen, pools["test"])
    return {"seconds": took, "accuracy": score_one(Task.EXPRESSION, fused, fresh.labels, "accuracy")}


def _peers(fit: Draw, fresh: Draw, seconds_for_cma: float) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/arrays.npz"
        arrays = {"fit": fit.logits, "labels": fit.labels, "fresh": fresh.logits, "fresh_labels": fresh.labels}
        np.savez(file, **arrays)  # type: ignore[arg-type]
        command = [str(PEERS), str(Path(__file__).parent / "peers.py"), file, str(seconds_for_cma)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
