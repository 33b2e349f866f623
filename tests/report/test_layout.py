"""The axes of a figure leave room for all of its texts."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from ig3d_ray.report.drawing import drawing
from ig3d_ray.report.figure_sizes import NARROW, WIDE, Size, legend_above
from ig3d_ray.report.layout import width_of


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("panels", [1, 3])
@pytest.mark.parametrize("label", ["a", "a class of a long name", "W" * 12])
@pytest.mark.parametrize("rotation", [0, 45])
def test_every_text_lies_in_the_figure_and_beside_the_axes(size: Size, panels: int, label: str, rotation: int) -> None:
    columns = min(size.columns, panels)
    rows = -(-panels // columns)
    with drawing(size.inches, 3.6 * rows, rows, columns) as (figure, all_axes):
        for axes in all_axes[:panels]:
            axes.plot([0, 1000], [-2.5, 1], label=f"of {label}")
            axes.set_yticks([-2.5, 1], [label, "b"])
            if rotation:
                axes.set_xticks([0, 500], [label, label], rotation=rotation, ha="right", fontsize=7)
            axes.set_xlabel("numbers")
            axes.set_ylabel("classes")
            axes.set_title("above", loc="left")
        for axes in all_axes[panels:]:
            axes.set_axis_off()
        legend_above(figure, size)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, whole = canvas.get_renderer(), figure.bbox
    (legend,) = figure.legends
    for axes in all_axes[:panels]:
        inner = axes.get_window_extent(renderer)
        assert inner.width > 0.3 * whole.width / columns
        assert inner.height > 0.3 * whole.height / rows
        low, high = axes.get_xlim()
        ticks = [one for one in axes.get_xticklabels() if low <= one.get_position()[0] <= high] + axes.get_yticklabels()
        texts: list[Text] = [*ticks, axes.xaxis.label, axes.yaxis.label]
        for text in [one for one in texts if one.get_text()]:
            box = text.get_window_extent(renderer)
            assert box.x0 >= whole.x0 - 1, text
            assert box.x1 <= whole.x1 + 1, text
            assert box.y0 >= whole.y0 - 1, text
            assert box.x1 <= inner.x0 + 1 or box.y1 <= inner.y0 + 1, text
        assert legend.get_window_extent(renderer).y0 >= inner.y1 + 10, "the title lies between them"


def test_a_text_is_as_wide_as_its_letters() -> None:
    assert width_of("", 9) == 0
    assert width_of("iiii", 9) < width_of("WWWW", 9)
    assert width_of("W" * 20, 18) == pytest.approx(2 * width_of("W" * 20, 9), rel=0.05)
