"""`ig3d predict`: an exported ensemble on new pictures, or on a split of its data set."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ig3d_ray.cli.data import check_ending
from ig3d_ray.cli.import_ import named_split
from ig3d_ray.errors import Ig3dError

if TYPE_CHECKING:
    from ig3d_ray.ensembles.predictor import Ensemble

FORMATS = (".parquet", ".csv", ".jsonl")


def predict(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A best_ensemble.json, as a file or URI.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the predictions go: .parquet, .csv or .jsonl.")],
    storage: Annotated[
        str | None, typer.Option(metavar="URI", help="Where the spec's checkpoints lie; by default where it lies.")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A folder or file of new pictures. Repeatable. Without: a split."),
    ] = None,
    emoca: Annotated[Path | None, typer.Option(metavar="PATH", help="EMOCA's parameters of the new pictures.")] = None,
    smirk: Annotated[Path | None, typer.Option(metavar="PATH", help="The same, of SMIRK's.")] = None,
    missing: Annotated[
        str, typer.Option(help="Where a member lacks what it looks at: fail, skip, or fallback to the others.")
    ] = "fail",
    split: Annotated[str, typer.Option(help="Of the spec's data set: train, dev or test.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON at the end.")] = False,
) -> None:
    """Run an exported ensemble on pictures; or on a split of its data set, and check the reported number."""
    if images:
        _on_pictures(spec, storage, images, {"emoca": emoca, "smirk": smirk}, missing, out, as_json)
    elif emoca or smirk:
        raise Ig3dError("--emoca and --smirk are parameters of new pictures; give these with --images")
    else:
        _on_split(spec, storage, split, out, as_json)


def _on_pictures(
    spec: str,
    storage: str | None,
    images: list[Path],
    parameters: dict[str, Path | None],
    missing: str,
    out: Path,
    as_json: bool,
) -> None:
    from ig3d_ray.ensembles.inputs import items_of, read_item
    from ig3d_ray.ensembles.parameters import parameters_from
    from ig3d_ray.ensembles.predictor import load_ensemble
    from ig3d_ray.ensembles.writer import Writer

    check_ending(out, FORMATS, "--out")
    items = items_of(images[0] if len(images) == 1 else list(images))
    given = {name: parameters_from(path, name) for name, path in parameters.items() if path}  # type: ignore[arg-type]
    for parameters_given in given.values():
        parameters_given.check(name for name, _ in items)
    ensemble = load_ensemble(spec, storage)
    left_out: list[tuple[str, str]] = []
    lacked = 0
    with Writer(out) as writer:
        pictures = (read_item(name, content) for name, content in items)
        for batch in ensemble.stream(pictures, missing, given):  # type: ignore[arg-type]
            writer.write(batch.frame)
            left_out += batch.left_out
            lacked += int((batch.frame["lacked"] != "").sum())
    _told(ensemble, out, writer.rows, lacked, left_out, as_json)


def _told(
    ensemble: "Ensemble", out: Path, rows: int, lacked: int, left_out: list[tuple[str, str]], as_json: bool
) -> None:
    if as_json:
        print(json.dumps({"out": str(out), "pictures": rows, "by_fallback": lacked, "left_out": dict(left_out)}))
        return
    print(f"{out}: {rows} pictures, by an ensemble of {len(ensemble.spec.members)} members for {ensemble.spec.dataset}")
    if lacked:
        print(f"{lacked} of them by members that lacked nothing alone; column `lacked` says what was missing")
    if left_out:
        from ig3d_ray.data.ingest.build import reasons

        print(f"{len(left_out)} pictures left out:")
        for line in reasons(left_out):
            print(f"  {line}")


def _on_split(spec: str, storage: str | None, split: str, out: Path, as_json: bool) -> None:
    from ig3d_ray.ensembles import reproduce as predicting
    from ig3d_ray.ensembles.spec import read_ensemble, storage_of
    from ig3d_ray.ensembles.writer import Writer
    from ig3d_ray.storage.store import Store

    check_ending(out, FORMATS, "--out")
    ensemble, store = read_ensemble(spec), Store(storage or storage_of(spec))
    done = predicting.predict(ensemble, store, named_split(split))
    with Writer(out) as writer:
        writer.write(predicting.prediction_table(done).to_pandas())
    if as_json:
        content: dict[str, Any] = {"out": str(out), "samples": len(done.pool), "scores": done.scores}
        content |= {"compared": done.compared, "compared_score": done.compared_score, "reported": done.reported}
        print(json.dumps(content))
        return
    objective = ensemble.objective
    print(f"{out}: {len(done.pool)} samples of {ensemble.dataset} {split}, {objective} {done.scores[objective]:.6f}")
    if done.reported is None:
        print("the spec reports nothing on these samples and labels")
    else:
        where = f"on the {done.compared} samples that the search compared on"
        print(f"{where}: {objective} {done.compared_score:.6f}, and the spec says {done.reported:.6f}")
        if split == ensemble.protocol.choose_on:
            report = ensemble.scores.report
            print(f"these samples chose the ensemble; its report score is {report.metrics[objective].value:.6f}")
