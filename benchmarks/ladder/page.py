"""The ladder's results as a page, and their mean ranks as a critical-difference diagram."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import rankdata, studentized_range

ALPHA = 0.05
BLUE, GRAY, INK = "#1f6fb4", "#c9c9cd", "#1c1c1e"
OURS = ("automatic", "stack of logits", "coordinate", "greedy", "stack of probabilities", "gate", "linear")
METRICS = {"accuracy": -1.0, "log_loss": 1.0}
"""And the sign by which less is better."""
VA_METRICS = {"ccc": -1.0, "rmse": 1.0}
HEADS = {"accuracy": "accuracy", "log_loss": "log-loss", "ccc": "CCC", "rmse": "RMSE"}
INTRODUCTION = """# A ladder of pools that nobody drew

Ensembles of {members} models of nine kinds on {pools} data sets: scikit-learn's own, made ones, {faces};
from two classes to ten, 300 to 20,000 samples to fit on, with overconfident members, rounded probabilities with zeros,
copies, and members that know next to nothing. Ensembles are fitted on out-of-fold predictions, and scored on fresh
samples. `make ladder` measures this; commit {commit}.

`automatic` is what `ig3d search` chooses by itself for accuracy, with its calibrated probabilities, of every method on
all members; those are {ours}.
Peers: AutoGluon 1.6's ensemble selection, logistic stacking as in scikit-learn's `StackingClassifier`, hill climbing,
CMA-ES, means and single members. The first seeds were looked at while the methods were developed, the last one not.

![mean ranks](ladder.svg)

Mean ranks that end in the shaded range don't differ significantly from the first (Nemenyi's test at 5 %, all seeds).
"""


ABOUT_VA = """Ensembles of 16 regressors of seven kinds on {pools} data sets with two targets in [-1, 1].
`automatic` is what `ig3d search` chooses for the mean CCC. Peers: AutoGluon's ensemble selection, ridge stacking as in
scikit-learn's `StackingRegressor`, non-negative least squares, CMA-ES, means and single members.
"""


def page(found: dict[str, Any]) -> str:
    """The page in Markdown."""
    seeds: dict[str, Any] = found["seeds"]
    first = next(iter(seeds.values()))
    text = INTRODUCTION.format(
        members="20 to 28",
        pools=len(first),
        ours=", ".join(OURS[1:]),
        faces=_about_faces(first),
        commit=found["commit"],
    )
    for seed, pools in seeds.items():
        text += f"\n## Seed {seed}\n\n" + _table(pools, METRICS) + "\n" + _behind(pools)
    text += "\n## Valence and arousal\n\n" + ABOUT_VA.format(pools=len(next(iter(found["va"].values()))))
    for seed, pools in found["va"].items():
        text += f"\nSeed {seed}:\n\n" + _table(pools, VA_METRICS)
    text += "\n## Each pool\n\nAccuracy of the automatic choice and of the best peer there, of all seeds.\n\n"
    return text + "| pool | seed | automatic | best peer | |\n|---|---|---|---|---|\n" + "".join(_rows(seeds))


def _table(pools: dict[str, Any], metrics: dict[str, float]) -> str:
    """Each method's means over pools, the best of the first metric first."""
    heads = "".join(f" {HEADS[metric]} | mean rank |" for metric in metrics)
    text = f"| method |{heads} seconds, median |\n|---|{'---|---|' * len(metrics)}---|\n"
    scores = {metric: _values(pools, metric) for metric in metrics}
    ranks = {metric: _ranks(table, metrics[metric]) for metric, table in scores.items()}
    names, seconds = _methods(pools), np.median(_values(pools, "seconds"), axis=0)
    main, sign = next(iter(metrics.items()))
    for i in np.argsort(sign * scores[main].mean(axis=0), kind="stable"):
        name = f"**{names[i]}**" if names[i] == "automatic" else names[i]
        cells = [f"{scores[m].mean(axis=0)[i]:.4f} | {ranks[m].mean(axis=0)[i]:.1f}" for m in metrics]
        text += f"| {name} | {' | '.join(cells)} | {seconds[i]:.2f} |\n"
    return text


def _about_faces(pools: dict[str, Any]) -> str:
    is_there = any(name.startswith("real faces") for name in pools)
    return "drawn faces and real ones (FER2013)" if is_there else "drawn faces"


