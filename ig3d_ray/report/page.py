"""The report as one HTML file that needs nothing else: no network, light and dark, narrow screens, paper.

Whatever comes from data is escaped; no script is in it, and its policy allows none.
"""

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import version

from matplotlib.figure import Figure

from ig3d_ray.data.images import open_image
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.report.drawing import inline_svg
from ig3d_ray.report.figures import FIGURES
from ig3d_ray.report.findings import Findings
from ig3d_ray.report.paper import PUBLISHED, Published
from ig3d_ray.report.text import PROTOCOLS, SHOWN, chosen_by, optimism, verdict

CHANGED_AT_MOST = 24
THUMBNAIL = 72
ROWS_AT_MOST = 60
Thumbnail = Callable[[str], bytes | None]
"""The encoded image of a sample of the report set, None where there is none."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LIGHT = "--ink:#1c1c1e;--muted:#68686b;--rule:#d9d9dc;--paper:#fefefd;--first:#1f6fb4;--second:#c4561a;"
_LIGHT += "--third:#2f8f5b;--fourth:#8d5bb0"
_DARK = "--ink:#ececef;--muted:#a2a2a8;--rule:#3c3c42;--paper:#17171a;--first:#68aee8;--second:#f0935a;"
_DARK += "--third:#69c795;--fourth:#c39be0"
STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{overflow-wrap:anywhere;margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;
background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}}
h1{{font-size:1.5rem;line-height:1.25;margin:.2rem 0}}h2{{font-size:1.15rem;margin:2.6rem 0 .4rem}}
.verdict{{font-size:1.15rem;border-left:4px solid var(--second);padding:.3rem 0 .3rem .9rem;margin:1rem 0}}
.muted,figcaption,caption{{color:var(--muted);font-size:.88rem;text-align:left}}
nav{{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.88rem;margin-top:1rem}}a{{color:var(--first)}}
figure{{margin:.6rem 0 0}}figure svg{{display:block;width:100%;height:auto;font-family:inherit}}
.scroll{{overflow-x:auto;max-width:100%}}
table{{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;margin:.6rem 0}}
th,td{{padding:.28rem .7rem .28rem 0;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}}
th:first-child,td:first-child{{text-align:left;white-space:normal;min-width:11rem;overflow-wrap:anywhere}}
td.text{{text-align:left;white-space:normal;min-width:12rem;overflow-wrap:anywhere}}
tr.chosen td{{font-weight:600}}
thead th{{white-space:normal;overflow-wrap:normal;color:var(--muted);font-weight:500;vertical-align:bottom}}
ul.faces{{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.5rem}}
ul.faces li{{font-size:.75rem;max-width:9rem;overflow-wrap:anywhere}}
ul.faces img{{display:block;width:72px;height:72px;object-fit:cover;border-radius:4px}}
dl{{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;font-size:.88rem}}
dt{{color:var(--muted)}}dd{{margin:0;overflow-wrap:anywhere}}
@media (max-width:40rem){{dl{{grid-template-columns:1fr}}dd{{margin-bottom:.4rem}}body{{padding:1rem .8rem 3rem}}
figure.wide{{overflow-x:auto}}figure.wide svg{{min-width:34rem}}}}
@media print{{nav{{display:none}}body{{max-width:none;padding:0;font-size:10pt}}.scroll{{overflow:visible}}
table{{font-size:8pt}}th,td{{white-space:normal;overflow-wrap:normal}}figure,tr,li{{break-inside:avoid}}h2{{break-after:avoid}}}}
""".replace("\n", "")


@dataclass
class Section:
    """A titled part of a page; `html` is ready, whatever it holds is escaped already."""

    title: str
    html: list[str] = field(default_factory=list)
    anchor: str = ""


def page(title: str, lead: Iterable[str], sections: Sequence[Section]) -> str:
    """A whole page.

    Args:
        title: plain text.
        lead: HTML under the title.
    """
    links = "".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in sections)
    parts = [f'<section id="{s.anchor}"><h2>{escape(s.title)}</h2>{"".join(s.html)}</section>' for s in sections]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><header><h1>{escape(title)}</h1>"
        f"{''.join(lead)}</header><nav>{links}</nav><main>{''.join(parts)}</main>"
        f'<footer class="muted"><p>ig3d_ray {escape(version("ig3d-ray"))}</p></footer></body></html>\n'
    )


