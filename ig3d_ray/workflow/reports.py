"""Reports of searches: created with each search, or again from the contents of a storage."""

import dataclasses
import logging
from collections.abc import Mapping

import yaml
from matplotlib.figure import Figure
from pydantic import ValidationError

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data.declared import use_declarations
from ig3d_ray.data.images import ImageSet
from ig3d_ray.data.samples import load_samples
from ig3d_ray.ensembles.spec import parse_ensemble
from ig3d_ray.errors import Ig3dError
from ig3d_ray.report.changes import THUMBNAIL, Thumbnail
from ig3d_ray.report.drawing import pdf_file, png_file, svg_file
from ig3d_ray.report.figure_sizes import NARROW, WIDE, Size
from ig3d_ray.report.figures import FIGURES
from ig3d_ray.report.findings import Findings
from ig3d_ray.report.page import report_page
from ig3d_ray.search.evaluations import evaluation_of
from ig3d_ray.search.journal import load_results, search_folder
from ig3d_ray.search.leaderboard import build_leaderboard
from ig3d_ray.search.protocol import plan
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.inventory import load_pools, take_inventory

logger = logging.getLogger(__name__)


def draw(findings: Findings, size: Size = WIDE) -> dict[str, Figure]:
    """Every figure for which there are data."""
    drawn = {}
    for name, (figure_of, _) in FIGURES.items():
        logger.debug("report: drawing %s", name)
        figure = figure_of(findings, size)
        if figure is not None:
            drawn[name] = figure
    return drawn


def write_report(store: Store, findings: Findings, folder: str, paper: bool = False, thumbnails: bool = False) -> str:
    """Publish a search's `report.html` beside its spec.

    Args:
        paper: show the paper's numbers beside those of the search.
        thumbnails: embed images of samples.

    Returns:
        Where it is.
    """
    images = thumbnails_of(store, findings) if thumbnails else None
    search = paths.parse_search(folder).search
    text = report_page(findings, search, draw(findings), draw(findings, NARROW), images, paper)
    name = paths.report(folder)
    store.write(name, text.encode())
    return store.locate(name)


def figure_files(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """File name -> content, of each figure as PNG, SVG and PDF."""
    formats = {"png": png_file, "svg": svg_file, "pdf": pdf_file}
    return {f"{name}.{ending}": of(figure) for ending, of in formats.items() for name, figure in figures.items()}


def thumbnails_of(store: Store, findings: Findings) -> Thumbnail | None:
    """The images of the report set's samples, encoded; None where the storage has none."""
    dataset = findings.space.dataset
    if not store.exists(paths.samples_table(dataset)):
        return None
    samples = load_samples(store, dataset, only=()).in_split(findings.plan.report.split).with_feature("image")
    images = ImageSet(store, samples, THUMBNAIL)
    rows = {sample_id: row for row, sample_id in enumerate(images.ids)}

    def thumbnail(sample_id: str) -> bytes | None:
        return images.encoded(rows[sample_id])[0] if sample_id in rows else None

    return thumbnail


def findings_of(store: Store, folder: str) -> Findings:
    """A finished search, evaluated again from the contents of the storage.

    Raises:
        Ig3dError: it isn't finished; or members or labels changed since, so that it would be another search.
    """
    space_name, spec_name = paths.search_space(folder), paths.ensemble_spec(folder)
    if not store.exists(spec_name):
        raise Ig3dError(f"{store.locate(folder)}: holds no finished search (no best_ensemble.json)")
    use_declarations(store)
    try:
        space = SearchSpace.model_validate(yaml.safe_load(store.read(space_name)))
    except (yaml.YAMLError, ValidationError) as error:
        raise Ig3dError(f"{store.locate(space_name)}: not the space of a search; run the search again") from error
    spec = parse_ensemble(store.read(spec_name).decode(), store.locate(spec_name))
    inventory = take_inventory(store, space)
    usable = inventory.usable(space.protocol.splits)
    pools, _ = load_pools(store, space, usable)
    arranged = plan(space.protocol, pools, space.seed)
    if search_folder(space, spec.provenance.search_space, arranged) != folder:
        raise Ig3dError(
            f"{store.locate(folder)}: members, labels or this package changed since this search; search again"
        )
    results = load_results(store, folder)
    assert results is not None
    evaluations = evaluation_of(store, arranged.report, folder) or 1
    board = dataclasses.replace(build_leaderboard(space, arranged, results), evaluations=evaluations)
    return Findings(space, arranged, board, spec, results)
