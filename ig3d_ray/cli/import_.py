"""`ig3d import ...`: models made elsewhere, as predictions, as checkpoints, as initial weights."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ig3d_ray.cli.options import Dataset, Replace, RowOrderIsId, SplitName, Storage
from ig3d_ray.cli.say import say
from ig3d_ray.cli.tables import (
    Classes,
    Faces,
    IdColumn,
    LabelColumn,
    ScoreColumns,
    ScoresAre,
    ToolName,
    ViewWord,
    known_dataset,
    reading,
)
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
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table: CSV, Parquet, NPZ or JSON.")],
    dataset: Dataset,
    member: Annotated[str, typer.Option(metavar="NAME", help="Name of the model.")],
    view: ViewWord,
    storage: Storage,
    split: Annotated[SplitName, typer.Option(help="Split of the samples.")] = "test",
    classes: Classes = None,
    row_order_is_id: RowOrderIsId = False,
    tool: ToolName = None,
    columns: ScoreColumns = None,
    id_column: IdColumn = None,
    label_column: LabelColumn = None,
    scores: ScoresAre = None,
    faces: Faces = "error",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Import a file of whose ids fewer than 95 % are known.")
    ] = False,
    replace: Replace = False,
) -> None:
    """Put a model's predictions into the logit cache, where `ig3d search` finds them."""
    from pydantic import ValidationError

    from ig3d_ray.importing import predictions
    from ig3d_ray.models.spec import ImportedSpec
    from ig3d_ray.storage.explain import first_error
    from ig3d_ray.storage.store import Store

    try:
        spec = ImportedSpec(name=_name("--member", member), view=view)
    except ValidationError as error:
        raise Ig3dError(f"--view: {first_error(error)}") from error
    store = Store(storage)
    store.prepare()
    about = known_dataset(store, dataset, classes)
    how = reading(tool, columns, id_column, label_column, scores, faces, row_order_is_id)
    done = predictions.import_predictions(
        store, file, dataset, spec, split, replace=replace, reading=how, allow_missing=allow_missing
    )
    numbered = ", rows numbered" if done.numbered else ""
    found = " and ".join(done.found)
    say(f"{member} ({view}): {len(done.table.ids)} samples of {dataset} {split}, {found}{numbered}")
    for note in done.notes:
        say(f"note: {note}")
    if done.scores:
        say("on its labels: " + ", ".join(f"{metric} {value:.4f}" for metric, value in done.scores.items()))
    if "logits" in done.found:
        say(f"classes 0 to {about.width - 1} are: {', '.join(about.class_names)}")


@import_app.command("labels", epilog="Example: ig3d import labels labels.csv --dataset rafdb --storage runs")
def import_labels(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table of ids, and classes or valence and arousal.")],
    dataset: Dataset,
    storage: Storage,
    split: Annotated[SplitName, typer.Option(help="Split of the samples.")] = "test",
    classes: Classes = None,
    id_column: IdColumn = None,
    label_column: LabelColumn = None,
    group_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of what samples belong to, such as videos.", show_default="group"),
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Column of subgroups, such as gender; reported apart.")
    ] = None,
) -> None:
    """Put the true labels of a split into the storage, for predictions that come without."""
    from ig3d_ray.importing import labels
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    store.prepare()
    known_dataset(store, dataset, classes)
    how = reading(None, None, id_column, label_column, None, "error")
    done, notes = labels.import_labels(store, file, dataset, split, how, group_column, attribute or ())
    count = "" if done.groups is None else f" of {len(set(done.groups.tolist()) - {''})} groups"
    say(f"{dataset} {split}: labels of {len(done.ids)} samples{count}")
    for note in notes:
        say(f"note: {note}")


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

    store = Store(storage)
    store.prepare()
    datasets.use(store, dataset)
    member = _name("--name", name or kind)
    done = checkpoints.import_checkpoint(store, file, kind, dataset, member, class_order, va_order, replace)
    counts = ", ".join(f"{count} {split}" for split, count in done.written.items())
    say(f"{member} ({done.identified.spec.view}): a published {kind}; logits on {counts} samples of {dataset} cached")
    for note in done.identified.notes:
        say(f"note: {note}")
    for split, scores in done.scores.items():
        if scores:
            say(f"on {split}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items()))


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
    say(f"{weights}: {count} tensors; in a search space: start_from: {weights}")


def _name(option: str, value: str) -> str:
    if not NAME.fullmatch(value):
        raise Ig3dError(f"{option} {value}: letters, digits and . _ + - only, a letter or digit first")
    return value
