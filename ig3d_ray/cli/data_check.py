"""`ig3d data check`: what is wrong with a data set, before anything is trained on it."""

from pathlib import Path
from typing import Annotated

import typer

from ig3d_ray.cli.data import Alike
from ig3d_ray.cli.options import Dataset, Storage, check_suffix
from ig3d_ray.cli.say import say

TABLE_WIDTH = 160


def data_check(
    dataset: Dataset,
    storage: Storage,
    alike: Alike = "exact",
    copies: Annotated[
        Path | None, typer.Option("--list-duplicates", metavar="FILE.csv", help="Write every pair of duplicates.")
    ] = None,
) -> None:
    """Counts per class against the published ones, missing features, duplicate images. Exit code 1 on a fault."""
    from rich.table import Table

    from ig3d_ray.cli.terminal import log_to_stderr, stdout_console
    from ig3d_ray.data.check import check_data
    from ig3d_ray.data.samples import load_samples
    from ig3d_ray.storage.output_files import write_file
    from ig3d_ray.storage.store import Store

    if copies is not None:
        check_suffix(copies, (".csv",), "--list-duplicates")
    log_to_stderr()
    store = Store(storage)
    found = check_data(store, load_samples(store, dataset, only=(), presence=True), alike)
    if copies is not None:
        write_file(copies, found.copies.table())
    table = Table(title=f"{dataset}: classes 0 to {len(found.class_names) - 1}, in this order")
    table.add_column("")
    for number, name in enumerate(found.class_names):
        table.add_column(f"{number} {name}", justify="right")
    table.add_column("all", justify="right")
    for what, counts, total in found.counts:
        table.add_row(what, *(f"{count:,}" for count in counts), f"{total:,}")
    stdout_console(log_width=TABLE_WIDTH).print(table)
    for note in found.notes:
        say(f"note: {note}")
    for fault in found.faults:
        say(f"FAULT: {fault}")
    if found.faults:
        raise typer.Exit(1)
