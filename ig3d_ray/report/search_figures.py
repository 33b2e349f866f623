"""Figures of the search: the Pareto front, what it tried, and what its candidates chose."""

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ig3d_ray.report.drawing import FIRST, INK, MUTED, PAPER, RULE, SECOND, THIRD, drawing
from ig3d_ray.report.figure_sizes import Size, legend_above
from ig3d_ray.report.findings import Findings


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
        legend_above(figure, size)
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
            legend_above(figure, size)
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
