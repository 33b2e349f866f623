"""Statistical uncertainty: bootstrap intervals, paired gains, McNemar's test, and the bias of selecting the best."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.distributions import normal_quantile, sign_test, t_quantile, t_test
from ig3d_ray.types import Frozen, Task

RESAMPLES = 2000
BLOCK = 200
DECIMALS = 9
_KEEP_BYTES = 512 * 2**20
_BLOCK_DRAWS = 8 * 10**6
_DRAWS_KEPT = 3


class Interval(Frozen):
    """A score and its 95 % bootstrap interval."""

    value: float
    """On all samples."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


class McNemar(Frozen):
    """McNemar's exact test of two classifiers on the same samples (McNemar 1947); of groups of samples a t test.

    `only_first` and `only_second` count the samples that only one of them classifies correctly; `p` is the two-sided
    probability of a split as uneven as this if both were equally good.
    """

    only_first: int
    """Samples that only the first classifies correctly."""
    only_second: int
    """Samples that only the second classifies correctly."""
    p: float
    """Two-sided."""


@dataclass(frozen=True)
class Bootstrap:
    """Resamples of one set of samples, the same for everything that is compared on it.

    Attributes:
        task: decides the metrics.
        strata: `[N]` int: samples are redrawn within their stratum, so that the classes keep their counts, as
            the data sets' makers fixed them; all zero for no strata.
        seed: of the resamples.
        resamples: R.
        groups: `[N]` int: samples that belong together, such as frames of a video, are redrawn together; None for none.
    """

    task: Task
    strata: np.ndarray
    seed: int
    resamples: int = RESAMPLES
    groups: np.ndarray | None = None

    @staticmethod
    def of(
        task: Task, labels: np.ndarray, seed: int, resamples: int = RESAMPLES, groups: np.ndarray | None = None
    ) -> "Bootstrap":
        """Resamples stratified by class for expressions, not stratified for valence and arousal, nor by groups."""
        strata = labels if task.has_classes and groups is None else np.zeros(len(labels), dtype=np.int64)
        return Bootstrap(task, strata, seed, resamples, groups)

    @cached_property
    def widening(self) -> float:
        """By how much intervals are wider than the quantiles: with few groups resamples vary less than new groups."""
        if self.groups is None:
            return 1.0
        count = len(np.unique(self.groups))
        return (
            float(np.sqrt(count / (count - 1)) * t_quantile(0.975, count - 1) / normal_quantile(0.975))
            if count > 1
            else 1.0
        )

    def _draw(self) -> Iterator[np.ndarray]:
        """How often each sample is drawn, `[up to BLOCK, N]` uint16 at a time; each row sums to N."""
        rng = np.random.default_rng([self.seed, len(self.strata), self.resamples])
        members = [np.flatnonzero(self.strata == stratum) for stratum in np.unique(self.strata)]
        block = max(1, min(BLOCK, _BLOCK_DRAWS // len(self.strata)))
        for start in range(0, self.resamples, block):
            rows = min(block, self.resamples - start)
            counts = np.empty((rows, len(self.strata)), dtype=np.uint16)
            for one in members:
                drawn = rng.integers(len(one), size=(rows, len(one)), dtype=np.int32)
                drawn += np.arange(rows, dtype=np.int32)[:, None] * len(one)
                counts[:, one] = np.bincount(drawn.ravel(), minlength=rows * len(one)).reshape(rows, len(one))
            yield counts

    @cached_property
    def _whole(self) -> "tuple[np.ndarray, Bootstrap] | None":
        """The group of each sample, and the resamples of the groups, of which a group's sums are the statistics."""
        if self.groups is None:
            return None
        codes = np.unique(self.groups, return_inverse=True)[1]
        strata = np.zeros(codes.max() + 1, dtype=np.int64)
        return codes, Bootstrap(self.task, strata, self.seed, self.resamples)

    @cached_property
    def _kept(self) -> list[np.ndarray] | None:
        """All blocks, if they fit into memory; otherwise they are redrawn each time."""
        return list(self._draw()) if self.resamples * len(self.strata) * 2 <= _KEEP_BYTES else None

    def sums(self, statistics: np.ndarray) -> np.ndarray:
        """Per-sample statistics `[N, S]` summed over each resample: `[R, S]`."""
        if self._whole is not None:
            codes, whole = self._whole
            grouped = [np.bincount(codes, column, len(whole.strata)) for column in statistics.T]
            return whole.sums(np.stack(grouped, axis=1))
        # Counts are exact in single precision. CCC is a difference of nearly equal sums, so moments need double.
        exact = len(self.strata) * statistics.max(initial=0) < 2**24 and bool((statistics % 1 == 0).all())
        counted = self.task.has_classes and exact
        kind: type[np.floating[Any]] = np.float32 if counted else np.float64
        found: list[np.ndarray] = []
        values = statistics.astype(kind)
        for counts in self._kept or self._draw():
            found.append(counts.astype(kind) @ values)
        return np.concatenate(found).astype(np.float64)

    def draws(self, statistics: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric on every resample, each `[R]`, from per-sample statistics `[N, S]`; the last few are kept, since
        a row's interval and its gain need the same."""
        kept = self._last_draws
        found = kept.pop(id(statistics), None) or (statistics, metrics.from_sums(self.task, self.sums(statistics)))
        kept[id(statistics)] = found
        while len(kept) > _DRAWS_KEPT:
            del kept[next(iter(kept))]
        return found[1]

    @cached_property
    def _last_draws(self) -> dict[int, tuple[np.ndarray, dict[str, np.ndarray]]]:
        """By the identity of the statistics, which are kept with them so that it stays theirs; the last used last."""
        return {}

    def intervals(self, statistics: np.ndarray) -> dict[str, Interval]:
        """Every metric with its interval (2.5 % and 97.5 % of the resamples)."""
        values = metrics.from_sums(self.task, statistics.sum(axis=0))
        drawn = self.draws(statistics)
        return {name: interval_of(float(values[name]), drawn[name], self.widening) for name in drawn}

    def gain(self, statistics: np.ndarray, over: np.ndarray, metric: str) -> Interval:
        """How much better one prediction is than another on the same samples, paired.

        Positive is better, also for errors.
        """
        sign = metrics.metric_of(metric).sign
        both = [metrics.from_sums(self.task, s.sum(axis=0))[metric] for s in (statistics, over)]
        drawn = self.draws(statistics)[metric] - self.draws(over)[metric]
        return interval_of(sign * float(both[0] - both[1]), sign * drawn, self.widening)

    def optimism_of_best(self, statistics: Iterable[np.ndarray], metric: str) -> float:
        """The selection bias of the best of several candidates on the samples it was selected on.

        Args:
            statistics: per candidate, `[N, S]`.
            metric: used to compare the candidates.

        In each resample the best candidate is selected again; the bias is its score there minus the whole-set score, on
        average (the bootstrap of the maximum). Never below 0; for a single candidate it is 0 up to chance.
        """
        sign = metrics.metric_of(metric).sign
        resampled, whole = [], []
        for one in statistics:
            resampled.append(sign * self.draws(one)[metric])
            whole.append(sign * float(metrics.from_sums(self.task, one.sum(axis=0))[metric]))
        drawn, on_all = np.stack(resampled), np.array(whole)
        best = drawn.argmax(axis=0)
        optimism = float((drawn[best, np.arange(drawn.shape[1])] - on_all[best]).mean())
        return round(max(optimism, 0.0), DECIMALS)


def mcnemar(first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None) -> McNemar:
    """Compare two classifiers by which samples each classifies correctly.

    Args:
        first: bool `[N]`.
        second: bool `[N]`.
        groups: `[N]` int: then the t test of the groups' differences takes the place of the exact test, which would
            count samples that belong together as independent.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    p = sign_test(only_first, differing) if differing else 1.0
    if groups is not None and differing:
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], first.astype(float) - second)
        p = t_test(sums) if len(sums) > 1 and np.ptp(sums) > 0 else 1.0
    return McNemar(only_first=only_first, only_second=only_second, p=float(f"{p:.6g}"))


def interval_of(value: float, drawn: np.ndarray, widening: float = 1.0) -> Interval:
    """A score with the middle 95 % of its resamples.

    Args:
        value: on all samples.
        drawn: `[R]`.
        widening: of the interval around the score.
    """
    low, high = value + widening * (np.quantile(drawn, [0.025, 0.975]) - value)
    # Rounded, so that another BLAS with another order of summation gives the same spec.
    # Adding 0 turns -0.0 into 0.0.
    return Interval(**{k: round(float(v), DECIMALS) + 0.0 for k, v in (("value", value), ("low", low), ("high", high))})
