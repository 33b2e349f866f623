"""A leaderboard as tables for a terminal: the rows, every metric, the solved weights; and the sentences below them."""

from collections.abc import Iterator

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.evaluation.metrics import PROBABILITY_METRICS
from ig3d_ray.report.numbers import interval_text, short_number
from ig3d_ray.report.sentences import (
    about_abstention,
    about_calibration,
    about_columns,
    about_floor,
    about_proof,
    about_subgroups,
    chosen_by,
    of_groups,
    optimism,
    over_2d,
    verdict,
)
from ig3d_ray.search.candidates import family
from ig3d_ray.search.leaderboard import Leaderboard, Row
from ig3d_ray.types import Task

FULL_WIDTH = 140
NAMED_WIDTH = 112
NUMBERED = 4
SHOWN = {
    Task.EXPRESSION: ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"),
    Task.VA: ("mse", "mae", "rmse", "ccc", "ccc_paper", "ccc_valence", "ccc_arousal"),
}
PROTOCOLS = {
    "dev": "chosen on dev, reported on test",
    "cross_fitted": "chosen on all of test; reported by cross-fitting: each fold by a choice that never saw it",
    "paper": "chosen on test and reported on test, as the paper did: every reported number is optimistic",
}


def shown_metrics(space: SearchSpace) -> tuple[str, ...]:
    """The metrics of the tables that show several; the objective is among them if it is one of probabilities.

    Args:
        space: whose task and objective.
    """
    of_probabilities = PROBABILITY_METRICS if space.objective in PROBABILITY_METRICS else ()
    return (*of_probabilities, *SHOWN[space.task])


def render(space: SearchSpace, board: Leaderboard, width: int) -> Group:
    """The full text output of a search, for a terminal with the given number of columns.

    A narrow terminal shows intervals only on the report set; a very narrow one lists members' names separately.
    """
    named = width >= NAMED_WIDTH
    parts: list[Table | Text] = [
        _leaderboard(space, board, width >= FULL_WIDTH, named),
        _every_metric(space, board, named),
    ]
    if not named:
        parts.insert(0, Text("\n".join(f"member {number}: {name}" for name, number in _numbers(board).items())))
    if board.solved:
        parts.append(_solved(space, board))
    if space.search.second_objective:
        parts.append(_pareto(space, board))
    lines = (
        about_columns(space, board),
        chosen_by(space, board),
        about_proof(board),
        about_calibration(board),
        about_abstention(board),
        about_floor(board),
        *about_subgroups(space, board),
        optimism(board),
    )
    parts += [Text(line) for line in lines if line]
    parts.append(Text(verdict(space, board), style="bold"))
    return Group(*parts, *[Text(line) for line in [over_2d(space, board)] if line])


