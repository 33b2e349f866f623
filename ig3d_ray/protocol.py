"""Which samples choose and which report; and how sure a reported number is."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field

from ig3d_ray import metrics
from ig3d_ray.data.catalog import Split, Task
from ig3d_ray.errors import Ig3dError
from ig3d_ray.members.spec import Frozen
from ig3d_ray.pool import Pool

RESAMPLES = 2000
BLOCK = 200
DECIMALS = 9


class ProtocolSpec(Frozen):
    """How honest the reported number is."""

    kind: Literal["dev", "cross_fitted", "paper"] = "dev"
    """`dev`: choose on dev, report test. `cross_fitted`: choose on k-1 folds of test and report the k-th, in
    turn, for those who have nothing else. `paper`: choose on test and report test, optimistic."""
    folds: int = Field(default=5, ge=2, le=50)
    """For `cross_fitted`."""

    @property
    def choose_on(self) -> Split:
        """The split whose samples choose."""
        return "dev" if self.kind == "dev" else "test"

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits of which every member must have outputs."""
        return ("dev", "test") if self.kind == "dev" else ("test",)


@dataclass(frozen=True)
class Plan:
    """What a protocol makes of the pools.

    Attributes:
        parts: pools to choose on; the first is the one whose choice is exported.
        report: the pool that is reported on.
        held_out: (part, rows of `report`): the choice of that part is applied to those rows. Together
            the rows are all of them, once.
    """

    parts: tuple[Pool, ...]
    report: Pool
    held_out: tuple[tuple[int, np.ndarray], ...]


def plan(spec: ProtocolSpec, pools: dict[Split, Pool], seed: int) -> Plan:
    """Lay out the parts of a protocol over the pools of its splits."""
    report = pools["test"]
    everything = np.arange(len(report))
    if spec.kind != "cross_fitted":
        return Plan((pools[spec.choose_on],), report, ((0, everything),))
    folds = stratified_folds(report, spec.folds, seed)
    parts = [report] + [report.take(np.flatnonzero(folds != k)) for k in range(spec.folds)]
    held_out = [(k + 1, np.flatnonzero(folds == k)) for k in range(spec.folds)]
    return Plan(tuple(parts), report, tuple(held_out))


def stratified_folds(pool: Pool, folds: int, seed: int) -> np.ndarray:
    """The fold of each sample, `[N]` int in [0, folds), each class (or quarter of valence) spread evenly.

    Raises:
        Ig3dError: fewer samples than folds.
    """
    if len(pool) < folds:
        raise Ig3dError(f"{pool.dataset}: {len(pool)} samples for {folds} folds; set protocol.folds lower")
    if pool.task == "expression":
        strata = pool.labels
    else:
        strata = np.searchsorted(np.quantile(pool.labels[:, 0], [0.25, 0.5, 0.75]), pool.labels[:, 0])
    rng = np.random.default_rng([seed, folds])
    order = rng.permutation(len(pool))
    order = order[np.argsort(strata[order], kind="stable")]
    fold = np.empty(len(pool), dtype=np.int64)
    fold[order] = np.arange(len(pool)) % folds
    return fold


class Interval(Frozen):
    """A score and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    """Resamples of one set of samples, the same for everything that is compared on it.

    Attributes:
        task: decides the metrics. samples: N. seed: of the resamples. resamples: R.
    """

    task: Task
    samples: int
    seed: int
    resamples: int = RESAMPLES

    @cached_property
    def weights_RN(self) -> np.ndarray:
        """How often each sample is drawn, `[R, N]` float32; each row sums to N."""
        rng = np.random.default_rng([self.seed, self.samples, self.resamples])
        weights = np.empty((self.resamples, self.samples), dtype=np.float32)
        for row in weights:
            row[:] = np.bincount(rng.integers(self.samples, size=self.samples), minlength=self.samples)
        return weights

    def draws(self, statistics: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric on every resample, each `[R]`, from per-sample statistics `[N, S]`."""
        sums = np.empty((self.resamples, statistics.shape[1]))
        for start in range(0, self.resamples, BLOCK):
            block = slice(start, start + BLOCK)
            # In double precision, a block at a time: CCC is a difference of nearly equal sums.
            sums[block] = self.weights_RN[block].astype(np.float64) @ statistics
        return metrics.from_sums(self.task, sums)

    def intervals(self, statistics: np.ndarray) -> dict[str, Interval]:
        """Every metric with its interval (2.5 % and 97.5 % of the resamples)."""
        values = metrics.from_sums(self.task, statistics.sum(axis=0))
        return {name: _interval(float(values[name]), drawn) for name, drawn in self.draws(statistics).items()}

    def gain(self, statistics: np.ndarray, over: np.ndarray, metric: str) -> Interval:
        """How much better one prediction is than another on the same samples, paired.

        Positive is better, also for errors.
        """
        sign = 1.0 if metrics.direction_of(metric) == "maximize" else -1.0
        both = [metrics.from_sums(self.task, s.sum(axis=0))[metric] for s in (statistics, over)]
        drawn = self.draws(statistics)[metric] - self.draws(over)[metric]
        return _interval(sign * float(both[0] - both[1]), sign * drawn)


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    # Rounded, so that another BLAS with another order of summation gives the same spec.
    # Adding 0 turns -0.0 into 0.0.
    return Interval(**{k: round(float(v), DECIMALS) + 0.0 for k, v in (("value", value), ("low", low), ("high", high))})


def assemble(held_out: Sequence[tuple[np.ndarray, np.ndarray]], samples: int) -> np.ndarray:
    """Predictions `[N, C]` put together from (rows, predictions on those rows), each row once."""
    width = held_out[0][1].shape[1]
    whole = np.full((samples, width), np.nan)
    for rows, predictions in held_out:
        if len(rows) != len(predictions) or not np.isnan(whole[rows]).all():
            raise ValueError("held-out rows must be predicted once each")
        whole[rows] = predictions
    if np.isnan(whole).any():
        raise ValueError("some rows were never held out")
    return whole