def report_page(
    findings: Findings, name: str, figures: Mapping[str, Figure], thumbnail: Thumbnail | None, paper: bool
) -> str:
    """The report of a search.

    Args:
        name: of the search.
        figures: those that were drawn, by name.
        thumbnail: gives images to embed; None embeds none.
        paper: set the paper's tables beside our numbers.
    """
    space, board = findings.space, findings.board
    lead = [
        f'<p class="verdict">{escape(verdict(space, board))}</p>',
        f"<p>{escape(chosen_by(space, board))}</p><p>{escape(optimism(board))}</p>",
        f'<p class="muted">{escape(f"{space.dataset}: {space.objective}, {PROTOCOLS[space.protocol.kind]}.")}'
        f" {board.candidates:,} candidates.</p>",
    ]
    titles = {
        "leaderboard": "Leaderboard",
        "weight": "Score against the 3D weight",
        "strategies": "Strategies compared",
        "confusion": "Confusion matrices",
        "classes": "Per-class recall",
        "circumplex": "Valence and arousal",
        "front": "Pareto front",
        "tried": "Candidates over time",
        "choices": "Choices of the best candidates",
    }
    sections = []
    for key, title in titles.items():
        section = Section(title, [_figure(figures[key], key, title)] if key in figures else [], key)
        if key == "leaderboard":
            section.html.append(leaderboard_table(findings))
        if key == "weight" and findings.curve is not None:
            section.html.append(_about_weight(findings))
        if section.html:
            sections.append(section)
    if space.task.has_classes:
        sections.append(Section("Samples that fusion fixed and broke", _changed(findings, thumbnail), "changed"))
    if paper and space.dataset in PUBLISHED:
        sections.append(Section("Comparison with the paper", [paper_table(findings)], "paper"))
    sections.append(Section("Provenance", [_provenance(findings, name)], "provenance"))
    return page(f"{space.dataset}: the best late fusion", lead, sections)


def _figure(figure: Figure, key: str, title: str) -> str:
    caption = FIGURES[key][1]
    return (
        f'<figure class="wide">{inline_svg(figure, escape(title))}<figcaption>{escape(caption)}</figcaption></figure>'
    )


def interval(value: Interval, sign: str = "") -> str:
    """A number with its 95 % interval."""
    return f"{value.value:{sign}.4f} [{value.low:{sign}.4f}, {value.high:{sign}.4f}]"


def leaderboard_table(findings: Findings) -> str:
    """Every row of the leaderboard: objective on both sets, gain, and the other metrics on the report set."""
    space, board = findings.space, findings.board
    others = [metric for metric in SHOWN[space.task] if metric != space.objective]
    selection, report = board.chosen.scores.selection, board.chosen.scores.report
    optimistic = ", optimistic" if report.optimistic else ""
    head = ["", "3D weight", f"selection ({selection.split}, n={selection.n}), optimistic", "cross-fitted within it"]
    head += [f"report ({report.split}, n={report.n}){optimistic}", "gain over best 2D member"]
    rows = []
    for row in board.rows[:ROWS_AT_MOST] if len(board.rows) > ROWS_AT_MOST else board.rows:
        weights = row.result.fusion.weights
        cells = [
            row.label if row.group == "single" else row.label.split(":")[0],
            f"{weights[1]:.4f}" if weights and not row.result.candidate.method else "",
            f"{row.scores.selection.metrics[space.objective].value:.4f}",
            "" if row.cross_fitted is None else f"{row.cross_fitted:.4f}",
            interval(row.scores.report.metrics[space.objective]),
            "" if row.gain_2d is None else interval(row.gain_2d, "+"),
            *[f"{row.scores.report.metrics[metric].value:.4f}" for metric in others],
        ]
        rows.append((cells, "chosen" if row.group == "chosen" else ""))
    return table([*head, *others], rows)


def table(head: Sequence[str], rows: Iterable[tuple[Sequence[str], str]]) -> str:
    """A table from plain text; each row with a CSS class."""
    titles = "".join(f"<th>{escape(cell.replace('_', ' '))}</th>" for cell in head)
    body = "".join(
        f'<tr class="{style}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>' for cells, style in rows
    )
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _about_weight(findings: Findings) -> str:
    curve = findings.curve
    assert curve is not None
    width = curve.high - curve.low
    flat = f"from {curve.low:.4f} to {curve.high:.4f} all weights are as good" if width > 0 else "no other is as good"
    named = "".join(f" {name}: {weight:g}." for name, weight in curve.references)
    message = f"{curve.members[0]} and {curve.members[1]}: solved weight {curve.best:.4f}; {flat}.{named}"
    return f'<p class="muted">{escape(message)}</p>'


