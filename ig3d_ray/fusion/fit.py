"""The weights of many members, by the method that fits what is predicted."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from ig3d_ray.evaluation.metrics import PROBABILITY_METRICS, metric_of, score_one
from ig3d_ray.evaluation.probability_scores import SMALLEST
from ig3d_ray.fusion.combine import Space
from ig3d_ray.fusion.coordinate import coordinate_search
from ig3d_ray.fusion.greedy import greedy
from ig3d_ray.fusion.per_class import stack_per_class
from ig3d_ray.fusion.stacking import LIMIT, least_log_loss, stack_logits, stack_probabilities
from ig3d_ray.fusion.va_weights import concordance, least_squares, most_concordant
from ig3d_ray.types import Task

Method = Literal["stack", "greedy", "coordinate", "gate", "linear", "least_squares", "concordance"]
METHODS: dict[Task, tuple[Method, ...]] = {
    Task.EXPRESSION: ("stack", "greedy", "coordinate", "gate", "linear"),
    Task.VA: ("least_squares", "concordance", "linear"),
}
PER_COLUMN: tuple[Method, ...] = ("stack", "least_squares", "concordance")
"""Methods that can fit separate weights for each class or dimension."""
RICHER: tuple[Method, ...] = ("gate", "linear")
"""Methods whose fusions are more than weights."""
FROM_STACK: tuple[Method, ...] = ("stack", "coordinate", *RICHER)
"""Methods that use the stack of logits, or start from it."""
NEGLIGIBLE = 1e-6
"""Members whose influence is a smaller share than this of the largest one are dropped."""
SPACES_OF: dict[Method, tuple[Space, ...]] = {
    "stack": ("logits", "probabilities"),
    "greedy": ("probabilities",),
    "coordinate": ("logits",),
    "gate": ("logits",),
    "linear": ("logits",),
    "least_squares": ("logits",),
    "concordance": ("logits",),
}


def fit_weights(
    method: Method,
    space: Space,
    outputs_MNC: np.ndarray,
    labels: np.ndarray,
    objective: str,
    per_column: bool = False,
    max_members: int | None = None,
    seed: int = 0,
    stacked: np.ndarray | None = None,
) -> np.ndarray:
    """Members' non-negative weights `[M]`, or `[M, C]` where each column has its own.

    Args:
        method: `stack` minimizes the log-loss; `greedy` selects with replacement; `coordinate` starts from a
            stack and solves one weight at a time for the objective (for any metric of probabilities, for log-loss);
            `gate` and `linear` have the weights of the stack (of valence and arousal: those of least squares), to which
            `fit_gate`, `fit_correction` and `fit_va_correction` add;
            `least_squares` and `concordance` are the global optima for valence and arousal.
        space: of the outputs.
        outputs_MNC: `[M, N, C]`, or `[M, N, 2]` valence and arousal.
        labels: `[N]` int, or `[N, 2]`.
        objective: the metric that is searched for.
        max_members: those with the least influence are dropped and the rest fitted again, until so few are
            left.
        seed: of folds, bags and restarts.
        stacked: the weights of the stack of these members' logits, if they are known already.

    Raises:
        ValueError: the method does not work in this space, or not per column.
    """
    if space not in SPACES_OF[method] or (per_column and (method not in PER_COLUMN or space == "probabilities")):
        raise ValueError(f"method {method!r} in space {space!r}, per column {per_column}")

    def fit(members: np.ndarray) -> np.ndarray:
        everyone = len(members) == len(outputs_MNC)
        outputs = outputs_MNC if everyone else outputs_MNC[members]
        if stacked is None or not everyone or space != "logits" or per_column or method not in FROM_STACK:
            return _FITS[method](outputs, labels, objective, space, per_column, seed)
        return stacked.copy() if method != "coordinate" else _coordinate_from(stacked, outputs, labels, objective, seed)

    members, weights = _fit_few(fit, outputs_MNC, max_members)
    influence = _influence(weights, outputs_MNC if len(members) == len(outputs_MNC) else outputs_MNC[members])
    weights[influence <= NEGLIGIBLE * influence.max()] = 0.0
    whole = np.zeros((len(outputs_MNC), *weights.shape[1:]))
    whole[members] = weights
    return whole


def _fit_few(
    fit: Callable[[np.ndarray], np.ndarray], outputs_MNC: np.ndarray, max_members: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The members that are fitted at the end, and their weights: no more than `max_members` of them above zero."""
    members = np.arange(len(outputs_MNC))
    weights = fit(members)
    while max_members is not None and (weights.reshape(len(weights), -1) > 0).any(axis=1).sum() > max_members:
        influence = _influence(weights, outputs_MNC[members])
        # Half of the surplus at a time: which members are redundant changes once their duplicates are dropped.
        used = int((influence > 0).sum())
        keep = max(max_members, used - max(1, (used - max_members) // 2))
        members = members[np.sort(np.argsort(-influence, kind="stable")[:keep])]
        weights = fit(members)
    return members, weights


def _influence(weights: np.ndarray, outputs_MNC: np.ndarray) -> np.ndarray:
    """How much each member moves the fused outputs, `[M]`: weight times spread."""
    spread = np.array([float(member.std(dtype=np.float64)) for member in outputs_MNC])
    return weights.reshape(len(weights), -1).sum(axis=1) * np.where(spread > 0, spread, 1.0)


def _stack(
    outputs: np.ndarray, labels: np.ndarray, objective: str, space: Space, per_column: bool, seed: int
) -> np.ndarray:
    found = stack_probabilities if space == "probabilities" else stack_logits
    weights = found(outputs, labels, seed=seed).weights
    return stack_per_class(outputs, labels, weights, seed=seed) if per_column else weights


def _greedy(
    outputs: np.ndarray, labels: np.ndarray, objective: str, space: Space, per_column: bool, seed: int
) -> np.ndarray:
    if len(outputs) <= LIMIT:
        return greedy(outputs, labels, objective, seed=seed)
    # Large libraries are pruned to their best members first (Caruana et al. 2006, section 2.3).
    sign, of_probabilities = metric_of(objective).sign, objective in PROBABILITY_METRICS
    members = (np.log(np.maximum(one, SMALLEST)) if of_probabilities else one for one in outputs)
    alone = np.array([sign * score_one(Task.EXPRESSION, member, labels, objective) for member in members])
    best = np.sort(np.argsort(-alone, kind="stable")[:LIMIT])
    weights = np.zeros(len(outputs))
    weights[best] = greedy(outputs[best], labels, objective, seed=seed)
    return weights


def _coordinate(
    outputs: np.ndarray, labels: np.ndarray, objective: str, space: Space, per_column: bool, seed: int
) -> np.ndarray:
    return _coordinate_from(stack_logits(outputs, labels, seed=seed).weights, outputs, labels, objective, seed)


def _coordinate_from(
    stacked: np.ndarray, outputs: np.ndarray, labels: np.ndarray, objective: str, seed: int
) -> np.ndarray:
    chosen = np.flatnonzero(stacked)
    weights = np.zeros(len(outputs))
    if objective in PROBABILITY_METRICS:
        # One weight at a time ends at the least log-loss, which is convex.
        weights[chosen] = least_log_loss(outputs[chosen], labels, mixture=False)
    else:
        start = [stacked[chosen]]
        weights[chosen] = coordinate_search(outputs[chosen], labels, start, objective, restarts=0, seed=seed)
    return weights


def _least_squares(
    outputs: np.ndarray, labels: np.ndarray, objective: str, space: Space, per_column: bool, seed: int
) -> np.ndarray:
    columns = _columns(objective)
    if per_column:
        alone = [least_squares(outputs[:, :, one], labels[:, one]) for one in (0, 1)]
        return np.stack(alone, axis=1)
    return least_squares(outputs[:, :, columns].reshape(len(outputs), -1), labels[:, columns].ravel())


def _concordance(
    outputs: np.ndarray, labels: np.ndarray, objective: str, space: Space, per_column: bool, seed: int
) -> np.ndarray:
    columns, members = _columns(objective), len(outputs)
    if not per_column:
        flat = outputs[:, :, columns].reshape(members, -1)
        return most_concordant(concordance(flat, labels[:, columns].ravel()))
    if objective in ("ccc", "ccc_paper"):
        # Both dimensions pooled, weights apart: each member twice, once per dimension, zero in the other.
        apart = np.zeros((2, members, *labels.shape))
        for one in (0, 1):
            apart[one, :, :, one] = outputs[:, :, one]
        flat = apart.reshape(2 * members, -1)
        weights = most_concordant(concordance(flat, labels.ravel()), np.repeat([0, 1], members))
        return weights.reshape(2, members).T
    alone = [most_concordant(concordance(outputs[:, :, one], labels[:, one])) for one in (0, 1)]
    return np.stack(alone, axis=1)


def _columns(objective: str) -> slice:
    """The dimensions that an objective depends on."""
    return {"_valence": slice(0, 1), "_arousal": slice(1, 2)}.get("_" + objective.rpartition("_")[2], slice(0, 2))


def _before_correction(
    outputs: np.ndarray, labels: np.ndarray, objective: str, space: Space, per_column: bool, seed: int
) -> np.ndarray:
    fit = _least_squares if labels.ndim == 2 else _stack
    return fit(outputs, labels, objective, space, per_column, seed)


_Fit = Callable[[np.ndarray, np.ndarray, str, Space, bool, int], np.ndarray]
_FITS: dict[Method, _Fit] = {
    "stack": _stack,
    "greedy": _greedy,
    "coordinate": _coordinate,
    "gate": _stack,
    "linear": _before_correction,
    "least_squares": _least_squares,
    "concordance": _concordance,
}
