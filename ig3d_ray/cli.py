"""The commands: parse, call one function, print. What is heavy is imported by the command that needs it."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli_audit import audit_app
from ig3d_ray.errors import Ig3dError

if TYPE_CHECKING:
    from rich.console import Console

    from ig3d_ray.data.catalog import Split
    from ig3d_ray.pipeline import Outcome
    from ig3d_ray.space import SearchSpace

INTERRUPTED = 130
LOG_WIDTH = 140

app = typer.Typer(
    name="ig3d",
    help="Train facial-expression networks on Ray, cache their logits, find the best late fusion of 2D and 3D.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Make data sets.", no_args_is_help=True)
import_app = typer.Typer(help="Bring your own models' predictions.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(import_app, name="import")
app.add_typer(audit_app, name="audit")

SpaceFile = Annotated[Path, typer.Argument(metavar="SPACE", help="A YAML file such as search_spaces/faces.yaml.")]
Storage = Annotated[str, typer.Option(metavar="URI", help="A folder, or s3://bucket/prefix.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override one field, such as search.budget=500. Repeatable."),
]
Address = Annotated[str | None, typer.Option(help="A Ray cluster, host:port or auto.")]
OptunaStorage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="IG3D_OPTUNA_STORAGE",
        show_envvar=True,
        help="Copy the study there for optuna-dashboard, such as sqlite:///search.db or postgresql://...",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON at the end and nothing else on stdout.")]


@app.command()
def run(
    space_file: SpaceFile,
    storage: Storage,
    overrides: Overrides = None,
    address: Address = None,
    optuna_storage: OptunaStorage = None,
    as_json: AsJson = False,
) -> None:
    """Do everything: data, training, logits, search, export. Started again, it goes on where it was."""
    from ig3d_ray import pipeline
    from ig3d_ray.progress import Reporter
    from ig3d_ray.storage import Store

    space, store = _space(space_file, overrides), Store(storage)
    with _interruptible():
        outcome = pipeline.run(store, space, space_file.stem, address, Reporter(), optuna_storage)
    _show(space, outcome, store.uri, as_json)
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def search(
    space_file: SpaceFile,
    storage: Storage,
    overrides: Overrides = None,
    address: Address = None,
    optuna_storage: OptunaStorage = None,
    as_json: AsJson = False,
) -> None:
    """Search what the store holds, imported members included; in this process, or on a cluster with --address."""
    from ig3d_ray import pipeline
    from ig3d_ray.progress import Reporter
    from ig3d_ray.storage import Store

    space, store, reporter = _space(space_file, overrides), Store(storage), Reporter()
    store.prepare()
    with _interruptible():
        if address is None:
            outcome = pipeline.search_store(store, space, space_file.stem, reporter, optuna_storage)
        else:
            name = space_file.stem
            outcome = pipeline.search_on_cluster(store, space, name, address, reporter, optuna_storage)
    _show(space, outcome, store.uri, as_json)


@app.command()
def plan(space_file: SpaceFile, storage: Storage, overrides: Overrides = None) -> None:
    """Say what a run would do; start nothing."""
    from ig3d_ray.inventory import take_inventory
    from ig3d_ray.report import render_plan
    from ig3d_ray.storage import Store

    space, store = _space(space_file, overrides), Store(storage)
    _console().print(render_plan(space, take_inventory(store, space), store.uri))


@app.command()
def predict(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A best_ensemble.json, as a file or URI.")],
    storage: Storage,
    out: Annotated[Path, typer.Option(metavar="FILE.parquet", help="Where the predictions go.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Run an exported ensemble on a split, from its checkpoints alone, and check the reported number."""
    from ig3d_ray import predict as predicting
    from ig3d_ray.ensemble import read_ensemble
    from ig3d_ray.storage import Store

    _ending(out, ".parquet", "--out")
    ensemble, store = read_ensemble(spec), Store(storage)
    done = predicting.predict(ensemble, store, _split(split))
    Store(str(out.absolute().parent)).write(out.name, predicting.table_bytes(predicting.prediction_table(done)))
    if as_json:
        content = {"out": str(out), "samples": len(done.pool), "scores": done.scores, "compared": done.compared}
        print(json.dumps(content | {"compared_score": done.compared_score, "reported": done.reported}))
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


