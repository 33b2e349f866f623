"""(a) and (c): pairs of members, solved, against one candidate at a time."""

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna

from benchmarks.pools import Draw, draws
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion import pair_weight, piecewise
from ig3d_ray.search.candidates import all_pairs
from ig3d_ray.search.scoring import best_of, score_batch
from ig3d_ray.types import Task

GRID = 101
"""Weights that a 0.01 grid has."""
STRATEGIES = ("max", "mean", "weighted")


def as_pool(draw: Draw, split: str = "dev") -> Pool:
    """A drawn pool as the package knows it; eight classes are AffectNet's."""
    samples, classes = draw.logits.shape[1:]
    names = tuple(f"member{i:03d}" for i in range(len(draw.logits)))
    dataset = "affectnet8" if classes == 8 else "rafdb"
    ids = np.array([f"{i:07d}" for i in range(samples)])
    return Pool(dataset, split, Task.EXPRESSION, names, names, draw.views, ids, draw.logits, draw.labels)  # type: ignore[arg-type]


def space_of(pool: Pool, **changes: Any) -> SearchSpace:
    """A search space for a drawn pool."""
    imported = [{"kind": "imported", "name": pool.names[0], "view": "2d"}]
    return SearchSpace.model_validate({"dataset": pool.dataset, "objective": "accuracy", "pool": imported} | changes)


def whole_space(seconds: float) -> dict[str, Any]:
    """(a): 6 2D x 66 3D members x 3 strategies x a continuous weight, on 4,000 x 8.

    Ray Tune gets so many seconds, plain Optuna, which asks five times as fast, a fifth of them.
    """
    draw = draws(6, 66, 4000, 8, seed=0)[0]
    pool = as_pool(draw)
    fusion = {"strategies": STRATEGIES, "spaces": "logits", "temperatures": "none", "methods": []}
    space = space_of(pool, fusion=fusion)
    started = time.perf_counter()
    best = best_of(score_batch(pool, tuple(all_pairs(space, pool)), space), "accuracy")
    ours = time.perf_counter() - started
    counted = 6 * 66 * (GRID + 2)
    found: dict[str, Any] = {
        "ours": {"seconds": ours, "best": best.score, "candidates": counted, "per_second": counted / ours},
        "grid": _grid_of_all(draw),
    }
    for name, peer, share in (("plain Optuna", _optuna, 0.2), ("Ray Tune + OptunaSearch", _ray_tune, 1.0)):
        found[name] = peer(draw, share * seconds)
        found[name]["ratio"] = found["ours"]["per_second"] / found[name]["per_second"]
    return found


def _objective(draw: Draw) -> Callable[[Any], float]:
    """One candidate, as people write it."""
    first = [i for i, view in enumerate(draw.views) if view == "2d"]
    second = [i for i, view in enumerate(draw.views) if view == "3d"]

    def score(config: Any) -> float:
        a, b = draw.logits[first[config["2d"]]], draw.logits[second[config["3d"]]]
        if config["strategy"] == "max":
            fused = np.maximum(a, b)
        else:
            weight = 0.5 if config["strategy"] == "mean" else config["weight"]
            fused = (1 - weight) * a + weight * b
        return float((fused.argmax(axis=1) == draw.labels).mean())

    return score


def _grid_of_all(draw: Draw) -> dict[str, Any]:
    """Every pair and strategy on the 0.01 grid: what the exact optimum has to beat."""
    started, best = time.perf_counter(), 0.0
    score = _objective(draw)
    for first in range(6):
        for second in range(66):
            pair = {"2d": first, "3d": second}
            best = max(best, score(pair | {"strategy": "max"}), score(pair | {"strategy": "mean"}))
            for weight in np.linspace(0, 1, GRID):
                best = max(best, score(pair | {"strategy": "weighted", "weight": np.float32(weight)}))
    took = time.perf_counter() - started
    return {"seconds": took, "best": best, "per_second": 6 * 66 * (GRID + 2) / took}


