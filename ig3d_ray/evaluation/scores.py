"""Scores on a selection set and on a report set, with intervals."""

from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.types import Frozen, Split


class SetScores(Frozen):
    """Every metric on one set of samples.

    `groups` is how many groups of samples there are, such as videos, if they were kept together. `optimistic` is true
    if the scored candidate was selected on the same samples.
    """

    split: Split
    """Of the samples."""
    n: int
    """How many samples."""
    groups: int | None = None
    """How many groups of samples, if they were kept together."""
    optimistic: bool
    """Whether the candidate was selected on these samples."""
    metrics: dict[str, Interval]
    """Name -> score with its interval."""


class Scored(Frozen):
    """A selection score and a report score."""

    selection: SetScores
    """On the samples that chose; optimistic."""
    report: SetScores
    """On the samples that report."""


class Optimism(Frozen):
    """How much better the ensemble scored on the selection set than on the report set.

    `measured` is the selection score minus the report score (the other way round for errors). `expected` is what
    choosing the best of the candidates adds to its score on the selection set, by the bootstrap of the maximum over the
    300 best of them; the effect of fitting weights on the same samples is additional.
    """

    measured: float
    """Selection score minus report score; the other way round for errors."""
    expected: float
    """What choosing the best of the candidates adds by itself."""
