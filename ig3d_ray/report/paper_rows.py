"""A search's scores as a table for a paper: LaTeX, Markdown or CSV."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.evaluation.metrics import metric_of
from ig3d_ray.report.findings import Findings
from ig3d_ray.report.text import PROTOCOLS, shown_label, shown_metrics
from ig3d_ray.search.leaderboard import Row

GAIN = "gain"
_ESCAPES = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_ESCAPES |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}


@dataclass(frozen=True)
class Cell:
    """A number of the table.

    Attributes:
        interval: with its 95 % interval.
        good: whether the best row is not better by more than chance, by the paired interval; False for gains.
    """

    interval: Interval
    good: bool


@dataclass(frozen=True)
class PaperTable:
    """Rows and columns, and what they mean.

    Attributes:
        columns: metrics, and `gain`.
        rows: label -> a cell for each column.
        caption: protocol, samples, and what brackets and bold mean.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    caption: str


def paper_rows(findings: Findings, rows: Sequence[str] = (), columns: Sequence[str] = ()) -> PaperTable:
    """The table of a search's report scores.

    Args:
        findings: of the search.
        rows: patterns of labels or groups (`single`, `reference`, `family`, `chosen`), all by default.
        columns: metrics, or `gain`, the paired gain in the objective over the best member; the usual ones by default.

    Raises:
        Ig3dError: no such row or column.
    """
    space, board = findings.space, findings.board
    shown = [
        row
        for row in board.rows
        if not rows or any(fnmatchcase(name, one) for one in rows for name in (row.group, shown_label(row), row.label))
    ]
    if not shown:
        known = ", ".join(dict.fromkeys(shown_label(row) for row in board.rows))
        raise Ig3dError(
            f"--rows {' '.join(rows)}: no such row; there are groups single, family, chosen, and {known[:120]}"
        )
    wanted = tuple(columns) or (space.objective, *(m for m in shown_metrics(space) if m != space.objective), GAIN)
    for name in wanted:
        if name != GAIN and name not in (there := board.chosen.scores.report.metrics):
            raise Ig3dError(f"--columns {name}: there are {GAIN}, {', '.join(there)}")
    good = {name: _as_good(findings, shown, name) for name in wanted if name != GAIN}
    cells = []
    for row in shown:
        scores = row.scores.report.metrics
        found = (Cell(row.gain, False) if n == GAIN else Cell(scores[n], row.label in good[n]) for n in wanted)
        cells.append((shown_label(row), tuple(found)))
    report = board.chosen.scores.report
    single = board.best_single.result.members[0]
    gain = f" Gains are in {space.objective} over {single}, paired." if GAIN in wanted else ""
    whole = f" of whole groups ({report.groups})" if report.groups else ""
    caption = (
        f"{space.dataset}, {PROTOCOLS[space.protocol.kind]}; n = {report.n:,} samples of {report.split}. Brackets: 95 %"
        f" bootstrap intervals{whole}.{gain} Bold: not worse than the best of the column by a paired 95 % interval."
    )
    return PaperTable(wanted, tuple(cells), caption)


def _as_good(findings: Findings, rows: Sequence[Row], metric: str) -> set[str]:
    """Labels of the rows that the best row's paired gain doesn't exclude from being as good."""
    sign = metric_of(metric).sign
    best = max(rows, key=lambda row: sign * row.scores.report.metrics[metric].value)
    bootstrap = findings.board.bootstrap
    return {row.label for row in rows if bootstrap.gain(best.statistics, row.statistics, metric).low <= 0}


def _plain(text: str) -> str:
    return text.replace("_", " ")


def _number(cell: Cell, column: str) -> str:
    sign = "+" if column == GAIN else ""
    one = cell.interval
    return f"{one.value:{sign}.4f} [{one.low:{sign}.4f}, {one.high:{sign}.4f}]"


def as_markdown(table: PaperTable) -> str:
    """The table as Markdown, its caption below."""

    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")

    lines = [["", *map(_plain, table.columns)], ["---", *["---:"] * len(table.columns)]]
    for label, cells in table.rows:
        numbers = (_number(cell, name) for cell, name in zip(cells, table.columns, strict=True))
        bold = (f"**{text}**" if cell.good else text for text, cell in zip(numbers, cells, strict=True))
        lines.append([escaped(label), *bold])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{escaped(table.caption)}\n"


def as_latex(table: PaperTable) -> str:
    """The table as LaTeX, for the package booktabs."""

    def escaped(text: str) -> str:
        return "".join(_ESCAPES.get(letter, letter) for letter in text)

    lines = []
    for label, cells in table.rows:
        numbers = (escaped(_number(cell, name)) for cell, name in zip(cells, table.columns, strict=True))
        # Minus signs and brackets in text mode; a bracket after \\ would be an option of it.
        bold = (rf"\textbf{{{text}}}" if cell.good else text for text, cell in zip(numbers, cells, strict=True))
        lines.append(f"{{{escaped(label)}}} & {' & '.join(bold)} \\\\")
    head = " & ".join(["", *(escaped(_plain(name)) for name in table.columns)])
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(table.caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def as_csv(table: PaperTable) -> str:
    """The table as CSV: of each column its value, the ends of its interval, and whether it is bold."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("", "_low", "_high", "_bold")
    writer.writerow(["row", *(f"{name}{part}" for name in table.columns for part in parts)])
    for label, cells in table.rows:
        writer.writerow(
            [label, *(v for c in cells for v in (c.interval.value, c.interval.low, c.interval.high, int(c.good)))]
        )
    return text.getvalue()


FORMATS: dict[str, Callable[[PaperTable], str]] = {".tex": as_latex, ".md": as_markdown, ".csv": as_csv}
"""Ending of the file -> how it is written."""