@data_app.command("faces")
def data_faces(
    out: Annotated[str | None, typer.Option(metavar="URI", help="The store that gets the data set.")] = None,
    samples: Annotated[int, typer.Option(help="How many faces, at least 200.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw a contact sheet of the expressions.")
    ] = None,
) -> None:
    """Draw the built-in data set: faces with expressions, and 3D parameters as an encoder might give them."""
    from ig3d_ray.data.faces import contact_sheet
    from ig3d_ray.pipeline import draw_faces
    from ig3d_ray.storage import Store

    if out is None and sheet is None:
        raise Ig3dError("nothing to do: give --out URI, --sheet FILE.png, or both")
    if sheet is not None:
        _ending(sheet, ".png", "--sheet")
    if out is not None:
        store = Store(out)
        store.prepare()
        made = draw_faces(store, samples, seed)
        print(f"{store.locate('datasets/faces')}: {len(made)} faces, fingerprint {made.fingerprint}")
    if sheet is not None:
        Store(str(sheet.absolute().parent)).write(sheet.name, contact_sheet(seed))
        print(f"{sheet}: ten faces of each expression")


@import_app.command("predictions")
def import_predictions(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, Parquet or NPZ.")],
    dataset: Annotated[str, typer.Option(help="Which data set the samples are of.")],
    member: Annotated[str, typer.Option(help="What to call the model.")],
    view: Annotated[str, typer.Option(help="What the model looks at: 2d, 3d or 2d+3d.")],
    storage: Storage,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    row_order_is_id: Annotated[
        bool, typer.Option("--row-order-is-id", help="Row i is the same sample in every file.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace this member's earlier predictions.")] = False,
) -> None:
    """Put a model's predictions into the logit cache, where `ig3d search` finds them."""
    from pydantic import ValidationError

    from ig3d_ray.data import catalog
    from ig3d_ray.members.imported import import_predictions as bring
    from ig3d_ray.members.spec import ImportedSpec
    from ig3d_ray.storage import Store

    names = catalog.dataset(dataset).class_names
    of_split = _split(split)
    try:
        spec = ImportedSpec(name=member, view=view)
    except ValidationError as error:
        option, first = {"name": "--member", "view": "--view"}[str(error.errors()[0]["loc"][0])], error.errors()[0]
        raise Ig3dError(f"{option} {first['input']}: {first['msg']}") from error
    store = Store(storage)
    store.prepare()
    done = bring(store, file, dataset, spec, of_split, row_order_is_id, replace)
    numbered = ", rows numbered" if done.numbered else ""
    print(
        f"{member} ({view}): {len(done.table.ids)} samples of {dataset} {split}, {' and '.join(done.found)}{numbered}"
    )
    if done.scores:
        print("on its labels: " + ", ".join(f"{metric} {value:.4f}" for metric, value in done.scores.items()))
    if "logits" in done.found:
        print(f"classes 0 to {len(names) - 1} are: {', '.join(names)}")


def _ending(file: Path, ending: str, option: str) -> None:
    if file.suffix.lower() != ending:
        raise Ig3dError(f"{option} {file}: this writes {ending} only; let the name end so")
    if not file.absolute().parent.is_dir():
        raise Ig3dError(f"{option} {file}: there is no folder {file.absolute().parent}; make it first")


def _split(name: str) -> "Split":
    from ig3d_ray.data.catalog import SPLITS

    for split in SPLITS:
        if name == split:
            return split
    raise Ig3dError(f"--split {name}: allowed: {', '.join(SPLITS)}")


def _space(path: Path, overrides: list[str] | None) -> "SearchSpace":
    from ig3d_ray.space_file import load_space

    return load_space(path, tuple(overrides or ()))


def _show(space: "SearchSpace", outcome: "Outcome", uri: str, as_json: bool) -> None:
    from ig3d_ray.report import render, verdict

    spec_uri = f"{uri}/{outcome.folder}/best_ensemble.json"
    if as_json:
        report = outcome.spec.scores.report.metrics[space.objective]
        content = {
            "spec": spec_uri,
            "objective": space.objective,
            "selection": outcome.spec.scores.selection.metrics[space.objective].value,
            "report": report.model_dump(),
            "gain_over_best_single": outcome.spec.compared_with["best_single"].gain.model_dump(),
            "members": [member.name for member in outcome.spec.members],
            "optimism": outcome.spec.optimism.model_dump(),
            "verdict": verdict(space, outcome.board),
            "missing": outcome.missing,
            "failed": outcome.failed,
            "trained": outcome.trained,
        }
        print(json.dumps(content))
        return
    console = _console()
    console.print(render(space, outcome.board, console.width))
    for name, why in (outcome.missing | outcome.failed).items():
        print(f"left out: {name}: {why}")
    if outcome.unused:
        print(f"{outcome.unused} trained members in the storage are not in this space; repeat the --set of their run")
    print(f"spec: {spec_uri}")


def _console() -> "Console":
    from rich.console import Console

    # A log has no width of its own: a table is then as wide as it needs.
    return Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C says how to continue, and leaves although threads still wait for Ray."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nig3d: interrupted; what is finished is kept: the same command goes on from there", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


def main() -> None:
    """Entry point: errors that the user can put right are one line and exit code 2."""
    try:
        app()
    except Ig3dError as error:
        print(f"ig3d: {error}", file=sys.stderr)
        sys.exit(2)
