"""What results predict on pools, and on samples that they were chosen without."""

from collections.abc import Callable, Sequence

import numpy as np

from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion.calibrated import scored
from ig3d_ray.search.protocol import Plan, Rows
from ig3d_ray.search.scoring import Result

Pick = Callable[[int], Result]
"""The result that a rule picks on a part, by the part's index."""


def fused_scores(result: Result, pool: Pool, rows: Rows | None = None) -> np.ndarray:
    """A result's fused outputs `[N, C]` on a pool, or on some of its rows."""
    outputs, parameters = pool.outputs_of(result.members), pool.parameters
    if rows is not None:
        outputs, parameters = outputs[:, rows], {name: values[rows] for name, values in parameters.items()}
    return result.fusion.apply(outputs, pool.task, parameters)


def predictions(result: Result, pool: Pool, objective: str, rows: Rows | None = None) -> np.ndarray:
    """What an objective scores, `[N, C]`: a result's fused outputs, or the logarithms of its probabilities."""
    return scored(result.fusion, fused_scores(result, pool, rows), objective)


def statistics_of(result: Result, pool: Pool, objective: str) -> np.ndarray:
    """A result's per-sample statistics `[N, S]` on a pool, with those of probabilities if the objective needs them."""
    of_probabilities = objective in metrics.PROBABILITY_METRICS
    return metrics.statistics(pool.task, predictions(result, pool, objective), pool.labels, of_probabilities)


def held_out_statistics(pick: Pick, pool: Pool, held_out: Sequence[tuple[int, Rows]], objective: str) -> np.ndarray:
    """Per-sample statistics `[N, S]` of a pool, each row predicted by the choice of a part that doesn't contain it.

    Rows that are held out by several parts (repeats) get the mean of their statistics.
    """
    times, repeats = np.zeros(len(pool), dtype=np.int64), list[np.ndarray]()
    for part, rows in held_out:
        found, (repeat,) = predictions(pick(part), pool, objective, rows), set(times[rows].tolist())
        if repeat == len(repeats):
            repeats.append(np.zeros((len(pool), found.shape[1])))
        repeats[repeat][rows] = found
        times[rows] += 1
    if not repeats or not (times == len(repeats)).all():
        raise ValueError("held-out rows must be predicted equally often, at least once")
    of_probabilities = objective in metrics.PROBABILITY_METRICS
    every = (metrics.statistics(pool.task, found, pool.labels, of_probabilities) for found in repeats)
    return np.asarray(sum(every)) / len(repeats)


def held_out_logits(plan: Plan, pick: Pick, part: int) -> tuple[np.ndarray, np.ndarray]:
    """Fused logits `[N, C]` of a part's samples, each by a choice made without it, and their classes `[N]`; once for
    each repeat of the folds.

    Args:
        plan: the protocol's parts.
        pick: the result that a rule picks on a part.
        part: index of the part.
    """
    pool, scores, labels = plan.parts[part], [], []
    for inner, rows in plan.inner[part]:
        result = pick(inner)
        scores.append(result.fusion.fused_logits(fused_scores(result, pool, rows)))
        labels.append(pool.labels[rows])
    return np.concatenate(scores), np.concatenate(labels)
