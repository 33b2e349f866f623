"""How large the figures are, their colors, and how long names and legends fit into them."""

from dataclasses import dataclass

from matplotlib.figure import Figure

from ig3d_ray.report.drawing import FIRST, FOURTH, SECOND, THIRD


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


def short(name: str, length: int = 34) -> str:
    """A name of at most `length` characters."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def legend_above(figure: Figure, size: Size) -> None:
    """A legend outside the axes, where it covers no point."""
    figure.legend(loc="outside upper left", fontsize=8, ncols=2 * size.columns)
