"""`ig3d import ...`: models made elsewhere, as predictions, as checkpoints, as initial weights."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ig3d_ray.cli.options import Dataset, Replace, RowOrderIsId, SplitName, Storage, ViewName
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.registry import KINDS

import_app = typer.Typer(help="Import models made elsewhere: predictions, checkpoints, weights.", no_args_is_help=True)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[KINDS]


@import_app.command(
    "predictions", epilog="Example: ig3d import predictions a.csv --dataset rafdb --member a --view 2d --storage runs"
)
def import_predictions(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Predictions as CSV, Parquet or NPZ.")],
    dataset: Dataset,
    member: Annotated[str, typer.Option(metavar="NAME", help="Name of the model.")],
    view: Annotated[ViewName, typer.Option(help="View that the model takes as input.")],
    storage: Storage,
    split: Annotated[SplitName, typer.Option(help="Split of the samples.")] = "test",
    row_order_is_id: RowOrderIsId = False,
    replace: Replace = False,
) -> None:
    """Put a model's predictions into the logit cache, where `ig3d search` finds them."""
    from ig3d_ray.data import datasets
    from ig3d_ray.importing import predictions
    from ig3d_ray.models.spec import ImportedSpec
    from ig3d_ray.storage.store import Store

    names = datasets.dataset(dataset).class_names
    spec = ImportedSpec(name=_name("--member", member), view=view)
    store = Store(storage)
    store.prepare()
    done = predictions.import_predictions(store, file, dataset, spec, split, row_order_is_id, replace)
    numbered = ", rows numbered" if done.numbered else ""
    columns = " and ".join(done.found)
    print(f"{member} ({view}): {len(done.table.ids)} samples of {dataset} {split}, {columns}{numbered}")
    if done.scores:
        print("on its labels: " + ", ".join(f"{metric} {value:.4f}" for metric, value in done.scores.items()))
    if "logits" in done.found:
        print(f"classes 0 to {len(names) - 1} are: {', '.join(names)}")


@import_app.command(
    "checkpoint",
    epilog="Example: ig3d import checkpoint rafdb_epoch20.pth --as ddamfn --dataset rafdb --storage runs",
)
def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A published .pth or .pt file.")],
    kind: Annotated[KindName, typer.Option("--as", help="Kind of the network.")],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Data set that it was trained on.")],
    storage: Storage,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the member; by default its kind.")] = None,
    class_order: Annotated[
        Literal["ours", "ddamfn"] | None,
        typer.Option(help="Order of its classes on RAF-DB; by default that of the kind's published checkpoints."),
    ] = None,
    va_order: Annotated[
        Literal["valence-first", "arousal-first"] | None,
        typer.Option(help="Order of a 3D network's last two outputs; by default as published."),
    ] = None,
    replace: Replace = False,
) -> None:
    """Make a published checkpoint a member, and cache its logits on dev and test. No code in the file is run."""
    from ig3d_ray.data import datasets
    from ig3d_ray.importing import checkpoints
    from ig3d_ray.storage.store import Store

    datasets.dataset(dataset)
    store = Store(storage)
    store.prepare()
    member = _name("--name", name or kind)
    done = checkpoints.import_checkpoint(store, file, kind, dataset, member, class_order, va_order, replace)
    counts = ", ".join(f"{count} {split}" for split, count in done.written.items())
    print(f"{member} ({done.identified.spec.view}): a published {kind}; logits on {counts} samples of {dataset} cached")
    for note in done.identified.notes:
        print(f"note: {note}")
    for split, scores in done.scores.items():
        if scores:
            print(f"on {split}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items()))


@import_app.command("weights", epilog="Example: ig3d import weights maxvit_t.pt --name maxvit_imagenet --storage runs")
def import_weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A state dict, such as ImageNet's of a backbone.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name for `start_from` in a search space.")],
    storage: Storage,
) -> None:
    """Import weights that trainings start from. No code in the file is run."""
    from ig3d_ray.importing import checkpoints
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    store.prepare()
    weights = _name("--name", name)
    count = checkpoints.import_weights(store, file, weights)
    print(f"{weights}: {count} tensors; in a search space: start_from: {weights}")


def _name(option: str, value: str) -> str:
    if not NAME.fullmatch(value):
        raise Ig3dError(f"{option} {value}: letters, digits and . _ + - only, a letter or digit first")
    return value
