"""What the report's figures show."""

import dataclasses

from trained import World

from ig3d_ray.report.figure_sizes import WIDE
from ig3d_ray.report.score_figures import ROWS_AT_MOST, leaderboard


def test_of_very_many_members_the_best_are_drawn_and_every_fusion(world: World) -> None:
    findings = world.found.findings
    rows = findings.board.rows
    best, *others = [row for row in rows if row.group == "single"]
    fused = [row for row in rows if row.group != "single"]
    many = [best, *(others[-1] for _ in range(40)), *fused]
    board = dataclasses.replace(findings.board, rows=tuple(many))
    figure = leaderboard(dataclasses.replace(findings, board=board), WIDE)
    assert figure is not None
    drawn = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(drawn) == max(ROWS_AT_MOST, len(fused) + 1)
    assert drawn[-1].startswith(best.label[:20])
    assert drawn[0].startswith(rows[-1].label[:20])
