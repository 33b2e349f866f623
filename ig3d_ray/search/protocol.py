"""Which samples are used for selection and which for reporting, so that reported scores are not optimistic."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from ig3d_ray.config.protocol import ProtocolSpec
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.folds import stratified
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.types import Split

Rows = np.ndarray

logger = logging.getLogger(__name__)


class Parts(Sequence[Pool]):
    """Pools for selection: one whole pool, and subsets of its rows. A part is copied on access, and only the last one
    is kept, so that a large pool is not in memory once for each of its parts.

    Args:
        whole: the pool.
        rows: of each part, ascending; None for all.
    """

    def __init__(self, whole: Pool, rows: Sequence[Rows | None]) -> None:
        self.whole, self.rows = whole, tuple(rows)
        self._last: tuple[int, Pool] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, part: int) -> Pool: ...
    @overload
    def __getitem__(self, part: slice) -> "Parts": ...
    def __getitem__(self, part: int | slice) -> "Pool | Parts":
        if isinstance(part, slice):
            return Parts(self.whole, self.rows[part])
        rows = self.rows[part]
        if rows is None:
            return self.whole
        if self._last is None or self._last[0] != part:
            self._last = (part, self.whole.take(rows))
        return self._last[1]


@dataclass(frozen=True)
class Plan:
    """The parts and the report pool of a protocol.

    Attributes:
        parts: pools to choose on; the first is the one whose choice is exported.
        inner: for each part (part, rows): what that other part chooses is applied to these rows of this part,
            which were not used for that choice. So methods are compared inside a part. Empty for the innermost parts.
        report: the pool that is reported on.
        held_out: for each repeat (part, rows of `report`): the choice of that part is applied to those rows,
            which were not used for it. Together these rows cover every sample once.
    """

    parts: Parts
    inner: tuple[tuple[tuple[int, Rows], ...], ...]
    report: Pool
    held_out: tuple[tuple[tuple[int, Rows], ...], ...]


def plan(spec: ProtocolSpec, pools: dict[Split, Pool], seed: int) -> Plan:
    """Build the parts of a protocol from the pools of its splits, with no more folds than groups of samples.

    Raises:
        Ig3dError: fewer samples than folds, or too few groups to hold one out.
    """
    whole, report = pools[spec.choose_on], pools["test"]
    spec = _at_most_one_fold_per_group(spec, whole)
    parts: list[Rows | None] = [None]
    inner: list[list[tuple[int, Rows]]] = [[]]
    for repeat in range(spec.repeats):
        fold_N = stratified_folds(whole, spec.folds, seed, repeat)
        without = _leave_out(fold_N, spec, parts, inner)
        for fold, part in without.items():
            inner[0].append((part, np.flatnonzero(fold_N == fold)))
    held_out: list[tuple[tuple[int, Rows], ...]] = [((0, np.arange(len(report))),)]
    if spec.kind == "cross_fitted":
        held_out = [tuple(inner[0][r * spec.folds : (r + 1) * spec.folds]) for r in range(spec.repeats)]
    return Plan(Parts(whole, parts), tuple(tuple(one) for one in inner), report, tuple(held_out))


def _at_most_one_fold_per_group(spec: ProtocolSpec, pool: Pool) -> ProtocolSpec:
    groups = spec.folds if pool.groups is None else len(np.unique(pool.groups))
    if groups >= spec.folds:
        return spec
    least = 3 if spec.kind == "cross_fitted" else 2
    if groups < least:
        raise Ig3dError(
            f"{pool.dataset} {pool.split}: its {len(pool)} samples are of {groups} groups, and folds need {least}; make"
            " this split larger, or take each sample for itself with --set 'protocol.group_by=(.*)'"
        )
    logger.warning(
        f"{pool.dataset} {pool.split}: {groups} groups of samples, so {groups} folds instead of {spec.folds}; what is"
        " chosen on so few is uncertain"
    )
    return spec.model_copy(update={"folds": groups})


def _leave_out(
    fold_N: np.ndarray, spec: ProtocolSpec, parts: list[Rows | None], inner: list[list[tuple[int, Rows]]]
) -> dict[int, int]:
    """Append the parts without one fold, and under cross-fitting those without two; fold -> its part."""

    def append(kept: np.ndarray) -> int:
        parts.append(np.flatnonzero(kept))
        inner.append([])
        return len(parts) - 1

    without = {fold: append(fold_N != fold) for fold in range(spec.folds)}
    if spec.kind == "cross_fitted":
        # A part without two folds compares methods for either of them: half of what nesting costs otherwise.
        for a, b in itertools.combinations(range(spec.folds), 2):
            both = append((fold_N != a) & (fold_N != b))
            for outer, other in ((a, b), (b, a)):
                inner[without[outer]].append((both, np.flatnonzero(fold_N[fold_N != outer] == other)))
    return without


def stratified_folds(pool: Pool, folds: int, seed: int, repeat: int = 0) -> np.ndarray:
    """The fold of each sample, `[N]` int in [0, folds), each class (or quarter of valence) spread evenly.

    Raises:
        Ig3dError: fewer samples than folds.
    """
    if len(pool) < folds:
        raise Ig3dError(f"{pool.dataset}: {len(pool)} samples for {folds} folds; set protocol.folds lower")
    return stratified(pool.labels, folds, [seed, folds, repeat], pool.groups)
