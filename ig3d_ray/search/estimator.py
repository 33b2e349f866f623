"""Late fusion for notebooks, with scikit-learn's API: fit on a pool, predict on pools of the same members."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data import datasets
from ig3d_ray.data.labels import find_labels
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.evaluation.logits import LogitStore, told_apart
from ig3d_ray.evaluation.pool import Pool, align
from ig3d_ray.fusion.calibrated import scored
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.search.arrays import Arrays, pool_of_arrays
from ig3d_ray.search.explorer import run_local
from ig3d_ray.search.leaderboard import Leaderboard, build_leaderboard
from ig3d_ray.search.protocol import plan
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split, Task

if TYPE_CHECKING:
    import pandas as pd


def load_pool(
    store: Store,
    dataset: str,
    split: Split = "test",
    task: Task | None = None,
    members: Sequence[str] | None = None,
) -> Pool:
    """The cached members of a split, on the samples that all cached members have.

    Args:
        task: what is predicted; the data set's first by default.
        members: names or fingerprints of the members; all by default. If several have the same name, it
            is followed by `+` and the fingerprint's first six digits.

    Raises:
        Ig3dError: no member has outputs for the task there, or there are no labels.
    """
    wanted = Task(task) if task else datasets.use(store, dataset).tasks[0]
    logits, labels = LogitStore(store), find_labels(store, dataset, split)
    if labels is None:
        raise Ig3dError(f"{dataset}: no labels for {split} in {store.uri}")
    cards = told_apart(card for card in logits.members(dataset) if split in card.splits)
    tables = [replace(logits.read(dataset, card.fingerprint, split), name=card.name) for card in cards]
    fit = [table for table in tables if table.outputs(wanted) is not None]
    pool = align(fit, labels, wanted)
    if members is None:
        return pool
    by_fingerprint = dict(zip(pool.fingerprints, pool.names, strict=True))
    names = [by_fingerprint.get(member, member) for member in members]
    unknown = [name for name in names if name not in pool.names]
    if unknown:
        raise Ig3dError(f"{dataset} {split}: no member {unknown[0]!r}; there are {', '.join(pool.names)}")
    return pool.only(names)


FEW_SUBSETS, MANY_SUBSETS = 20, 200
ALL_PAIRS = 40
"""Members up to which all pairs are tried."""
# Of LateFusion's constructor, with their defaults.
PARAMETERS: dict[str, Any] = {"objective": None, "max_members": None, "budget": None, "seed": 0}


class LateFusion:
    """The best late fusion of a pool's members.

    It is chosen as by `ig3d search` with the protocol `cross_fitted`, so `score_` is computed on samples that
    were not used to choose the ensemble that predicts them.

    Args:
        objective: a metric; accuracy, or for valence and arousal the mean of their two CCCs.
        max_members: maximum number of members of the ensemble; None for any number.
        budget: subsets that Optuna tries. By default 200 where `max_members` limits the ensemble, or where a pool is
            too large for all pairs to be tried; otherwise 20, since the methods that weigh all members then win anyway:
            on eight drawn pools of 6 to 16 members the ensembles were the same with 0, 40 and 200.
        seed: random seed.

    Attributes:
        members_: names of the chosen members.
        fusion_: how they are combined.
        score_: cross-fitted, with its interval.
        best_single_: the best member's score, and gain_ the paired gain over it.
        leaderboard_: a row for each member, reference and family of fusions, the best first: `label`, `group`,
            `selection` and `report` scores, the latter with `low` and `high`, and `chosen`.
        board_: the same with everything that a report shows.
    """

    members_: tuple[str, ...]
    fusion_: Fusion
    score_: Interval
    best_single_: Interval
    gain_: Interval
    leaderboard_: "pd.DataFrame"
    board_: Leaderboard

    def __init__(
        self, objective: str | None = None, max_members: int | None = None, budget: int | None = None, seed: int = 0
    ) -> None:
        self.objective, self.max_members, self.budget, self.seed = objective, max_members, budget, seed

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of the constructor, as scikit-learn's `clone` needs them.

        Args:
            deep: has no effect: none of them is an estimator.
        """
        return {name: getattr(self, name) for name in PARAMETERS}

    def set_params(self, **params: Any) -> "LateFusion":
        """Change parameters of the constructor; the next `fit` uses them.

        Args:
            params: name -> value.

        Raises:
            ValueError: there is no such parameter.
        """
        for name, value in params.items():
            if name not in PARAMETERS:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}; valid: {', '.join(PARAMETERS)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.get_params().items() if value != PARAMETERS[name]}
        return f"LateFusion({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    def __sklearn_is_fitted__(self) -> bool:
        return self._is_fitted

    def _budget(self, pool: Pool) -> int:
        if self.budget is not None:
            return self.budget
        return FEW_SUBSETS if self.max_members is None and len(pool.names) <= ALL_PAIRS else MANY_SUBSETS

    @property
    def _is_fitted(self) -> bool:
        return hasattr(self, "fusion_")

    def fit(self, pool: Pool | Arrays, y: np.ndarray | None = None, groups: np.ndarray | None = None) -> "LateFusion":
        """Choose members and weights on a labeled pool.

        Args:
            pool: from `load_pool`; or arrays of class scores: name -> `[N, C]`, a list of such, or `[M, N, C]`.
            y: `[N]` classes from 0 to C - 1, for arrays.
            groups: `[N]`, for arrays: what each sample belongs to, such as its video; groups are kept in one fold and
                resampled as a whole.

        Raises:
            Ig3dError: the objective is none of the task, the arrays' shapes differ, or labels are missing.
        """
        if not isinstance(pool, Pool):
            if y is None:
                raise Ig3dError("fit(arrays, y): give the classes of the rows as y")
            pool = pool_of_arrays(pool, y)
            if groups is not None:
                pool = replace(pool, groups=_codes(groups, len(pool)))
        elif groups is not None:
            raise Ig3dError("fit(pool): a pool has its groups; give groups with arrays only")
        elif y is not None:
            raise Ig3dError("fit(pool): a pool has its labels; give y with arrays only")
        objective = self.objective or pool.task.default_metric
        known = sorted(metrics.METRICS[pool.task])
        if objective not in known:
            raise Ig3dError(f"objective {objective!r}: for {pool.task} there are {', '.join(known)}")
        members = zip(pool.names, pool.views, strict=True)
        content = {
            "dataset": pool.dataset,
            "objective": objective,
            "pool": [{"kind": "imported", "name": name, "view": view} for name, view in members],
            "protocol": {"kind": "cross_fitted"},
            "search": {"budget": self._budget(pool), "max_members": self.max_members},
            "seed": self.seed,
        }
        space = SearchSpace.model_validate(content)
        # The pool's split, whatever its name, is used for both selection and reporting, fold by fold.
        arranged = plan(space.protocol, {"test": pool}, self.seed)
        board = build_leaderboard(space, arranged, run_local(space, arranged.parts))
        chosen = board.chosen
        self.members_, self.fusion_ = chosen.result.members, board.chosen_fusion
        self.score_ = chosen.scores.report.metrics[objective]
        self.best_single_ = board.best_single.scores.report.metrics[objective]
        self.gain_, self.board_ = board.gain_over(board.best_single, objective), board
        self.leaderboard_ = _as_frame(board, objective)
        self.classes_ = np.arange(pool.outputs_MNC.shape[2]) if pool.task.has_classes else None
        return self

    def decision_function(self, pool: Pool | Arrays) -> np.ndarray:
        """`[N, C]` fused class scores, or `[N, 2]` valence and arousal, in the order of `pool.ids` or of the rows."""
        pool = pool if isinstance(pool, Pool) else pool_of_arrays(pool)
        if not self._is_fitted:
            raise Ig3dError("this LateFusion is not fitted yet; call fit(pool) first")
        missing = [name for name in self.members_ if name not in pool.names]
        if missing:
            raise Ig3dError(f"the pool has no member {missing[0]!r}, which this fusion needs")
        return self.fusion_.apply(pool.outputs_of(self.members_), pool.task)

    def predict(self, pool: Pool | Arrays) -> np.ndarray:
        """`[N]` class numbers, or `[N, 2]` valence and arousal, in the order of `pool.ids` or of the rows."""
        pool = pool if isinstance(pool, Pool) else pool_of_arrays(pool)
        fused = self.decision_function(pool)
        return fused.argmax(axis=1) if pool.task.has_classes else fused

    def predict_proba(self, pool: Pool | Arrays) -> np.ndarray:
        """`[N, C]` probabilities.

        Raises:
            Ig3dError: the pool's task is valence and arousal, which has no probabilities.
        """
        pool = pool if isinstance(pool, Pool) else pool_of_arrays(pool)
        if not pool.task.has_classes:
            raise Ig3dError("valence and arousal have no probabilities; use predict")
        fused = self.decision_function(pool)
        return np.asarray(self.fusion_.probabilities(fused))

    def score(self, pool: Pool | Arrays, y: np.ndarray | None = None) -> float:
        """The objective on a labeled pool, or on arrays and `y`; optimistic on the one that it was fitted on (see
        `score_`)."""
        if not isinstance(pool, Pool):
            if y is None:
                raise Ig3dError("score(arrays, y): give the classes of the rows as y")
            pool = pool_of_arrays(pool, y)
        objective = self.objective or pool.task.default_metric
        return metrics.score_one(
            pool.task, scored(self.fusion_, self.decision_function(pool), objective), pool.labels, objective
        )

    def _repr_html_(self) -> str:
        if not self._is_fitted:
            return f"<code>{escape(repr(self))}</code>, not fitted"
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{weight}</td></tr>"
            for name, weight in zip(self.members_, self.fusion_.weight_texts(len(self.members_)), strict=True)
        )
        how = self.fusion_.label
        message = f"{self.score_.value:.4f} [{self.score_.low:.4f}, {self.score_.high:.4f}]"
        gain = f"{self.gain_.value:+.4f} [{self.gain_.low:+.4f}, {self.gain_.high:+.4f}]"
        return (
            f"<table><caption>{escape(how)}: {message} cross-fitted, {gain} over the best single member</caption>"
            f"<tr><th>member</th><th>weight</th></tr>{rows}</table>"
        )


def _as_frame(board: Leaderboard, objective: str) -> "pd.DataFrame":
    """The leaderboard's rows, the best on the report set first."""
    import pandas as pd

    rows = []
    for row in board.rows:
        selection, report = (scores.metrics[objective] for scores in (row.scores.selection, row.scores.report))
        numbers = {"selection": selection.value, "report": report.value, "low": report.low, "high": report.high}
        rows.append({"label": row.label, "group": row.group} | numbers | {"chosen": row is board.chosen})
    best_first = metrics.metric_of(objective).greater_is_better
    return pd.DataFrame(rows).sort_values("report", ascending=not best_first, kind="stable", ignore_index=True)


def _codes(groups: np.ndarray, rows: int) -> np.ndarray:
    values = np.asarray(groups)
    if values.shape != (rows,):
        raise Ig3dError(f"groups: an array {values.shape}; give one for each of {rows} rows")
    return np.unique(values, return_inverse=True)[1].astype(np.int64)
