"""`ig3d audit ...`: checks for what makes numbers wrong."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli.options import AsJson, Dataset, RowOrderIsId, Seed, Storage
from ig3d_ray.cli.say import say

if TYPE_CHECKING:
    from ig3d_ray.audit.checks import Finding

audit_app = typer.Typer(help="Check predictions for what makes numbers wrong.", no_args_is_help=True)


@audit_app.command("store", epilog="Example: ig3d audit store --storage runs --dataset rafdb")
def audit_store(
    storage: Storage,
    dataset: Dataset,
    as_json: AsJson = False,
) -> None:
    """Audit every member's outputs in a store, and the ensembles exported from them. Exit code 1 on a fault."""
    from ig3d_ray.audit.sources import audit_store as audit
    from ig3d_ray.data import datasets
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    datasets.use(store, dataset)
    found, tables = audit(store, dataset)
    _print_findings(found, f"{tables} tables of outputs in {store.uri}", as_json)


@audit_app.command("files", epilog="Example: ig3d audit files a.csv b.csv --dataset rafdb")
def audit_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV, Parquet or NPZ, as for import.")],
    dataset: Dataset,
    row_order_is_id: RowOrderIsId = False,
    shuffled: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Predictions of the first file's model on the samples in another order."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Audit files of predictions before they are imported. Exit code 1 if a fault is found."""
    from ig3d_ray.audit.sources import audit_files as audit
    from ig3d_ray.data import datasets

    datasets.dataset(dataset)
    found = audit(files, dataset, row_order_is_id, shuffled)
    _print_findings(found, f"{len(files) + (shuffled is not None)} files", as_json)


def _print_findings(found: "list[Finding]", what: str, as_json: bool) -> None:
    faults = [finding for finding in found if finding.kind == "fault"]
    if as_json:
        say(json.dumps([finding.__dict__ for finding in found]))
    else:
        counts = []
        for kind in ("fault", "warning", "note"):
            of_kind = [finding for finding in found if finding.kind == kind]
            counts.append(f"{len(of_kind)} {kind}{'s' if len(of_kind) != 1 else ''}")
            for finding in of_kind:
                say(f"{kind}: {finding.check}: {finding.who}: {finding.what}")
        say(f"{what}: {', '.join(counts)}")
    if faults:
        raise typer.Exit(1)


@audit_app.command("broadcast-demo", epilog="Example: ig3d audit broadcast-demo --draws 20")
def broadcast_demo(
    draws: Annotated[int, typer.Option(min=2, help="Random draws of the two members.")] = 20,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Show how one sample's logits, taken for a class-ordered batch, make RAF-DB's published 94.00 %."""
    from rich import box
    from rich.table import Table

    from ig3d_ray.audit import broadcast
    from ig3d_ray.cli.terminal import stdout_console

    study = broadcast.broadcast_study(draws, seed)
    if as_json:
        say(json.dumps(study.__dict__))
        return
    table = Table(
        title=f"Two members of {study.single[0]:.2%} and {study.single[1]:.2%} on RAF-DB's"
        f" {sum(broadcast.CLASS_COUNTS):,} test labels; mean and standard deviation of {draws} draws",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for name in (
        "fusion",
        "sample by sample",
        "published code,\nclass-ordered",
        "published code,\nshuffled",
        "published",
    ):
        table.add_column(name, justify="left" if name == "fusion" else "right")
    for strategy, published in broadcast.PUBLISHED.items():
        ways = [how[strategy] for how in (study.honest, study.ordered, study.shuffled)]
        table.add_row(strategy, *[f"{mean:.2%} ± {sd:.2%}" for mean, sd in ways], f"{published:.2%}")
    stdout_console(at_least=100).print(table)
    weight, accuracy = study.solved
    say(f"Solved on half of the samples and reported on the other half: 3D weight {weight:.2f}, {accuracy:.2%}.")
    say("The middle column takes each batch's first 3D logits for all 128 samples; shuffled, the same code collapses.")
