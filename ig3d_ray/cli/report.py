"""`ig3d report`: the pages of finished searches."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli.locate import spec_at
from ig3d_ray.cli.options import SpecStorage, check_suffix
from ig3d_ray.cli.say import say
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths

if TYPE_CHECKING:
    from ig3d_ray.report.findings import Findings
    from ig3d_ray.storage.store import Store


def report(
    searches: Annotated[
        list[str], typer.Argument(metavar="SEARCH...", help="Folders of searches, their best_ensemble.json, or names.")
    ],
    storage: SpecStorage = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="File of the page; required for several searches.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the figures there, as PNG, SVG and PDF.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE.tex|.md|.csv", help="Write the scores there as a table for a paper.")
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="A row of that table: a label, or single, reference, family, chosen."),
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(metavar="METRIC", help="A column of that table: a metric, or gain.")
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Show the paper's tables beside these numbers.")] = False,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Embed images of samples; check that you may pass them on.")
    ] = False,
) -> None:
    """Write the report of a search again, or a page that compares several searches or data sets."""
    from ig3d_ray.report.page import comparison_page
    from ig3d_ray.report.paper_rows import FORMATS, paper_rows
    from ig3d_ray.storage.output_files import write_file
    from ig3d_ray.workflow.reports import draw, figure_files, write_report

    if out is not None:
        check_suffix(out, (".html",), "--out")
    if table is not None:
        check_suffix(table, (".tex", ".md", ".csv"), "--table")
    elif rows or columns:
        raise Ig3dError("--rows and --columns choose what is in a table: give --table FILE.tex, .md or .csv too")
    if len(searches) > 1:
        if out is None or figures or table or thumbnails or paper:
            raise Ig3dError("several searches are compared on a page of their own: give --out FILE.html alone")
        found = [_finished(spec_at(one, storage)) for one in searches]
        page = comparison_page({label: findings for label, (_, _, findings) in found})
        write_file(out, page.encode())
        say(f"report: {out}")
        return
    _, (store, folder, findings) = _finished(spec_at(searches[0], storage))
    store.prepare()
    location = write_report(store, findings, folder, paper, thumbnails)
    if out is not None:
        write_file(out, store.read(paths.report(folder)))
        location = str(out)
    if figures is not None:
        for file, content in figure_files(draw(findings)).items():
            write_file(figures / file, content)
        say(f"figures: {figures}")
    if table is not None:
        text = FORMATS[table.suffix](paper_rows(findings, rows or (), columns or ()))
        write_file(table, text.encode())
        say(f"table: {table}")
    say(f"report: {location}")


def _finished(search: str) -> tuple[str, tuple["Store", str, "Findings"]]:
    """A finished search: its label; its store, its folder there, and its findings."""
    from ig3d_ray.ensembles.spec import storage_of
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.reports import findings_of

    location = search if "://" in search else str(Path(search).absolute())
    location = location.rstrip("/").removesuffix(f"/{paths.SPEC_FILE}")
    store, key = Store(storage_of(paths.ensemble_spec(location))), paths.parse_search(location)
    folder = f"{paths.searches_folder(key.dataset)}/{key.search}"
    return key.label, (store, folder, findings_of(store, folder))
