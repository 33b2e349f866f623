"""An ensemble's scores by subgroup: by gender, race or age of the faces, or any other attribute of the samples."""

from collections.abc import Mapping

import numpy as np
import scipy  # its parts when they are used, as in fusion/combine.py

from ig3d_ray.evaluation.bootstrap import Bootstrap, Interval
from ig3d_ray.evaluation.metrics import hits, metric_of
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.types import Frozen

FEWEST = 20
"""Samples of a subgroup; smaller ones are not listed."""


class Subgroup(Frozen):
    """The scores on one subgroup of the report set."""

    value: str
    """Of the attribute."""
    n: int
    """How many samples."""
    score: Interval
    """The ensemble's objective."""
    single: Interval
    """That of the member that is best on the whole report set."""
    gain: Interval
    """Of the ensemble over that member, paired."""


class Subgroups(Frozen):
    """The subgroups of one attribute, the best first."""

    attribute: str
    """Column of the samples."""
    subgroups: tuple[Subgroup, ...]
    """Those of enough samples."""
    gap: float
    """Between the ensemble's best and worst score."""
    p: float | None
    """Of differences as large as these between subgroups that the ensemble predicts equally well, corrected for the
    number of attributes (Holm 1979); None without classes or where samples belong to groups."""


def by_subgroup(
    report: Pool, chosen: np.ndarray, single: np.ndarray, objective: str, seed: int
) -> tuple[Subgroups, ...]:
    """The scores by every attribute of a report set.

    Args:
        report: the set, with its attributes.
        chosen: `[N, S]` statistics of the ensemble there.
        single: `[N, S]` of the best single member.
        objective: the metric.
        seed: of the resamples.
    """
    found = [_of_attribute(report, name, chosen, single, objective, seed) for name in sorted(report.attributes)]
    there = [one for one in found if one is not None]
    order = sorted((i for i, one in enumerate(there) if one.p is not None), key=lambda i: there[i].p or 0.0)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (there[index].p or 0.0) * (len(order) - rank)))
        there[index] = there[index].model_copy(update={"p": float(f"{largest:.6g}")})
    return tuple(there)


def _of_attribute(
    report: Pool, name: str, chosen: np.ndarray, single: np.ndarray, objective: str, seed: int
) -> Subgroups | None:
    values, counts = np.unique(report.attributes[name], return_counts=True)
    kept = [str(value) for value, count in zip(values, counts, strict=True) if value and count >= FEWEST]
    rows = {value: np.flatnonzero(report.attributes[name] == value) for value in kept}
    if len(rows) < 2:
        return None
    sign = metric_of(objective).sign
    parts = [_subgroup(report, value, at, chosen, single, objective, seed) for value, at in rows.items()]
    parts.sort(key=lambda part: -sign * part.score.value)
    gap = abs(parts[0].score.value - parts[-1].score.value)
    p = None
    if report.task.has_classes and report.groups is None:
        p = _difference_p({value: hits(chosen[at]) for value, at in rows.items()})
    return Subgroups(attribute=name, subgroups=tuple(parts), gap=round(gap, 9), p=p)


def _subgroup(
    report: Pool, value: str, at: np.ndarray, chosen: np.ndarray, single: np.ndarray, objective: str, seed: int
) -> Subgroup:
    groups = None if report.groups is None else report.groups[at]
    bootstrap = Bootstrap.of(report.task, report.labels[at], seed, groups=groups)
    return Subgroup(
        value=value,
        n=len(at),
        score=bootstrap.intervals(chosen[at])[objective],
        single=bootstrap.intervals(single[at])[objective],
        gain=bootstrap.gain(chosen[at], single[at], objective),
    )


def _difference_p(right: Mapping[str, np.ndarray]) -> float:
    """The chi-squared test that all subgroups have one accuracy."""
    correct = np.array([one.sum() for one in right.values()])
    table = np.stack([correct, np.array([len(one) for one in right.values()]) - correct])
    if (table.sum(axis=1) == 0).any():
        return 1.0
    return float(scipy.stats.chi2_contingency(table, correction=False).pvalue)
