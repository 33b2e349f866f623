"""The report's figures, each drawn from the findings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator

from ig3d_ray.report.drawing import FIRST, FOURTH, INK, MUTED, PAPER, RULE, SECOND, THIRD, drawing
from ig3d_ray.report.findings import Findings
from ig3d_ray.report.text import shown_label

ROWS_AT_MOST = 24


@dataclass(frozen=True)
class Size:
    """How large a figure is drawn.

    Attributes:
        inches: its width.
        label: characters of a row's label, at most.
        points: of a scatter plot, at most.
        lines: of parallel coordinates, at most.
        columns: of panels.
    """

    inches: float
    label: int
    points: int
    lines: int
    columns: int


WIDE = Size(8.4, 46, 2000, 240, 2)
NARROW = Size(4.3, 24, 500, 80, 1)
"""For screens of a phone's width, where a wide figure's text would be too small."""


COLORS = {"single": FIRST, "reference": FOURTH, "family": THIRD, "chosen": SECOND}
"""Each color has one meaning in all figures: members, references, fusions, and the chosen ensemble."""


def _short(name: str, length: int = 34) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _legend_above(figure: Figure, size: Size) -> None:
    """A legend outside the axes, where it covers no point."""
    figure.legend(loc="outside upper left", fontsize=8, ncols=2 * size.columns)


def leaderboard(findings: Findings, size: Size) -> Figure | None:
    """Every row's report score with its interval."""
    rows, objective = findings.board.rows, findings.space.objective
    shown = [*rows[-ROWS_AT_MOST:]] if len(rows) > ROWS_AT_MOST else [*rows]
    with drawing(size.inches, 0.8 + 0.24 * len(shown)) as (figure, (axes,)):
        for place, row in enumerate(reversed(shown)):
            score = row.scores.report.metrics[objective]
            axes.plot([score.low, score.high], [place, place], color=COLORS[row.group], linewidth=2, alpha=0.5)
            axes.plot(score.value, place, "o", color=COLORS[row.group], markersize=5)
        names = [_short(shown_label(row), size.label) for row in reversed(shown)]
        axes.set_yticks(range(len(shown)), names)
        for group, word in (
            ("single", "member"),
            ("reference", "reference"),
            ("family", "fusion"),
            ("chosen", "chosen"),
        ):
            if any(row.group == group for row in shown):
                axes.plot([], [], "o", color=COLORS[group], label=word)
        axes.set_xlabel(f"{objective} on {findings.board.chosen.scores.report.split}, 95 % interval")
        axes.grid(visible=False, axis="y")
        _legend_above(figure, size)
    return figure


def weight_curve(findings: Findings, size: Size) -> Figure | None:
    """Score against the 3D weight of the best pair: the exact optimum, the flat region, the references' weights."""
    curve = findings.curve
    if curve is None:
        return None
    chosen = findings.board.chosen.scores
    with drawing(size.inches, 3.6) as (figure, (axes,)):
        same = chosen.selection.split == chosen.report.split
        axes.plot(curve.weights, curve.selection, color=THIRD, label=f"selection ({chosen.selection.split})")
        if not same:
            axes.plot(curve.weights, curve.report, color=MUTED, label=f"report ({chosen.report.split})")
        # A step of the curve may be too narrow to be seen.
        axes.axvspan(curve.low, max(curve.high, curve.low + 0.002), color=THIRD, alpha=0.2, label="equally good")
        axes.axvline(curve.best, color=INK, linewidth=1.2, label=f"solved: {curve.best:.4f}")
        for number, (name, weight) in enumerate(curve.references):
            style = ("--", ":", "-.")[number % 3]
            axes.axvline(weight, color=FOURTH, linewidth=1.2, linestyle=style, label=f"{_short(name, 24)}: {weight:g}")
        axes.set_xlabel(f"weight of the 3D member (1 = {_short(curve.members[1], size.label - 12)} alone)")
        axes.set_ylabel(findings.space.objective)
        axes.set_xlim(0, 1)
        _legend_above(figure, size)
    return figure


