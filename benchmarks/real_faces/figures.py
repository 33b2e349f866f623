"""The page's figures, as SVG on a plain background."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.real_faces.analysis import Point
from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.report.drawing import FIRST, MUTED, PAPER, SECOND, THIRD, drawing, svg_file

POINTS: dict[str, Any] = {"marker": "o", "markersize": 4, "capsize": 2}


def by_faces(points: Sequence[Point]) -> bytes:
    """Accuracy of the 2D member, the 3D member and their fusion over the number of training faces."""
    with drawing(6.4, 3.4) as (figure, (axes,)):
        figure.set_facecolor(PAPER)
        counts = [one.faces for one in points]
        curves = (
            ("2D and 3D, weighted", THIRD, [one.fused for one in points]),
            ("2D: cnn, width 32", FIRST, [one.alone for one in points]),
            ("3D: 3DDFA_V2's parameters", SECOND, [one.face3d for one in points]),
        )
        for name, color, values in curves:
            heights = [one.value for one in values]
            axes.errorbar(counts, heights, _ends(values), color=color, label=name, **POINTS)
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts], minor=False)
        axes.minorticks_off()
        axes.set_xlabel("training faces")
        axes.set_ylabel("accuracy on test")
        axes.legend(loc="upper left")
        return svg_file(figure)


def by_strength(points: Sequence[Point]) -> bytes:
    """The gain of fusion over the accuracy of the 2D member."""
    with drawing(6.4, 3.4) as (figure, (axes,)):
        figure.set_facecolor(PAPER)
        alone = [one.alone.value for one in points]
        gains = [one.gain for one in points]
        axes.axhline(0, color=MUTED, linewidth=0.8)
        heights = [one.value for one in gains]
        axes.errorbar(alone, heights, _ends(gains), color=THIRD, linestyle="none", **POINTS)
        axes.set_xlabel("accuracy of the 2D member on test")
        axes.set_ylabel("gain by fusion with the 3D member")
        return svg_file(figure)


def confusion_change(change: np.ndarray, names: Sequence[str]) -> bytes:
    """By how many test faces each cell of the confusion matrix changes; on the diagonal more is better."""
    with drawing(5.6, 4.4) as (figure, (axes,)):
        figure.set_facecolor(PAPER)
        most = max(1, int(np.abs(change).max()))
        axes.imshow(change, cmap="PuOr_r", vmin=-most, vmax=most)
        axes.grid(visible=False)
        for row, column in np.ndindex(*change.shape):
            color = PAPER if abs(change[row, column]) > 0.6 * most else "#1c1c1e"
            axes.text(column, row, f"{change[row, column]:+d}", ha="center", va="center", color=color, fontsize=8)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("label")
        return svg_file(figure)


def _ends(values: Sequence[Interval]) -> np.ndarray:
    """How far intervals reach below and above, `[2, N]`."""
    return np.array([[one.value - one.low for one in values], [one.high - one.value for one in values]])
