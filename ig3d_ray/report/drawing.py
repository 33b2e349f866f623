"""The style of figures, and their export to a page with light and dark themes, to PNG and to SVG.

Figures are drawn in a few fixed colors. In a page each of them becomes a CSS variable, so that the page's theme
decides; in files they remain unchanged.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ig3d_ray.report.layout import lay_out

INK, MUTED, RULE, PAPER = "#1c1c1e", "#68686b", "#d9d9dc", "#fefefd"
FIRST, SECOND, THIRD, FOURTH = "#1f6fb4", "#c4561a", "#2f8f5b", "#8d5bb0"
_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"}
_VARIABLES |= {FIRST: "first", SECOND: "second", THIRD: "third", FOURTH: "fourth"}
_STYLE: Any = {
    # Text stays text: it can be searched and selected, and takes the page's font.
    "svg.fonttype": "none",
    "svg.hashsalt": "ig3d",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
}


@contextmanager
def drawing(width: float, height: float, rows: int = 1, columns: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A new figure of the given size in inches, with its axes, in the style of the report.

    The axes are placed when the context ends, so that what was drawn has room.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure((width, height))
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        yield figure, axes
        lay_out(figure, axes, rows, columns)


def _save(figure: Figure, buffer: IO[Any], **options: Any) -> None:
    """Save a figure in the style of the report."""
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, **options)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    _save(figure, buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def inline_svg(figure: Figure, label: str) -> str:
    """The figure for a page: an `<svg>` whose colors are the page's variables."""
    text = _svg(figure)
    text = text[text.index("<svg") :]
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var(--{variable})")
    # Names that several figures of a page would share, and sizes that the page decides.
    text = re.sub(r' id="[a-z]+[a-z0-9.]*_\d+"', "", text)
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{label}">', text, count=1
    )
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return text


def svg_file(figure: Figure) -> bytes:
    """The figure as an SVG file, on white."""
    figure.set_facecolor(PAPER)
    return _svg(figure).encode()


def pdf_file(figure: Figure) -> bytes:
    """The figure as a PDF file of vectors, on white."""
    figure.set_facecolor(PAPER)
    buffer = io.BytesIO()
    _save(figure, buffer, format="pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return buffer.getvalue()


def png_file(figure: Figure) -> bytes:
    """The figure as a PNG file, on white, 200 dots per inch."""
    figure.set_facecolor(PAPER)
    buffer = io.BytesIO()
    _save(figure, buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()