def strategies(findings: Findings, size: Size) -> Figure | None:
    """The ways to fuse side by side: where they were chosen, cross-fitted within it, and on the report set."""
    objective = findings.space.objective
    rows = [row for row in findings.board.rows if row.group in ("family", "reference", "chosen")]
    if not rows:
        return None
    with drawing(size.inches, 0.9 + 0.28 * len(rows)) as (figure, (axes,)):
        for place, row in enumerate(reversed(rows)):
            selection, report = (
                row.scores.selection.metrics[objective].value,
                row.scores.report.metrics[objective].value,
            )
            axes.plot([selection, report], [place, place], color=RULE, linewidth=3, zorder=1)
            color = COLORS[row.group]
            axes.plot(selection, place, "o", color=color, markersize=6, fillstyle="none")
            axes.plot(report, place, "o", color=color, markersize=6)
            if row.cross_fitted is not None:
                axes.plot(row.cross_fitted, place, "|", color=color, markersize=11, markeredgewidth=2)
        axes.set_yticks(range(len(rows)), [_short(shown_label(row), size.label) for row in reversed(rows)])
        axes.plot([], [], "o", color=INK, fillstyle="none", label="selection, optimistic")
        axes.plot([], [], "|", color=INK, markersize=11, markeredgewidth=2, label="cross-fitted within it")
        axes.plot([], [], "o", color=INK, label="report")
        axes.set_xlabel(objective)
        axes.grid(visible=False, axis="y")
        _legend_above(figure, size)
    return figure


def confusions(findings: Findings, size: Size) -> Figure | None:
    """Confusion matrices of the best single member, the best 2D member and the ensemble, and their difference."""
    if not findings.space.task.has_classes:
        return None
    counts = {name: findings.confusion(row) for name, row in findings.compared.items()}
    shares = {name: c / np.maximum(c.sum(axis=1, keepdims=True), 1) for name, c in counts.items()}
    names = list(counts)
    panels: list[tuple[str, np.ndarray, str | None]]
    panels = [(name, shares[name], SECOND if name == "ensemble" else FIRST) for name in names]
    panels.append(("ensemble minus best single", shares[names[-1]] - shares[names[0]], None))
    rows = -(-len(panels) // size.columns)
    with drawing(size.inches, 3.9 * rows, rows, size.columns) as (figure, all_axes):
        for axes, (name, matrix, color) in zip(all_axes, panels, strict=False):
            _matrix(axes, matrix, color, findings.class_names)
            axes.set_title(_short(name, 48), fontsize=9, loc="left")
        for axes in all_axes[len(panels) :]:
            axes.set_axis_off()
    return figure


def _matrix(axes: Axes, matrix: np.ndarray, single_color: str | None, names: tuple[str, ...]) -> None:
    """A matrix of shares in one color, or without a color one of differences."""
    signed = single_color is None
    most = max(float(np.abs(matrix).max()), 1e-9)
    for (row, column), value in np.ndenumerate(matrix):
        good = (value > 0) == (row == column)
        color = single_color or (THIRD if good else MUTED)
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=color, alpha=0.7 * abs(value) / most, linewidth=0))
        if abs(value) >= 0.005:
            text = f"{100 * value:+.0f}" if signed else f"{100 * value:.0f}"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7, color=INK)
    axes.set_xlim(0, len(names))
    axes.set_ylim(len(names), 0)
    places = np.arange(len(names)) + 0.5
    axes.set_xticks(places, [_short(name, 12) for name in names], rotation=45, ha="right", fontsize=7)
    axes.set_yticks(places, [_short(name, 12) for name in names], fontsize=7)
    axes.set_xlabel("predicted class, % of the true class", fontsize=8)
    axes.set_ylabel("true class", fontsize=8)
    axes.grid(visible=False)
    axes.set_aspect("equal")


def per_class(findings: Findings, size: Size) -> Figure | None:
    """Recall of each class: best single member, best 2D member, ensemble."""
    if not findings.space.task.has_classes:
        return None
    names, rows = findings.class_names, findings.compared
    height = 0.8 / len(rows)
    with drawing(size.inches, 0.9 + 0.45 * len(names)) as (figure, (axes,)):
        for number, (label, row) in enumerate(rows.items()):
            color = SECOND if label == "ensemble" else FIRST
            places = np.arange(len(names)) + height * (number - (len(rows) - 1) / 2)
            # The best 2D member, where it is another than the best of all, is paler.
            alpha = 0.45 if label.startswith("best 2D") else 1.0
            axes.barh(places, findings.recalls(row), height * 0.9, color=color, alpha=alpha, label=_short(label, 48))
        axes.set_yticks(range(len(names)), [_short(name, 20) for name in names])
        axes.invert_yaxis()
        axes.set_xlabel("recall on the report set")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper left", fontsize=8, ncols=len(rows) if size.columns > 1 else 1)
    return figure


