"""Figures of scores: the leaderboard, the weight of a pair, the ways to fuse."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ig3d_ray.report.drawing import FOURTH, INK, MUTED, RULE, THIRD, drawing
from ig3d_ray.report.figure_sizes import COLORS, Size, legend_above, short
from ig3d_ray.report.findings import Findings
from ig3d_ray.report.text import shown_label
from ig3d_ray.search.leaderboard import Row

ROWS_AT_MOST = 24


def leaderboard(findings: Findings, size: Size) -> Figure | None:
    """Every row's report score with its interval."""
    shown, objective = _best_rows(findings.board.rows), findings.space.objective
    with drawing(size.inches, 0.8 + 0.24 * len(shown)) as (figure, (axes,)):
        for place, row in enumerate(reversed(shown)):
            score = row.scores.report.metrics[objective]
            axes.plot([score.low, score.high], [place, place], color=COLORS[row.group], linewidth=2, alpha=0.5)
            axes.plot(score.value, place, "o", color=COLORS[row.group], markersize=5)
        names = [short(shown_label(row), size.label) for row in reversed(shown)]
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
        legend_above(figure, size)
    return figure


def _best_rows(rows: Sequence[Row]) -> list[Row]:
    """All references and fusions, and of the members, which come best first, as many as there is space for."""
    fused = sum(row.group != "single" for row in rows)
    members = [row for row in rows if row.group == "single"][: max(ROWS_AT_MOST - fused, 1)]
    return [*members, *(row for row in rows if row.group != "single")]


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
            axes.axvline(weight, color=FOURTH, linewidth=1.2, linestyle=style, label=f"{short(name, 24)}: {weight:g}")
        axes.set_xlabel(f"weight of the 3D member (1 = {short(curve.members[1], size.label - 12)} alone)")
        axes.set_ylabel(findings.space.objective)
        axes.set_xlim(0, 1)
        legend_above(figure, size)
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
        axes.set_yticks(range(len(rows)), [short(shown_label(row), size.label) for row in reversed(rows)])
        axes.plot([], [], "o", color=INK, fillstyle="none", label="selection, optimistic")
        axes.plot([], [], "|", color=INK, markersize=11, markeredgewidth=2, label="cross-fitted within it")
        axes.plot([], [], "o", color=INK, label="report")
        axes.set_xlabel(objective)
        axes.grid(visible=False, axis="y")
        legend_above(figure, size)
    return figure
