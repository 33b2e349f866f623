"""`ig3d report`: the pages of finished searches."""

from pathlib import Path
from typing import Annotated

import typer

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths


def report(
    searches: Annotated[
        list[str], typer.Argument(metavar="SEARCH...", help="A search's folder or its best_ensemble.json; or several.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where the page goes; needed for several searches.")
    ] = None,
    figures: Annotated[Path | None, typer.Option(metavar="DIR", help="Put the figures there, as PNG and SVG.")] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Set the paper's tables beside our numbers.")] = False,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Embed pictures of samples: may you pass them on?")
    ] = False,
) -> None:
    """Make a search's page anew, or one that compares several searches or data sets."""
    from ig3d_ray.cli.data import check_ending
    from ig3d_ray.ensembles.spec import storage_of
    from ig3d_ray.report.page import comparison_page
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.reports import draw, figure_files, findings_of, write_report

    if out is not None:
        check_ending(out, ".html", "--out")
    if len(searches) > 1 and (out is None or figures or thumbnails or paper):
        raise Ig3dError("several searches are compared on a page of their own: give --out FILE.html, and nothing else")
    found = {}
    for search in searches:
        place = search if "://" in search else str(Path(search).absolute())
        folder = place.rstrip("/").removesuffix(f"/{paths.SPEC_FILE}")
        store = Store(storage_of(paths.ensemble_spec(folder)))
        key = paths.parse_search(folder)
        name = f"{paths.searches_folder(key.dataset)}/{key.search}"
        found[key.label] = (store, name, findings_of(store, name))
    if len(searches) > 1:
        assert out is not None
        text = comparison_page({name: findings for name, (_, _, findings) in found.items()})
        Store(str(out.absolute().parent)).write(out.name, text.encode())
        print(f"report: {out}")
        return
    ((store, folder, findings),) = found.values()
    where = write_report(store, findings, folder, paper, thumbnails)
    if out is not None:
        Store(str(out.absolute().parent)).write(out.name, store.read(paths.report(folder)))
        where = str(out)
    if figures is not None:
        target = Store(str(figures))
        for file, content in figure_files(draw(findings)).items():
            target.write(file, content)
        print(f"figures: {figures}")
    print(f"report: {where}")