def circumplex(findings: Findings, size: Size) -> Figure | None:
    """Valence and arousal as labeled and as predicted, and how far off the ensemble is in each region."""
    if findings.space.task.has_classes:
        return None
    truth, fused = findings.plan.report.labels.astype(float), findings.fused
    step = -(-len(truth) // size.points)
    with drawing(size.inches, 4.3 * (3 - size.columns), 3 - size.columns, size.columns) as (figure, (points, regions)):
        points.plot(*truth[::step].T, ".", color=MUTED, markersize=2.5, alpha=0.5, label="labeled")
        points.plot(*fused[::step].T, ".", color=SECOND, markersize=2.5, alpha=0.5, label="ensemble")
        points.legend(fontsize=8, loc="lower right")
        edges = np.linspace(-1, 1, 9).tolist()
        where = [np.clip(np.digitize(truth[:, i], edges) - 1, 0, 7) for i in (0, 1)]
        error = np.sqrt(((fused - truth) ** 2).sum(axis=1))
        counts, sums = np.zeros((8, 8)), np.zeros((8, 8))
        np.add.at(counts, (where[0], where[1]), 1)
        np.add.at(sums, (where[0], where[1]), error)
        mean = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
        most = max(float(mean.max()), 1e-9)
        for (x, y), value in np.ndenumerate(mean):
            if counts[x, y]:
                corner = (edges[x], edges[y])
                regions.add_patch(
                    Rectangle(corner, 0.25, 0.25, facecolor=SECOND, alpha=0.75 * value / most, linewidth=0)
                )
                regions.text(
                    corner[0] + 0.125,
                    corner[1] + 0.125,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=6,
                    color=INK,
                )
        for axes, title in ((points, "labels and predictions"), (regions, "mean distance by labeled region")):
            axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=MUTED, linewidth=0.8))
            axes.set_xlim(-1.08, 1.08)
            axes.set_ylim(-1.08, 1.08)
            axes.set_xticks([-1, -0.5, 0, 0.5, 1])
            axes.set_yticks([-1, -0.5, 0, 0.5, 1])
            axes.set_aspect("equal")
            axes.set_xlabel("valence")
            axes.set_ylabel("arousal")
            axes.set_title(title, fontsize=9, loc="left")
    return figure


def front(findings: Findings, size: Size) -> Figure | None:
    """The Pareto front of score and cost."""
    points = findings.board.pareto
    if len(points) < 2:
        return None
    what = findings.space.search.second_objective or "members"
    with drawing(size.inches, 3.0) as (figure, (axes,)):
        costs, scores = zip(*[(cost, result.score) for cost, result in points], strict=True)
        axes.step(costs, scores, where="post", color=RULE, linewidth=2)
        axes.plot(costs, scores, "o", color=THIRD)
        if what == "members":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(what)
        axes.set_ylabel(f"{findings.space.objective} (selection)")
    return figure


