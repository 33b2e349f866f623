"""Places the axes of a figure by the sizes of their texts, computed once; a layout engine would draw it all twice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text

POINTS = 72.0
WIDER = 1.08
"""A browser's fonts are a little wider than the one that texts are measured with."""
LINE = 1.25
"""Height of a line of text, in font sizes."""
TICK, GAP = 7.0, 5.0
"""Points between the axes and their numbers, and between other things."""
SIDE, TOP = 0.1, 0.06
"""Inches that stay free at the edges of each panel."""


@dataclass(frozen=True)
class Margins:
    """What the texts around some axes take, in inches."""

    left: float
    right: float
    top: float
    bottom: float


def lay_out(figure: Figure, axes: Sequence[Axes], rows: int, columns: int) -> None:
    """Place the axes of a grid so that their texts and the figure's legends have room.

    Args:
        figure: with everything drawn in it.
        axes: row by row.
        rows: of the grid.
        columns: of the grid.
    """
    width, height = figure.get_size_inches()
    taken = _legends(figure)
    around = [_margins(one, (width / columns, height / rows)) for one in axes]
    lefts = [max(around[at].left for at in range(column, len(axes), columns)) for column in range(columns)]
    rights = [max(around[at].right for at in range(column, len(axes), columns)) for column in range(columns)]
    tops = [max(one.top for one in around[row * columns : (row + 1) * columns]) for row in range(rows)]
    bottoms = [max(one.bottom for one in around[row * columns : (row + 1) * columns]) for row in range(rows)]
    wide = (width - sum(lefts) - sum(rights)) / columns
    high = (height - taken - sum(tops) - sum(bottoms)) / rows
    for at, one in enumerate(axes):
        row, column = divmod(at, columns)
        left = sum(lefts[: column + 1]) + sum(rights[:column]) + column * wide
        top = taken + sum(tops[: row + 1]) + sum(bottoms[:row]) + row * high
        one.set_position((left / width, 1 - (top + high) / height, wide / width, high / height))


def _legends(figure: Figure) -> float:
    """The height of the legends above the axes, in inches."""
    if not figure.legends:
        return 0.0
    renderer = FigureCanvasAgg(figure).get_renderer()
    return float(max(one.get_window_extent(renderer).height for one in figure.legends)) / figure.dpi + 2 * TOP


def _margins(axes: Axes, room: tuple[float, float]) -> Margins:
    """The margins of axes that get about so much room, in inches."""
    if not axes.axison:
        return Margins(0.0, 0.0, 0.0, 0.0)
    numbers_x, numbers_y = _tick_labels(axes.xaxis, axes.get_xlim()), _tick_labels(axes.yaxis, axes.get_ylim())
    left = max((one.width for one in numbers_y), default=0.0)
    bottom = max((one.height for one in numbers_x), default=0.0)
    left, bottom = left + TICK * bool(numbers_y), bottom + TICK * bool(numbers_x)
    left += _height(axes.yaxis.label) + GAP * bool(axes.get_ylabel())
    bottom += _height(axes.xaxis.label) + GAP * bool(axes.get_xlabel())
    has_title = any(axes.get_title(loc=loc) for loc in ("left", "center", "right"))
    top = (LINE * float(axes.title.get_fontsize()) + GAP) * has_title
    if numbers_y:
        top, bottom = (max(side, numbers_y[0].size / 2) for side in (top, bottom))
    # Numbers below the ends of the axis stick out on both sides.
    inside = room[0] * POINTS - left
    over_left = max((one.before - one.place * inside for one in numbers_x), default=0.0)
    over_right = max((one.after - (1 - one.place) * inside for one in numbers_x), default=0.0)
    return Margins(
        max(left, over_left) / POINTS + SIDE,
        max(over_right, 0.0) / POINTS + SIDE,
        top / POINTS + TOP,
        bottom / POINTS + TOP,
    )


@dataclass(frozen=True)
class _TickLabel:
    """A label of an axis, in points: its size on both axes, and how far it reaches before and behind its tick.

    Attributes:
        place: of the tick, 0 at the beginning of the axis and 1 at its end.
        size: of its font.
    """

    place: float
    width: float
    height: float
    before: float
    after: float
    size: float


def _tick_labels(axis: Axis, limits: tuple[float, float]) -> list[_TickLabel]:
    low, high = limits
    ticks = [float(tick) for tick in axis.get_major_locator()() if min(limits) <= tick <= max(limits)]
    if not ticks or high == low:
        return []
    text: Text = axis.get_major_ticks(1)[0].label1
    size, angle = float(text.get_fontsize()), math.radians(text.get_rotation())
    found = []
    for tick, words in zip(ticks, axis.get_major_formatter().format_ticks(ticks), strict=True):
        long = width_of(words, size)
        across = long * math.cos(angle) + size * math.sin(angle)
        up = long * math.sin(angle) + LINE * size * math.cos(angle)
        before = across if text.get_horizontalalignment() == "right" and angle else across / 2
        found.append(_TickLabel((tick - low) / (high - low), long, up, before, across - before, size))
    return found


def width_of(words: str, size: float) -> float:
    """The width of a line of text in points, at a font size in points."""
    font = get_font(findfont(FontProperties(family=["sans-serif"])))
    font.set_size(size, POINTS)
    font.set_text(words, 0.0)
    return float(font.get_width_height()[0]) / 64 * WIDER


def _height(text: Text) -> float:
    return LINE * float(text.get_fontsize()) * bool(text.get_text())