def _changed(findings: Findings, thumbnail: Thumbnail | None) -> list[str]:
    fixed, broken = findings.changed
    single = findings.board.best_single.result.members[0]
    parts = []
    for ids, word in ((fixed, "right now and wrong before"), (broken, "wrong now and right before")):
        more = f", the first {CHANGED_AT_MOST} of them" if len(ids) > CHANGED_AT_MOST else ""
        parts.append(f"<p>{len(ids)} {word} ({escape(single)} alone){more}:</p>")
        items = "".join(f"<li>{_face(i, thumbnail)}{escape(i)}</li>" for i in ids[:CHANGED_AT_MOST])
        parts.append(f'<ul class="faces">{items}</ul>')
    if thumbnail is None:
        parts.append('<p class="muted">Images of people are embedded only when asked for: --thumbnails.</p>')
    return parts


def _face(sample_id: str, thumbnail: Thumbnail | None) -> str:
    data = thumbnail(sample_id) if thumbnail else None
    if data is None:
        return ""
    try:
        image = open_image(data, sample_id)
    except Ig3dError:
        return ""
    image.thumbnail((THUMBNAIL * 2, THUMBNAIL * 2))
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def paper_table(findings: Findings) -> str:
    """Our numbers and the paper's; what can't be reproduced is marked with the reason."""
    rows = PUBLISHED[findings.space.dataset]
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.numbers))
    ours = findings.board.chosen.scores.report.metrics
    single = findings.board.best_single
    body = [
        (["ours: chosen ensemble", "", *[_number(ours[m].value) for m in metrics], ""], "chosen"),
        (
            [
                f"ours: {single.result.members[0]}",
                "",
                *[_number(single.scores.report.metrics[m].value) for m in metrics],
                "",
            ],
            "",
        ),
    ]
    body += [(_published(row, metrics), "") for row in rows]
    return table(["", "table", *metrics, "not reproducible"], body) + (
        '<p class="muted">The paper chose its weights on the samples that it reports, so its numbers are optimistic;'
        " data and counts may differ.</p>"
    )


def _published(row: Published, metrics: Sequence[str]) -> list[str]:
    numbers = [_number(row.numbers.get(metric)) for metric in metrics]
    return [f"paper: {row.system}", str(row.table), *numbers, row.unreproducible]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _provenance(findings: Findings, name: str) -> str:
    spec, board = findings.spec, findings.board
    report = board.chosen.scores.report
    lacked = len(board.excluded.get(report.split, ()))
    facts = {
        "search": name,
        "protocol": PROTOCOLS[findings.space.protocol.kind],
        "samples": f"{report.n} of {report.split}"
        + (f"; {lacked} excluded, for which an output of some member is missing" if lacked else ""),
        "intervals": "95 %, bootstrap of 2,000 resamples; those of gains are paired",
        "seed": str(spec.provenance.seed),
        "search space": f"{spec.provenance.search_space}, {spec.provenance.search_space_hash}",
        "data": spec.provenance.dataset_fingerprint or "no samples table",
        "members": "; ".join(f"{m.name} ({m.view}, {m.fingerprint})" for m in spec.members),
        "versions": ", ".join(f"{package} {number}" for package, number in sorted(spec.provenance.versions.items())),
    }
    return f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in facts.items())}</dl>"


def comparison_page(all_findings: Mapping[str, Findings]) -> str:
    """Several searches or data sets in one table."""
    rows = []
    for name, findings in all_findings.items():
        board, objective = findings.board, findings.space.objective
        gain = board.gain_over(board.best_single, objective)
        report = board.chosen.scores.report
        cells = [name, findings.space.dataset, objective, str(report.n), str(len(board.chosen.result.members))]
        cells += [
            f"{board.best_single.scores.report.metrics[objective].value:.4f}",
            interval(report.metrics[objective]),
        ]
        cells += [interval(gain, "+"), "yes" if report.optimistic else "no"]
        rows.append((cells, ""))
    head = ["search", "data set", "objective", "n", "members", "best single", "ensemble", "gain", "optimistic"]
    verdicts = "".join(
        f"<li>{escape(name)}: {escape(verdict(f.space, f.board))}</li>" for name, f in all_findings.items()
    )
    sections = [
        Section("Comparison", [table(head, rows)], "table"),
        Section("Verdicts", [f"<ul>{verdicts}</ul>"], "verdicts"),
    ]
    return page(f"{len(all_findings)} searches compared", [], sections)
