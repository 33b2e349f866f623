"""`ig3d predict`: an exported ensemble on new images, or on a split of its data set."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ig3d_ray.cli.locate import spec_at
from ig3d_ray.cli.options import AsJson, MissingName, SpecStorage, SpecUri, SplitName, check_suffix
from ig3d_ray.cli.say import say
from ig3d_ray.errors import Ig3dError

if TYPE_CHECKING:
    from ig3d_ray.ensembles.predictor import Ensemble

FORMATS = (".parquet", ".csv", ".jsonl")


def predict(
    spec: SpecUri,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Predictions as .parquet, .csv or .jsonl.")],
    storage: SpecStorage = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Folder or file of new images. Repeatable. Without, --split is predicted."),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Parameters of the new images, such as emoca=PATH. Repeatable."),
    ] = None,
    missing: Annotated[
        MissingName, typer.Option(help="What to do with an image for which an input of a member is missing.")
    ] = "fail",
    predictions: Annotated[
        list[str] | None,
        typer.Option(metavar="MEMBER=FILE", help="A member's predictions on new samples. Repeatable, one per member."),
    ] = None,
    form: Annotated[
        Literal["table", "abaw", "labels"],
        typer.Option("--format", help="With --predictions: a table, ABAW's text file, or ids with class numbers."),
    ] = "table",
    split: Annotated[SplitName, typer.Option(help="Split of the spec's data set.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Predict new images; or a split of the ensemble's data set, and check the reported score."""
    spec = spec_at(spec, storage)
    check_suffix(out, FORMATS if form == "table" else (".txt", ".csv"), "--out")
    if predictions:
        if images or missing == "fallback":
            raise Ig3dError("--predictions: need no --images; and --missing is fail or skip")
        vectors = _pairs("--parameters", parameters)
        _predict_from_tables(spec, storage, predictions, vectors, form, missing == "skip", out, as_json)
    elif form != "table":
        raise Ig3dError(f"--format {form}: is for --predictions MEMBER=FILE ...")
    elif images:
        _predict_images(spec, storage, images, _pairs("--parameters", parameters), missing, out, as_json)
    elif parameters:
        raise Ig3dError("--parameters: are of new images; also give --images, or --predictions")
    else:
        _predict_split(spec, storage, split, out, as_json)


def _predict_images(
    spec: str,
    storage: str | None,
    images: list[Path],
    parameters: dict[str, Path],
    missing: MissingName,
    out: Path,
    as_json: bool,
) -> None:
    from ig3d_ray.ensembles.inputs import items_of, read_item
    from ig3d_ray.ensembles.parameters import parameters_from
    from ig3d_ray.ensembles.predictor import load_ensemble
    from ig3d_ray.ensembles.writer import Writer

    items = items_of(images[0] if len(images) == 1 else list(images))
    given = {name: parameters_from(path, name) for name, path in parameters.items()}
    for of_representation in given.values():
        of_representation.check(name for name, _ in items)
    ensemble = load_ensemble(spec, storage)
    excluded: list[tuple[str, str]] = []
    by_fallback = 0
    with Writer(out) as writer:
        for batch in ensemble.stream((read_item(name, content) for name, content in items), missing, given):
            writer.write(batch.frame)
            excluded += batch.excluded
            by_fallback += int((batch.frame["missing"] != "").sum())
        if not writer.rows:
            raise Ig3dError(f"none of {len(items)} images could be predicted; {excluded[0][0]}: {excluded[0][1]}")
    if as_json:
        say(
            json.dumps({"out": str(out), "images": writer.rows, "by_fallback": by_fallback, "excluded": dict(excluded)})
        )
        return
    _print_images(ensemble, out, writer.rows, by_fallback, excluded)


def _pairs(option: str, given: list[str] | None) -> dict[str, Path]:
    """NAME=PATH ... as a mapping."""
    found: dict[str, Path] = {}
    for item in given or ():
        name, equals, file = item.partition("=")
        if not equals or not name or not file:
            raise Ig3dError(f"{option} {item}: write it as NAME=PATH")
        found[name] = Path(file)
    return found


def _predict_from_tables(
    spec: str,
    storage: str | None,
    given: list[str],
    vectors: dict[str, Path],
    form: Literal["table", "abaw", "labels"],
    skip: bool,
    out: Path,
    as_json: bool,
) -> None:
    from ig3d_ray.ensembles.from_tables import Table, predict_from
    from ig3d_ray.ensembles.parameters import parameters_from
    from ig3d_ray.ensembles.spec import read_ensemble
    from ig3d_ray.ensembles.submission import write_submission
    from ig3d_ray.ensembles.writer import Writer

    tables: dict[str, Table] = dict(_pairs("--predictions", given))
    ensemble = read_ensemble(spec, storage)
    parameters = {name: parameters_from(path, name) for name, path in vectors.items()}
    frame, notes = predict_from(ensemble, tables, None, skip, parameters)
    if form == "table":
        with Writer(out) as writer:
            writer.write(frame)
    else:
        write_submission(ensemble, frame, form, out)
    if as_json:
        say(json.dumps({"out": str(out), "samples": len(frame), "notes": notes}))
        return
    say(f"{out}: {len(frame)} samples, by the fusion of {len(ensemble.members)} members for {ensemble.dataset}")
    for note in notes:
        say(f"note: {note}")


def _print_images(
    ensemble: "Ensemble", out: Path, rows: int, by_fallback: int, excluded: list[tuple[str, str]]
) -> None:
    from ig3d_ray.data.ingest.build import reasons

    say(f"{out}: {rows} images, by an ensemble of {len(ensemble.spec.members)} members for {ensemble.spec.dataset}")
    if by_fallback:
        say(f"{by_fallback} of them by a fallback; the column `missing` names the missing inputs")
    if excluded:
        say(f"{len(excluded)} images excluded:")
        for line in reasons(excluded):
            say(f"  {line}")


def _predict_split(spec: str, storage: str | None, split: SplitName, out: Path, as_json: bool) -> None:
    from ig3d_ray.ensembles.reproduce import predict as reproduce
    from ig3d_ray.ensembles.reproduce import prediction_table
    from ig3d_ray.ensembles.spec import read_ensemble, storage_of
    from ig3d_ray.ensembles.writer import Writer
    from ig3d_ray.storage.store import Store

    ensemble, store = read_ensemble(spec, storage), Store(storage or storage_of(spec))
    done = reproduce(ensemble, store, split)
    with Writer(out) as writer:
        writer.write(prediction_table(ensemble, done))
    if as_json:
        content: dict[str, Any] = {"out": str(out), "samples": len(done.pool), "scores": done.scores}
        content |= {"compared": done.compared, "compared_score": done.compared_score, "reported": done.reported}
        say(json.dumps(content))
        return
    objective = ensemble.objective
    say(f"{out}: {len(done.pool)} samples of {ensemble.dataset} {split}, {objective} {done.scores[objective]:.6f}")
    if done.reported is None:
        say("the spec has no score on these samples and labels")
        return
    compared = f"{objective} {done.compared_score:.6f}; the spec has {done.reported:.6f}"
    say(f"on the {done.compared} samples that the search compared: {compared}")
    if split == ensemble.protocol.choose_on:
        report = ensemble.scores.report.metrics[objective].value
        say(f"the ensemble was chosen on these samples; its report score is {report:.6f}")
