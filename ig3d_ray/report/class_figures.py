"""Figures of classes, and of the regions of valence and arousal."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from ig3d_ray.report.drawing import FIRST, INK, MUTED, RULE, SECOND, THIRD, drawing
from ig3d_ray.report.figure_sizes import Size, short
from ig3d_ray.report.findings import Findings


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
            axes.set_title(short(name, min(48, size.label + 14)), fontsize=9, loc="left")
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
    axes.set_xticks(places, [short(name, 12) for name in names], rotation=45, ha="right", fontsize=7)
    axes.set_yticks(places, [short(name, 12) for name in names], fontsize=7)
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
            axes.barh(places, findings.recalls(row), height * 0.9, color=color, alpha=alpha, label=short(label, 48))
        axes.set_yticks(range(len(names)), [short(name, 20) for name in names])
        axes.invert_yaxis()
        axes.set_xlabel("recall on the report set")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper left", fontsize=8, ncols=len(rows) if size.columns > 1 else 1)
    return figure


def reliability(findings: Findings, size: Size) -> Figure | None:
    """Accuracy against confidence of the ensemble's predicted classes, before and after its temperature."""
    calibrated = findings.board.calibrated
    if calibrated is None:
        return None
    with drawing(size.inches, 3.8) as (figure, (axes,)):
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1.2)
        for bins, color, label in (
            (calibrated.uncalibrated, MUTED, "without a temperature"),
            (calibrated.calibrated, SECOND, "with it: the ensemble"),
        ):
            spread = 1.96 * np.sqrt(bins.accuracy * (1 - bins.accuracy) / bins.count)
            axes.vlines(bins.confidence, bins.accuracy - spread, bins.accuracy + spread, color=color, alpha=0.5)
            axes.plot(bins.confidence, bins.accuracy, "o-", color=color, markersize=4, linewidth=1, label=label)
        low = min(float(calibrated.calibrated.confidence.min()), float(calibrated.uncalibrated.confidence.min()))
        axes.set_xlim(max(0.0, low - 0.05), 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("probability of the predicted class")
        axes.set_ylabel("share that is right")
        figure.legend(loc="outside upper left", fontsize=8, ncols=size.columns)
    return figure


def risk(findings: Findings, size: Size) -> Figure | None:
    """Error against coverage of the ensemble and of the best single member."""
    calibrated = findings.board.calibrated
    if calibrated is None:
        return None
    with drawing(size.inches, 3.2) as (figure, (axes,)):
        for curve, color, label in (
            (calibrated.curve_of_single, FIRST, f"best single: {findings.board.best_single.result.members[0]}"),
            (calibrated.curve, SECOND, "ensemble"),
        ):
            axes.plot(curve.coverage, curve.risk, color=color, label=short(label, 48))
        asked = calibrated.abstention
        if asked is not None:
            axes.axhline(asked.risk, color=MUTED, linestyle="--", linewidth=1, label=f"at most {asked.risk:g}")
            axes.axvline(asked.coverage, color=INK, linewidth=1, label=f"answered: {asked.coverage:.1%}")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, None)
        axes.set_xlabel("share of samples that is answered")
        axes.set_ylabel("share of these that is wrong")
        figure.legend(loc="outside upper left", fontsize=8, ncols=size.columns)
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