def tried(findings: Findings, size: Size) -> Figure | None:
    """What the search tried, in its order, and the best so far."""
    results = [r for r in findings.results[0] if not r.candidate.reference]
    if len(results) < 2:
        return None
    scores = np.array([r.score for r in results])
    best = np.maximum.accumulate(scores) if findings.higher_is_better else np.minimum.accumulate(scores)
    kinds = [
        "alone" if r.candidate.strategy is None else "pair" if r.candidate.method is None else "many" for r in results
    ]
    step = -(-len(results) // size.points)
    with drawing(size.inches, 3.2) as (figure, (axes,)):
        for kind, color in (("alone", FIRST), ("pair", MUTED), ("many", THIRD)):
            at = [i for i in range(0, len(results), step) if kinds[i] == kind]
            if at:
                words = {"alone": "one member", "pair": "two members", "many": "many members"}
                axes.plot(np.array(at) + 1, scores[at], ".", color=color, markersize=3, alpha=0.6, label=words[kind])
        axes.step(np.arange(len(results)) + 1, best, where="post", color=INK, linewidth=1.2, label="best so far")
        # A very poor candidate would compress the scale for all others.
        low, high = np.quantile(scores, [0.02, 0.98])
        room = max(high - low, abs(best[-1] - high), 1e-6)
        top, bottom = max(high, float(best.max())), min(low, float(best.min()))
        axes.set_ylim(
            (low if findings.higher_is_better else bottom) - 0.1 * room,
            (top if findings.higher_is_better else high) + 0.1 * room,
        )
        axes.set_xlabel("candidate")
        axes.set_ylabel(f"{findings.space.objective} (selection)")
        _legend_above(figure, size)
    return figure


def choices(findings: Findings, size: Size) -> Figure | None:
    """Parallel coordinates: members, way of fusing, space, score; the better, the darker."""
    results = [r for r in findings.results[0] if r.candidate.strategy is not None and not r.candidate.reference]
    if len(results) < 3:
        return None
    sign = findings.space.metric.sign
    ranked = sorted(results, key=lambda r: -sign * r.score)
    half = size.lines // 2
    shown = ranked[:half] + ranked[half :: max(1, len(ranked) // half)]
    chosen = findings.board.chosen.result
    if chosen.candidate.strategy is not None and all(r.candidate != chosen.candidate for r in shown):
        shown.append(chosen)
    ways = sorted({r.candidate.method or str(r.candidate.strategy) for r in shown})
    spaces = sorted({r.candidate.space for r in shown})
    most = max(len(r.members) for r in shown)
    scores = np.array([r.score for r in shown])
    spread = max(float(np.ptp(scores)), 1e-12)
    columns = [
        np.array([len(r.members) / most for r in shown]),
        np.array([_place(ways, r.candidate.method or str(r.candidate.strategy)) for r in shown]),
        np.array([_place(spaces, r.candidate.space) for r in shown]),
        (scores - scores.min()) / spread,
    ]
    lines = np.stack(columns, axis=1)
    good = columns[3] if sign > 0 else 1 - columns[3]
    # Lines of the same choice would overlap.
    lines[:, :3] += 0.03 * (good[:, None] - 0.5)
    with drawing(size.inches, 3.6) as (figure, (axes,)):
        places = np.arange(4)
        paths = [np.column_stack([places, line]) for line in lines[::-1]]
        alphas = (0.08 + 0.6 * good[::-1] ** 3).tolist()
        axes.add_collection(LineCollection(paths, colors=THIRD, alpha=alphas, linewidths=1))
        of_chosen = [line for line, r in zip(lines, shown, strict=True) if r.candidate == chosen.candidate]
        for line in of_chosen[:1]:
            axes.plot(places, line, color=SECOND, linewidth=2, label="chosen ensemble")
            _legend_above(figure, size)
        for place, labels in ((1, ways), (2, spaces)):
            for label in labels:
                text = label.replace("_", " ")
                box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 1}
                axes.text(place + 0.03, _place(labels, label), text, fontsize=7, va="center", color=INK, bbox=box)
        for count in sorted({len(r.members) for r in shown}):
            axes.text(-0.04, count / most, str(count), fontsize=7, va="center", ha="right", color=INK)
        for share in (0.0, 0.5, 1.0):
            axes.text(3.04, share, f"{scores.min() + share * spread:.4f}", fontsize=7, va="center", color=INK)
        axes.set_xticks(places, ["members", "way of fusing", "space", findings.space.objective])
        axes.set_yticks([])
        axes.set_xlim(-0.25, 3.35)
        axes.set_ylim(-0.08, 1.08)
        axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def _place(labels: Sequence[str], label: str) -> float:
    return (labels.index(label) + 0.5) / len(labels)


FIGURES: dict[str, tuple[Callable[[Findings, Size], Figure | None], str]] = {
    "leaderboard": (leaderboard, "Scores on the report set, with 95 % bootstrap intervals."),
    "weight": (
        weight_curve,
        "The best pair's score against its 3D weight. Any weight in the shaded region is as good.",
    ),
    "strategies": (strategies, "Ways to fuse: where they were chosen, cross-fitted within it, and on the report set."),
    "confusion": (confusions, "Confusion matrices on the report set; in the last, green is better and gray is worse."),
    "classes": (per_class, "Recall of each class."),
    "circumplex": (circumplex, "Valence and arousal on the report set."),
    "front": (front, "Pareto front: ensembles that no smaller or cheaper ensemble outperforms."),
    "tried": (
        tried,
        "What the search tried, in its order, and the best so far; under repeated folds, for the exported ensemble.",
    ),
    "choices": (
        choices,
        "What the candidates chose, the best of them and a part of the rest; the better, the darker; the"
        " chosen ensemble is the best of the family that did best in cross-fitting.",
    ),
}
"""Name -> how it is drawn, and its caption; None where there is nothing to draw."""
