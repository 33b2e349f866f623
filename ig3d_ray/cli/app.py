"""The commands: parse, call one function, print. What is heavy is imported by the command that needs it."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli.audit import audit_app
from ig3d_ray.cli.cluster import cluster_app
from ig3d_ray.cli.data import data_app
from ig3d_ray.cli.export import export
from ig3d_ray.cli.extract import extract
from ig3d_ray.cli.import_ import import_app
from ig3d_ray.cli.predict import predict
from ig3d_ray.cli.report import report
from ig3d_ray.cli.serve import serve
from ig3d_ray.cli.show import ls, show
from ig3d_ray.cli.submit import submit
from ig3d_ray.errors import Ig3dError, Terminated
from ig3d_ray.storage import paths

if TYPE_CHECKING:
    from rich.console import Console

    from ig3d_ray.config.search_space import SearchSpace
    from ig3d_ray.report.tracking import Tracking
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.pipeline import Outcome

INTERRUPTED = 130
TERMINATED = 143
LOG_WIDTH = 140

app = typer.Typer(
    name="ig3d",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(submit)
app.command()(extract)
app.command()(predict)
app.command()(report)
app.command()(export)
app.command()(serve)
app.command()(ls)
app.command()(show)
app.add_typer(data_app, name="data")
app.add_typer(import_app, name="import")
app.add_typer(audit_app, name="audit")
app.add_typer(cluster_app, name="cluster")


def _version(asked: bool) -> None:
    if asked:
        from ig3d_ray import __version__

        print(f"ig3d {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Train facial-expression networks on Ray, cache their logits, find the best late fusion of 2D and 3D."""


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
Mlflow = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        envvar="IG3D_MLFLOW",
        show_envvar=True,
        help="Log the search and its members there too: http://host:port, or sqlite:///mlflow.db.",
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
    mlflow: Mlflow = None,
    as_json: AsJson = False,
) -> None:
    """Do everything: data, training, logits, search, export. Started again, it goes on where it was."""
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow import pipeline
    from ig3d_ray.workflow.progress import Reporter

    space, store = _space(space_file, overrides), Store(storage)
    tracking = _tracking(mlflow, space)
    with _interruptible():
        outcome = pipeline.run(store, space, space_file.stem, address, Reporter(), optuna_storage)
    _show(space, outcome, store, as_json, tracking)
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def search(
    space_file: SpaceFile,
    storage: Storage,
    overrides: Overrides = None,
    address: Address = None,
    optuna_storage: OptunaStorage = None,
    mlflow: Mlflow = None,
    as_json: AsJson = False,
) -> None:
    """Search what the store holds, imported members included; in this process, or on a cluster with --address."""
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow import pipeline
    from ig3d_ray.workflow.progress import Reporter

    space, store, reporter = _space(space_file, overrides), Store(storage), Reporter()
    store.prepare()
    tracking = _tracking(mlflow, space)
    with _interruptible():
        if address is None:
            outcome = pipeline.search_store(store, space, space_file.stem, reporter, optuna_storage)
        else:
            name = space_file.stem
            outcome = pipeline.search_on_cluster(store, space, name, address, reporter, optuna_storage)
    _show(space, outcome, store, as_json, tracking)


@app.command()
def plan(
    space_file: SpaceFile,
    storage: Storage,
    overrides: Overrides = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="How many GPUs there will be.")] = None,
    gpu_type: Annotated[str | None, typer.Option(metavar="NAME", help="Such as T4, A10G, A100.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of a GPU for an hour, in any currency.")] = None,
) -> None:
    """Say what a run would do and take; start nothing."""
    from ig3d_ray.cli.plan import render_forecast, render_plan
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.inventory import take_inventory
    from ig3d_ray.workflow.train import Machines, forecast_training, what_is_missing

    space, store = _space(space_file, overrides), Store(storage)
    machines = Machines.asked(store, space, gpus, gpu_type, price)
    inventory = take_inventory(store, space)
    _console().print(render_plan(space, inventory, store.uri))
    found = forecast_training(store, space, inventory, machines)
    if found is not None:
        _console().print(render_forecast(found, space.resources, machines.device, machines.count, price))
    for problem in what_is_missing(store, space, inventory):
        print(f"missing: {problem}")


def _space(path: Path, overrides: list[str] | None) -> "SearchSpace":
    from ig3d_ray.config.load import load_space

    return load_space(path, tuple(overrides or ()))


def _tracking(uri: str | None, space: "SearchSpace") -> "Tracking | None":
    if uri is None:
        return None
    from ig3d_ray.report.tracking import Tracking

    return Tracking(uri, space.dataset)


def _show(space: "SearchSpace", outcome: "Outcome", store: "Store", as_json: bool, tracking: "Tracking | None") -> None:
    from ig3d_ray.workflow.reports import write_report

    page = write_report(store, outcome.findings, outcome.folder)
    _tell(space, outcome, store, page, as_json)
    if tracking is not None:
        tracking.log(store, outcome.findings, outcome.folder)
        if not as_json:
            print(f"mlflow: {tracking.where}")


def _tell(space: "SearchSpace", outcome: "Outcome", store: "Store", page: str, as_json: bool) -> None:
    from ig3d_ray.report.text import render, verdict

    spec_uri = store.locate(paths.ensemble_spec(outcome.folder))
    if as_json:
        report = outcome.spec.scores.report.metrics[space.objective]
        content = {
            "spec": spec_uri,
            "page": page,
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
    if outcome.failed:
        print(f"{len(outcome.failed)} members could not be trained (above); the others were searched")
    if outcome.unused:
        print(f"{outcome.unused} trained members in the storage are not in this space; repeat the --set of their run")
    print(f"report: {page}")
    print(f"spec: {spec_uri}")


def _console() -> "Console":
    from rich.console import Console

    # A log has no width of its own: a table is then as wide as it needs.
    return Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM say how to continue, and leave although threads still wait for Ray."""

    def terminate(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        _leave("interrupted", INTERRUPTED)
    except Terminated:
        _leave("told to end", TERMINATED)


def _leave(why: str, code: int) -> None:
    print(f"\nig3d: {why}; what is finished is kept: the same command goes on from there", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Entry point: errors that the user can put right are one line and exit code 2."""
    try:
        app()
    except Ig3dError as error:
        print(f"ig3d: {error}", file=sys.stderr)
        sys.exit(2)