def _optuna(draw: Draw, seconds: float) -> dict[str, Any]:
    """One candidate per trial, TPE with its defaults."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    score = _objective(draw)

    def objective(trial: optuna.Trial) -> float:
        return score(
            {
                "2d": trial.suggest_categorical("2d", range(6)),
                "3d": trial.suggest_categorical("3d", range(66)),
                "strategy": trial.suggest_categorical("strategy", STRATEGIES),
                "weight": trial.suggest_float("weight", 0, 1),
            }
        )

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    started = time.perf_counter()
    study.optimize(objective, timeout=seconds)
    took = time.perf_counter() - started
    return _told(took, study.best_value, len(study.trials))


def _told(took: float, best: float, trials: int) -> dict[str, Any]:
    rates = {"per_second": trials / took, "seconds_per_trial": took / trials}
    return {"seconds": took, "best": best, "trials": trials} | rates


def _ray_tune(draw: Draw, seconds: float) -> dict[str, Any]:
    """One candidate per trial, actors reused, no loggers: as fast as Tune goes."""
    # Without this Tune writes tables and event files for every trial.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        reference = ray.put(draw)

        def trainable(config: dict[str, Any]) -> dict[str, float]:
            return {"accuracy": _objective(ray.get(reference))(config)}

        space = {
            "2d": tune.choice(list(range(6))),
            "3d": tune.choice(list(range(66))),
            "strategy": tune.choice(list(STRATEGIES)),
            "weight": tune.uniform(0, 1),
        }
        with tempfile.TemporaryDirectory() as folder:
            tuner = tune.Tuner(
                trainable,
                param_space=space,
                tune_config=tune.TuneConfig(
                    metric="accuracy",
                    mode="max",
                    search_alg=OptunaSearch(seed=0),
                    num_samples=-1,
                    time_budget_s=seconds,
                    max_concurrent_trials=2,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(name="bench", storage_path=folder, verbose=0),
            )
            started = time.perf_counter()
            results = tuner.fit()
            took = time.perf_counter() - started
            best = results.get_best_result().metrics["accuracy"]
            trials = len(results)
    finally:
        ray.shutdown()
    return _told(took, best, trials)


def one_pair(repeats: int) -> dict[str, Any]:
    """(a), (c): one pair at 4,000 x 8, solved, and by a grid of 201 weights; medians of so many repeats."""
    draw = draws(1, 1, 4000, 8, seed=0)[0]
    first, second, labels = draw.logits[0], draw.logits[1], draw.labels
    ours, grid, both = [], [], [0.0, 0.0]
    weights = np.linspace(0, 1, 201, dtype=np.float32)
    for _ in range(repeats):
        started = time.perf_counter()
        both[0] = pair_weight.expression_steps(first, second, labels).best().value
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        both[1] = max(float((((1 - w) * first + w * second).argmax(axis=1) == labels).mean()) for w in weights)
        grid.append(time.perf_counter() - started)
    found: dict[str, Any] = {
        "ours": {"milliseconds": 1e3 * float(np.median(ours)), "best": both[0]},
        "grid of 201": {"milliseconds": 1e3 * float(np.median(grid)), "best": both[1]},
        "ratio": float(np.median(grid) / np.median(ours)),
    }
    found["weights_per_second"] = _weights_per_second(draw)
    return found


def _weights_per_second(draw: Draw) -> dict[str, float]:
    """(c): how many weights of a pair are answered in a second after the pass over its samples."""
    asked = np.random.default_rng(0).random(1_000_000)
    rng, found = np.random.default_rng(1), {}
    for metric in ("accuracy", "macro_f1"):
        known = pair_weight.expression_steps(draw.logits[0], draw.logits[1], draw.labels, metric)
        started = time.perf_counter()
        known.score_at(asked)
        found[metric] = len(asked) / (time.perf_counter() - started)
    truth = rng.uniform(-1, 1, (4000, 2))
    curves = pair_weight.va_curves(
        truth + rng.normal(0, 0.3, truth.shape), truth + rng.normal(0, 0.4, truth.shape), truth
    )
    for metric in ("ccc", "mae"):
        curves.score_at(asked[:1], metric)
        started = time.perf_counter()
        curves.score_at(asked, metric)
        found[metric] = len(asked) / (time.perf_counter() - started)
    return found


def many_per_second(members: int) -> dict[str, float]:
    """(c): weights of K members scored in a second: fused one by one, and along one member's weight by the sweep."""
    draw = draws(max(1, members // 12), members - max(1, members // 12), 4000, 8, seed=0)[0]
    flat = draw.logits.reshape(members, -1)
    rng, started, tried = np.random.default_rng(0), time.perf_counter(), 0
    while time.perf_counter() - started < 1.0:
        weights = rng.dirichlet(np.ones(members)).astype(np.float32)
        ((weights @ flat).reshape(4000, 8).argmax(axis=1) == draw.labels).mean()
        tried += 1
    one_by_one = tried / (time.perf_counter() - started)
    started = time.perf_counter()
    rest = (weights[1:] @ flat[1:]).reshape(4000, 8)
    piecewise.pair_steps(rest, rest + draw.logits[0], draw.labels, 0.0, 2.0).score_at(rng.random(1_000_000))
    return {"one_by_one": one_by_one, "along_one_weight": 1_000_000 / (time.perf_counter() - started)}
