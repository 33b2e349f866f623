"""The report as one self-contained HTML file, with light and dark themes, for narrow screens and for printing.

The pages are jinja2 templates in `templates/`, which escape whatever comes from data; no script is in them, and their
content security policy allows none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.metadata import version

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure as Drawing

from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.report.changes import Change, Thumbnail, changes
from ig3d_ray.report.drawing import inline_svg
from ig3d_ray.report.figures import FIGURES
from ig3d_ray.report.findings import Findings
from ig3d_ray.report.paper import PUBLISHED, Published
from ig3d_ray.report.sentences import (
    about_abstention,
    about_calibration,
    about_columns,
    about_floor,
    about_proof,
    about_subgroups,
    chosen_by,
    evaluation_number,
    optimism,
    over_2d,
    verdict,
)
from ig3d_ray.report.text import PROTOCOLS, shown_label, shown_metrics

ROWS_AT_MOST = 60
TITLES = {
    "leaderboard": "Leaderboard",
    "weight": "Score against the 3D weight",
    "strategies": "Strategies compared",
    "confusion": "Confusion matrices",
    "classes": "Per-class recall",
    "reliability": "Calibration",
    "risk": "Error against coverage",
    "circumplex": "Valence and arousal",
    "front": "Pareto front",
    "tried": "Candidates over time",
    "choices": "What the candidates chose",
}


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: plain text.
        style: CSS class, empty for none.
    """

    cells: Sequence[str]
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table of plain text.

    Attributes:
        head: titles of the columns.
        rows: in order.
    """

    head: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        wide: the drawing, as markup.
        narrow: the same for a phone.
        caption: plain text.
    """

    wide: str
    narrow: str
    caption: str


@dataclass
class Section:
    """A titled part of a page; what is None or empty is not shown.

    Attributes:
        title: plain text.
        anchor: for links.
        figure: at the top.
        table: below it.
        note: a paragraph.
        changes: lists of samples.
        facts: name -> value.
    """

    title: str
    anchor: str
    figure: Figure | None = None
    table: Table | None = None
    note: str = ""
    changes: Sequence[Change] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.figure or self.table or self.note or self.changes or self.facts)