def _rows(seeds: dict[str, Any]) -> Iterator[str]:
    for seed, pools in seeds.items():
        for name, scores in pools.items():
            accuracies = {peer: scores[peer]["accuracy"] for peer in _peers(pools)}
            peer = max(accuracies, key=accuracies.__getitem__)
            own = scores["automatic"]["accuracy"]
            yield f"| {name} | {seed} | {own:.4f} | {accuracies[peer]:.4f} | {peer} |\n"


def _behind(pools: dict[str, Any]) -> str:
    """How often the automatic choice is behind the best peer by more than a standard error of an accuracy."""
    count = 0
    for scores in pools.values():
        best = max(scores[peer]["accuracy"] for peer in _peers(pools))
        error = (best * (1 - best) / scores["automatic"]["samples"]) ** 0.5
        count += best - scores["automatic"]["accuracy"] > error
    peers = len(_peers(pools))
    best = max(_peers(pools), key=lambda one: _mean(pools, one, "accuracy"))
    least = min(_peers(pools), key=lambda one: _mean(pools, one, "log_loss"))
    accuracy = _mean(pools, "automatic", "accuracy") - _mean(pools, best, "accuracy")
    loss = _mean(pools, "automatic", "log_loss") - _mean(pools, least, "log_loss")
    return (
        f"Against the peer with the highest mean accuracy ({best}) the automatic choice has {accuracy:+.4f}, against"
        f" the one with the least mean log-loss ({least}) {loss:+.4f}."
        f" On {count} of {len(pools)} pools the automatic choice has less accuracy than the best of {peers} peers"
        " there, by more than one standard error of that accuracy.\n"
    )


def _mean(pools: dict[str, Any], method: str, key: str) -> float:
    return float(np.mean([scores[method][key] for scores in pools.values()]))


def _methods(pools: dict[str, Any]) -> list[str]:
    """Those that every pool has, in the order of the first."""
    listed = next(iter(pools.values()))
    return [name for name in listed if all(name in scores for scores in pools.values())]


def _peers(pools: dict[str, Any]) -> list[str]:
    return [name for name in _methods(pools) if name not in OURS and not name.startswith("always")]


def _values(pools: dict[str, Any], key: str) -> np.ndarray:
    """`[pools, methods]`."""
    return np.array([[scores[name][key] for name in _methods(pools)] for scores in pools.values()])


def _ranks(table: np.ndarray, sign: float) -> np.ndarray:
    return np.array([rankdata(sign * row) for row in table])


def write_diagram(found: dict[str, Any], file: Path) -> None:
    """Mean ranks over all pools and seeds, for each metric, with the range that does not differ significantly."""
    pools = {f"{seed} {name}": scores for seed, of in found["seeds"].items() for name, scores in of.items()}
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ladder", "font.size": 9}):
        figure = Figure((9, 9.5), layout="constrained")
        axes = figure.subplots(2, 1)
        for axis, (metric, sign) in zip(axes, METRICS.items(), strict=True):
            _draw(axis, _methods(pools), _ranks(_values(pools, metric), sign), metric.replace("_", "-"))
        figure.savefig(file, metadata={"Date": None, "Creator": None}, facecolor="white")


def _draw(axis: Axes, names: list[str], ranks: np.ndarray, metric: str) -> None:
    mean, count = ranks.mean(axis=0), len(names)
    difference = studentized_range.ppf(1 - ALPHA, count, np.inf) / 2**0.5
    difference *= (count * (count + 1) / (6 * len(ranks))) ** 0.5
    order = np.argsort(mean)
    colors = [(BLUE, "white") if names[i] == "automatic" else (GRAY, INK) for i in order]
    axis.barh(range(count), mean[order], color=[bar for bar, _ in colors], height=0.85)
    for place, (i, (_, text)) in enumerate(zip(order, colors, strict=True)):
        axis.text(0.15, place, f"{names[i]}  {mean[i]:.1f}", va="center", color=text)
    axis.axvspan(mean[order[0]], mean[order[0]] + difference, color="#2f8f5b", alpha=0.18, lw=0)
    axis.set_title(f"Mean rank in {metric}, least is best; shaded: not worse than the first (Nemenyi, 5 %)", loc="left")
    axis.set_yticks([])
    axis.invert_yaxis()
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
