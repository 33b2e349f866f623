"""A leaderboard as text: a summary sentence, the table, every metric, the solved weights."""

import re
from collections.abc import Iterator

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text
from scipy.stats import norm

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.bootstrap import Interval, McNemar
from ig3d_ray.search.candidates import family
from ig3d_ray.search.leaderboard import Leaderboard, Row
from ig3d_ray.types import Task

FULL_WIDTH = 140
NAMED_WIDTH = 112
NUMBERED, LISTED = 4, 12
LEVEL = 0.05
"""The significance level of McNemar's test, matching the 95 % intervals."""
SHOWN = {
    Task.EXPRESSION: ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"),
    Task.VA: ("mse", "mae", "rmse", "ccc", "ccc_paper", "ccc_valence", "ccc_arousal"),
}
PROTOCOLS = {
    "dev": "chosen on dev, reported on test",
    "cross_fitted": "chosen on all of test; reported by cross-fitting: each fold by a choice that never saw it",
    "paper": "chosen on test and reported on test, as the paper did: every reported number is optimistic",
}


def verdict(space: SearchSpace, board: Leaderboard) -> str:
    """Whether fusion improves the score over the member that is best on the report set, in one sentence."""
    metric, members = space.objective, board.chosen.result.members
    gain, test = board.chosen.gain, board.mcnemar_over(board.best_single)
    better = "more" if metrics.metric_of(metric).greater_is_better else "less"
    size = f"{abs(gain.value):.4f} {better if gain.value >= 0 else _opposite(better)} {metric}"
    single, split = board.best_single.result.members[0], board.chosen.scores.report.split
    groups = _of_groups(board)
    message = f"{size} than {single}, the best single member on {split}, {_paired(gain, test, metric, groups)}"
    # With few samples the bootstrap intervals are too narrow; the exact test is not affected.
    doubted = metric == "accuracy" and test is not None and test.p * board.looks >= LEVEL
    corrected = corrected_for(gain, board.looks)
    if board.singles == 1:
        return "There was nothing to fuse: the pool has one member."
    if len(members) == 1:
        return f"No gain: cross-fitted on {space.protocol.choose_on}, no fusion did better than {members[0]} alone."
    if space.protocol.kind == "paper":
        return f"The ensemble has {message}; it was chosen on the same samples, so this is optimistic."
    if board.looks > 1:
        message += f"; {looks(board)}, so that it counts as {_interval_of(corrected)}"
    if max(-corrected.low, corrected.high) <= space.protocol.rope:
        return f"Practically the same, within {space.protocol.rope:g}: the ensemble has {message}."
    if corrected.low > 0 and not doubted:
        return f"The gain is real: the ensemble has {message}."
    if corrected.high < 0:
        return f"The ensemble is worse: {message}."
    return f"No gain can be claimed: the ensemble has {message}."


def corrected_for(gain: Interval, looks: int) -> Interval:
    """The interval of a gain at the level that several looks at the report set leave for each (Bonferroni), by a normal
    approximation: the resamples are too few for such quantiles.

    Args:
        gain: with its 95 % interval.
        looks: how many, this one included.
    """
    wider = float(norm.isf(LEVEL / 2 / looks) / norm.isf(LEVEL / 2))
    ends = (gain.value + wider * (end - gain.value) for end in (gain.low, gain.high))
    return Interval(value=gain.value, low=next(ends), high=next(ends))


def looks(board: Leaderboard) -> str:
    """Which look at the report set a search was."""
    number = board.looks
    last = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number // 10 % 10 != 1 else "th"
    return f"this is the {number}{last} search that reports on these samples"


def _interval_of(gain: Interval) -> str:
    return f"{gain.low:+.4f} to {gain.high:+.4f}"


def _paired(gain: Interval, test: McNemar | None, metric: str, groups: str) -> str:
    """The uncertainty of a paired gain."""
    text = f"95 % interval{groups} {gain.low:+.4f} to {gain.high:+.4f}"
    if test is None:
        return text
    name = "t test of groups" if groups else "McNemar"
    of_what = name if metric == "accuracy" else f"{name} on accuracy"
    return f"{text}, {of_what} p {'< 1e-9' if test.p < 1e-9 else f'= {test.p:.2g}'}"


def over_2d(space: SearchSpace, board: Leaderboard) -> str:
    """The gain over the best 2D member, in one sentence; empty where it is the best single member, or there is none."""
    other, metric = board.best_2d, space.objective
    if other is None or other is board.best_single:
        return ""
    gain, test = board.gain_over(other, metric), board.mcnemar_over(other)
    which = f"{other.result.members[0]}, the best 2D member on {board.chosen.scores.report.split}"
    return f"Over {which}: {gain.value:+.4f} {metric}, {_paired(gain, test, metric, _of_groups(board))}."