@cache
def _environment() -> Environment:
    loader = PackageLoader("ig3d_ray.report", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _render(template: str, **content: object) -> str:
    environment = _environment()
    source, _, _ = environment.loader.get_source(environment, "report.css")  # type: ignore[union-attr]
    page = environment.get_template(template)
    return page.render(style=source, version=version("ig3d-ray"), **content) + "\n"


def report_page(
    findings: Findings,
    name: str,
    figures: Mapping[str, Drawing],
    narrow: Mapping[str, Drawing],
    thumbnail: Thumbnail | None,
    paper: bool,
) -> str:
    """The report of a search.

    Args:
        findings: of the search.
        name: of the search.
        figures: those that were drawn, by name.
        narrow: the same for screens of a phone's width.
        thumbnail: gives the images to embed; None embeds none.
        paper: show the paper's tables beside these numbers.
    """
    space, board = findings.space, findings.board
    drawn = {key: _figure(key, figures[key], narrow[key]) for key in figures}
    sections = [_section(key, title, findings, drawn.get(key)) for key, title in TITLES.items()]
    if space.task.has_classes:
        note = "" if thumbnail else "Images of people are embedded only on request: --thumbnails."
        samples = changes(findings, thumbnail)
        sections.append(Section("Samples that fusion fixed and broke", "changed", changes=samples, note=note))
    if board.subgroups:
        note = " ".join([*filter(None, [about_floor(board)]), *about_subgroups(space, board)])
        sections.append(Section("Subgroups", "subgroups", table=subgroups_table(findings), note=note))
    if paper and space.dataset in PUBLISHED:
        note = "The paper chose its weights on the samples that it reports, so its numbers are optimistic; data and"
        note += " counts may differ."
        sections.append(Section("Comparison with the paper", "paper", table=paper_table(findings), note=note))
    sections.append(Section("Provenance", "provenance", facts=_provenance(findings, name)))
    about = f"{space.dataset}: {space.objective}, {PROTOCOLS[space.protocol.kind]}. {board.candidates:,} candidates."
    return _render(
        "search.html.j2",
        title=f"{space.dataset}: the best late fusion",
        verdict=verdict(space, board),
        chosen_by=chosen_by(space, board),
        optimism=optimism(board),
        proof=about_proof(board),
        over_2d=over_2d(space, board),
        about=about,
        sections=[section for section in sections if not section.is_empty],
    )


def _figure(key: str, wide: Drawing, narrow: Drawing) -> Figure:
    title = escape(TITLES[key])
    return Figure(inline_svg(wide, title), inline_svg(narrow, title), FIGURES[key][1])


def _section(key: str, title: str, findings: Findings, figure: Figure | None) -> Section:
    section = Section(title, key, figure)
    if key == "leaderboard":
        section.table = leaderboard_table(findings)
        section.note = about_columns(findings.space, findings.board)
    if key == "reliability":
        section.note = about_calibration(findings.board)
    if key == "risk":
        section.note = about_abstention(findings.board)
    if key == "weight" and findings.curve is not None:
        section.note = _about_weight(findings)
    return section


def interval(value: Interval, sign: str = "") -> str:
    """A number with its 95 % interval.

    Args:
        value: the number.
        sign: `+` to show the sign of positive numbers.
    """
    return f"{value.value:{sign}.4f} [{value.low:{sign}.4f}, {value.high:{sign}.4f}]"


def leaderboard_table(findings: Findings) -> Table:
    """Every row of the leaderboard: objective on both sets, gain, and the other metrics on the report set."""
    space, board = findings.space, findings.board
    others = [metric for metric in shown_metrics(space) if metric != space.objective]
    selection, report = board.chosen.scores.selection, board.chosen.scores.report
    optimistic = ", optimistic" if report.optimistic else ""
    head = ["", "3D weight", f"selection ({selection.split}, n={selection.n}), optimistic", "cross-fitted within it"]
    head += [f"report ({report.split}, n={report.n}){optimistic}", f"gain over {board.best_single.result.members[0]}"]
    rows = []
    for row in board.rows[: ROWS_AT_MOST - 1] + board.rows[-1:] if len(board.rows) > ROWS_AT_MOST else board.rows:
        weights = row.result.fusion.weights
        cells = [
            shown_label(row),
            f"{weights[1]:.4f}" if weights and not row.result.candidate.method else "",
            f"{row.scores.selection.metrics[space.objective].value:.4f}",
            "" if row.cross_fitted is None else f"{row.cross_fitted:.4f}",
            interval(row.scores.report.metrics[space.objective]),
            interval(row.gain, "+"),
            *[f"{row.scores.report.metrics[metric].value:.4f}" for metric in others],
        ]
        rows.append(Row(cells, "chosen" if row.group == "chosen" else ""))
    return Table([*head, *others], rows)


def subgroups_table(findings: Findings) -> Table:
    """The chosen ensemble's scores by each attribute of the samples."""
    objective = findings.space.objective
    single = findings.board.best_single.result.members[0]
    rows = [
        Row(
            [
                one.attribute,
                part.value,
                str(part.n),
                interval(part.score),
                interval(part.single),
                interval(part.gain, "+"),
            ]
        )
        for one in findings.board.subgroups
        for part in one.subgroups
    ]
    return Table(["attribute", "value", "n", objective, single, f"gain over {single}"], rows)


def _about_weight(findings: Findings) -> str:
    curve = findings.curve
    if curve is None:
        return ""
    equal = f"all weights from {curve.low:.4f} to {curve.high:.4f} are equally good"
    flat = equal if curve.high > curve.low else "no other weight is equally good"
    named = "".join(f" {name}: {weight:g}." for name, weight in curve.references)
    return f"{curve.members[0]} and {curve.members[1]}: solved weight {curve.best:.4f}; {flat}.{named}"


def paper_table(findings: Findings) -> Table:
    """These numbers and the paper's; what can't be reproduced is marked with the reason."""
    published = PUBLISHED[findings.space.dataset]
    metrics = list(dict.fromkeys(metric for row in published for metric in row.numbers))
    single = findings.board.best_single
    own = (
        ("chosen ensemble", findings.board.chosen.scores.report.metrics, "chosen"),
        (single.result.members[0], single.scores.report.metrics, ""),
    )
    rows = [
        Row([f"here: {name}", "", *[_number(scores[metric].value) for metric in metrics], ""], style)
        for name, scores, style in own
    ]
    rows += [Row(_published(row, metrics)) for row in published]
    return Table(["", "table", *metrics, "not reproducible"], rows)


def _published(row: Published, metrics: Sequence[str]) -> list[str]:
    numbers = [_number(row.numbers.get(metric)) for metric in metrics]
    return [f"paper: {row.system}", str(row.table), *numbers, row.unreproducible]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _provenance(findings: Findings, name: str) -> dict[str, str]:
    about, board = findings.spec.provenance, findings.board
    report = board.chosen.scores.report
    excluded = len(board.excluded.get(report.split, ()))
    missing = f"; {excluded} excluded, for which an output of some member is missing" if excluded else ""
    return {
        "search": name,
        "protocol": PROTOCOLS[findings.space.protocol.kind],
        "samples": f"{report.n} of {report.split}{missing}",
        "intervals": "95 %, bootstrap of 2,000 resamples"
        + (f" of whole groups ({report.groups})" if report.groups else "")
        + "; those of gains are paired",
        "evaluations": evaluation_number(board),
        "seed": str(about.seed),
        "search space": f"{about.search_space}, {about.search_space_hash}",
        "data": about.dataset_fingerprint or "no samples table",
        "members": "; ".join(f"{m.name} ({m.view}, {m.fingerprint})" for m in findings.spec.members),
        "versions": ", ".join(f"{package} {number}" for package, number in sorted(about.versions.items())),
    }


def comparison_page(all_findings: Mapping[str, Findings]) -> str:
    """Several searches or data sets in one table.

    Args:
        all_findings: name of a search -> its findings.
    """
    head = ["search", "data set", "objective", "n", "members", "best single", "ensemble", "gain", "optimistic"]
    verdicts = {name: verdict(findings.space, findings.board) for name, findings in all_findings.items()}
    return _render(
        "comparison.html.j2",
        title=f"{len(all_findings)} searches compared",
        sections=[Section("Comparison", "table"), Section("Verdicts", "verdicts")],
        searches=Table(head, list(_compared(all_findings))),
        verdicts=verdicts,
    )


def _compared(all_findings: Mapping[str, Findings]) -> Iterable[Row]:
    for name, findings in all_findings.items():
        board, objective = findings.board, findings.space.objective
        report = board.chosen.scores.report
        cells = [name, findings.space.dataset, objective, str(report.n), str(len(board.chosen.result.members))]
        cells += [f"{board.best_single.scores.report.metrics[objective].value:.4f}"]
        cells += [interval(report.metrics[objective]), interval(board.gain_over(board.best_single, objective), "+")]
        yield Row([*cells, "yes" if report.optimistic else "no"])
