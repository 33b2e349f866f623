"""Scores on a selection set and on a report set, with intervals."""

from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.types import Frozen, Split


class SetScores(Frozen):
    """Every metric on one set of samples.

    `groups` is how many groups of samples there are, such as videos, if they were kept together. `optimistic` is true
    if the scored candidate was selected on the same samples.
    """

    split: Split
    n: int
    groups: int | None = None
    optimistic: bool
    metrics: dict[str, Interval]


class Scored(Frozen):
    """A selection score and a report score."""

    selection: SetScores
    report: SetScores


class Optimism(Frozen):
    """How much better the ensemble scored on the selection set than on the report set.

    `measured` is the selection score minus the report score (the other way round for errors). `expected` is what
    choosing the best of the candidates adds to its score on the selection set, by the bootstrap of the maximum over the
    300 best of them; the effect of fitting weights on the same samples is additional.
    """

    measured: float
    expected: float