def about_columns(space: SearchSpace, board: Leaderboard) -> str:
    """Why a row has two numbers on the same samples under cross-fitting; empty under other protocols."""
    if space.protocol.kind != "cross_fitted":
        return ""
    score = board.chosen.scores.selection.metrics[space.objective].value
    return (
        "Selection: the row's own members and weights, on the samples that chose them; `ig3d predict` prints this"
        f" number, {score:.4f} for the exported ensemble. Report: the row's rule, each fold by what it chose without"
        " that fold; two rules that chose the same in the end may have chosen differently in some folds."
    )


def optimism(board: Leaderboard) -> str:
    """The optimism of the selection score, in one sentence."""
    found = board.optimism
    which = "better" if found.measured >= 0 else "worse"
    return (
        f"Optimism: the ensemble scored {abs(found.measured):.4f} {which} where it was chosen than where it is"
        f" reported; choosing the best of so many makes it look {found.expected:.4f} better."
    )


def about_calibration(board: Leaderboard) -> str:
    """How good the chosen ensemble's probabilities are, before and after its temperature; empty without classes."""
    if board.calibrated is None:
        return ""
    before, after = board.calibrated.scores.uncalibrated, board.calibrated.scores.calibrated
    return (
        f"Probabilities on {board.chosen.scores.report.split}: calibration error {_interval(after.ece)}, log-loss"
        f" {_interval(after.log_loss)}, Brier score {_interval(after.brier)}; without a temperature of the fused scores"
        f" (of the exported ensemble: {board.calibrated.temperature:.3g}) {before.ece.value:.4f},"
        f" {before.log_loss.value:.4f} and {before.brier.value:.4f}. It changes no predicted class."
    )


def about_abstention(board: Leaderboard) -> str:
    """Where the chosen ensemble abstains, in one sentence; empty if nothing was asked for."""
    found = board.calibrated.abstention if board.calibrated is not None else None
    if found is None:
        return ""
    if found.threshold is None:
        return f"Abstention: no threshold bounds the error by {found.risk:g} with 95 % confidence; nothing is answered."
    error = "" if found.error is None else f", with an error of {_interval(found.error)} among them"
    return (
        f"Abstention: below a probability of {found.threshold:.4f}, for an error of at most {found.risk:g} with 95 %"
        f" confidence; {found.coverage:.1%} of {board.chosen.scores.report.split} is answered{error}."
    )


def _opposite(word: str) -> str:
    return "less" if word == "more" else "more"


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
        about_calibration(board),
        about_abstention(board),
        optimism(board),
    )
    parts += [Text(line) for line in lines if line]
    parts.append(Text(verdict(space, board), style="bold"))
    return Group(*parts, *[Text(line) for line in [over_2d(space, board)] if line])


def chosen_by(space: SearchSpace, board: Leaderboard) -> str:
    """The members of the chosen ensemble, and how it was chosen."""
    result = board.chosen.result
    by = f"{board.chosen_family}, chosen by cross-fitting on {space.protocol.choose_on}"
    if len(result.members) == 1:
        return f"Chosen: {by}: {result.members[0]}"
    weights = result.fusion.weight_texts(len(result.members))
    parts = [f"{weight} {name}".strip() for name, weight in zip(result.members, weights, strict=True)]
    more = f", and {len(parts) - LISTED} more" if len(parts) > LISTED else ""
    return f"Chosen: {by}: {', '.join(parts[:LISTED])}{more}"


def _pareto(space: SearchSpace, board: Leaderboard) -> Table:
    what = space.search.second_objective or "members"
    table = Table(title=f"Nothing else is better for the same {what}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in (what, f"{space.objective}\n(selection)", "members", "how"):
        table.add_column(name, overflow="fold", justify="left" if name in ("members", "how") else "right")
    for cost, result in board.pareto:
        how = family(result.candidate, board.singles)
        table.add_row(f"{cost:g}", f"{result.score:.4f}", " + ".join(result.members), how)
    return table


def _short(value: float, decimals: int, sign: str = "") -> str:
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{value + 0.0:{sign}.{decimals}f}")


def _interval(interval: Interval) -> str:
    return f"{interval.value:.4f} [{_short(interval.low, 3)}, {_short(interval.high, 3)}]"


def _gain(interval: Interval, full: bool) -> str:
    if not full:
        return f"{interval.value:+.4f}"
    return f"{interval.value:+.4f} [{_short(interval.low, 4, '+')}, {_short(interval.high, 4, '+')}]"


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
    warm = ", temperatures" if row.result.fusion.temperatures else ""
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
        f" [..] 95 % bootstrap intervals{_of_groups(board)}, those of gains paired{excluded}",
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
            _interval(chosen_on) if full else f"{chosen_on.value:.4f}",
            "" if row.cross_fitted is None else f"{row.cross_fitted:.4f}",
            _interval(row.scores.report.metrics[objective]),
            _gain(row.gain, full),
            style="bold" if row.group == "chosen" else None,
        )
    return table


def _of_groups(board: Leaderboard) -> str:
    count = board.chosen.scores.report.groups
    return "" if count is None else f" by whole groups ({count})"


def _every_metric(space: SearchSpace, board: Leaderboard, named: bool) -> Table:
    shown, numbers = SHOWN[space.task], _numbers(board)
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