def _pareto(space: SearchSpace, board: Leaderboard) -> Table:
    what = space.search.second_objective or "members"
    table = Table(title=f"Nothing else is better for the same {what}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in (what, f"{space.objective}\n(selection)", "members", "how"):
        table.add_column(name, overflow="fold", justify="left" if name in ("members", "how") else "right")
    for cost, result in board.pareto:
        how = family(result.candidate, board.singles)
        table.add_row(f"{cost:g}", f"{result.score:.4f}", " + ".join(result.members), how)
    return table


def _gain(interval: Interval, full: bool) -> str:
    if not full:
        return f"{interval.value:+.4f}"
    return f"{interval.value:+.4f} [{short_number(interval.low, 4, '+')}, {short_number(interval.high, 4, '+')}]"


def _numbers(board: Leaderboard) -> dict[str, str]:
    """Members' names -> the numbers that represent them in the table."""
    singles = [row.result.members[0] for row in board.rows if row.group == "single"]
    return {name: str(number) for number, name in enumerate(singles, start=1)}


def shown_label(row: Row) -> str:
    """A row's label without the members of a reference."""
    return row.label if row.group == "single" else row.label.split(":")[0]


def _what(row: Row, numbers: dict[str, str], named: bool) -> str:
    """A row's first column: a member's number and name, or what is fused: `best mean of two: 1 + 4 of logits`."""
    candidate, names = row.result.candidate, row.result.members
    # Only the best of a large pool have a number.
    known = [numbers[name] for name in names if name in numbers]
    members = " + ".join(known) if len(known) == len(names) <= NUMBERED else f"{len(names)} members"
    if row.group == "single":
        return f"{members}  {names[0]}" if named else f"member {members}"
    label = shown_label(row)
    how = f", {candidate.strategy or 'alone'}" if row.group in ("chosen", "reference") else ""
    expression = "accuracy" in row.scores.report.metrics
    in_space = f" of {row.result.fusion.space}" if candidate.strategy and expression and not candidate.method else ""
    fusion = row.result.fusion
    # Methods of many members have floors, unless they were asked for without.
    warm = ", temperatures" if fusion.temperatures and not fusion.floors else ""
    return f"{label}: {members}{how}{in_space}{warm}"


def _sections(table: Table, board: Leaderboard) -> Iterator[Row]:
    """The rows in order, a rule between groups."""
    group = board.rows[0].group
    for row in board.rows:
        if row.group != group:
            table.add_section()
        group = row.group
        yield row


def _leaderboard(space: SearchSpace, board: Leaderboard, full: bool, named: bool) -> Table:
    objective, numbers = space.objective, _numbers(board)
    selection, report = board.chosen.scores.selection, board.chosen.scores.report
    singles = sum(row.group == "single" for row in board.rows)
    hidden = "" if singles == board.singles else f"; the best {singles} of {board.singles} members shown"
    lacked = len(board.excluded[report.split])
    excluded = (
        f"; {lacked} {report.split} samples excluded, for which an output of some member is missing" if lacked else ""
    )
    table = Table(
        title=f"{space.dataset}: {objective}, {PROTOCOLS[space.protocol.kind]}",
        caption=f"{board.candidates:,} candidates scored{hidden}; selection scores are optimistic: these samples chose;"
        f" [..] 95 % bootstrap intervals{of_groups(board)}, those of gains paired{excluded}",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("", overflow="fold")
    table.add_column("3D\nweight", justify="right", no_wrap=True)
    table.add_column(f"selection\n{selection.split}, n={selection.n}", justify="right", no_wrap=True)
    table.add_column("cross-fitted\nwithin it", justify="right", no_wrap=True)
    optimistic = ", optimistic" if report.optimistic else ""
    table.add_column(f"report{optimistic}\n{report.split}, n={report.n}", justify="right", no_wrap=True)
    table.add_column(f"gain over\nmember {numbers[board.best_single.result.members[0]]}", justify="right", no_wrap=True)
    for row in _sections(table, board):
        weights, chosen_on = row.result.fusion.weights, row.scores.selection.metrics[objective]
        table.add_row(
            _what(row, numbers, named),
            f"{weights[1]:.4f}" if weights and not row.result.candidate.method else "",
            interval_text(chosen_on) if full else f"{chosen_on.value:.4f}",
            "" if row.cross_fitted is None else f"{row.cross_fitted:.4f}",
            interval_text(row.scores.report.metrics[objective]),
            _gain(row.gain, full),
            style="bold" if row.group == "chosen" else None,
        )
    return table


def _every_metric(space: SearchSpace, board: Leaderboard, named: bool) -> Table:
    shown, numbers = shown_metrics(space), _numbers(board)
    # Under cross-fitting the score of a solved weight differs between the selection set and the report set.
    both = space.protocol.kind == "cross_fitted"
    title = "Every metric on the report set" + (
        "; where a weight was solved for, on the selection set too" if both else ""
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for metric in shown:
        table.add_column(metric.replace("_", "\n"), justify="right")
    for row in _sections(table, board):
        sets = [("", row.scores.report)]
        if both and (row.result.candidate.weight_3d == "exact" or row.result.candidate.method):
            sets = [(" (selection)", row.scores.selection), (" (report)", row.scores.report)]
        for name, scores in sets:
            table.add_row(
                _what(row, numbers, named) + name, *[f"{scores.metrics[metric].value:.4f}" for metric in shown]
            )
    return table


def _solved(space: SearchSpace, board: Leaderboard) -> Table:
    title = f"Exact best 3D weight of {' + '.join(board.solved_for)}"
    message = (
        "report, optimistic:\nthe same samples"
        if space.protocol.kind == "paper"
        else "report, weight\nchosen without it"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("metric", "best weight", "equally good", "selection", message):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for line in board.solved:
        flat = f"{line.low:.4f} to {line.high:.4f}" if line.low < line.high else "a single point"
        table.add_row(line.metric, f"{line.weight:.4f}", flat, f"{line.selection:.5f}", f"{line.report:.5f}")
    return table
