"""`ig3d import ...`: bring models made elsewhere, as predictions, as checkpoints, as weights to start from."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ig3d_ray.errors import Ig3dError

if TYPE_CHECKING:
    from ig3d_ray.types import Split

import_app = typer.Typer(help="Bring models made elsewhere: predictions, checkpoints, weights.", no_args_is_help=True)
Storage = Annotated[str, typer.Option(metavar="URI", help="A folder, or s3://bucket/prefix.")]
T = TypeVar("T", bound=str)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
Replace = Annotated[bool, typer.Option("--replace", help="Replace what is there under this name.")]


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

    from ig3d_ray.data import datasets
    from ig3d_ray.importing.predictions import import_predictions as bring
    from ig3d_ray.models.spec import ImportedSpec
    from ig3d_ray.storage.store import Store

    names = datasets.dataset(dataset).class_names
    of_split = named_split(split)
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


@import_app.command("checkpoint")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A published .pth or .pt file.")],
    kind: Annotated[str, typer.Option("--as", help="ddamfn, cage, mlp3d or intermediate.")],
    dataset: Annotated[str, typer.Option(help="Which data set it was trained on.")],
    storage: Storage,
    name: Annotated[str | None, typer.Option(help="What to call the member; what --as says by default.")] = None,
    class_order: Annotated[
        str | None, typer.Option(help="ours or ddamfn: how its classes lie on RAF-DB; ddamfn's own checkpoints differ.")
    ] = None,
    va_order: Annotated[
        str | None, typer.Option(help="valence-first or arousal-first: the last two outputs of a 3D network.")
    ] = None,
    replace: Replace = False,
) -> None:
    """Make a published checkpoint a member, and write its logits on dev and test. No code in the file is run."""
    from ig3d_ray.data import datasets
    from ig3d_ray.importing import checkpoints, identify
    from ig3d_ray.models.registry import KINDS
    from ig3d_ray.storage.store import Store

    datasets.dataset(dataset)
    of_kind = _one_of("--as", kind, KINDS)
    classes = _one_of("--class-order", class_order, identify.CLASS_ORDERS) if class_order else None
    va = _one_of("--va-order", va_order, identify.VA_ORDERS) if va_order else None
    store = Store(storage)
    store.prepare()
    called = _name("--name", name or kind)
    done = checkpoints.import_checkpoint(store, file, of_kind, dataset, called, classes, va, replace)
    spec = done.identified.spec
    told = ", ".join(f"{count} {split}" for split, count in done.written.items())
    print(f"{called} ({spec.view}): a published {kind}; its logits on {told} samples of {dataset} are in the cache")
    for note in done.identified.notes:
        print(f"note: {note}")
    for split, scores in done.scores.items():
        if scores:
            print(f"on {split}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items()))


@import_app.command("weights")
def import_weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A state dict, such as ImageNet's of a backbone.")],
    name: Annotated[str, typer.Option(help="What `start_from` in a search space calls them.")],
    storage: Storage,
) -> None:
    """Bring weights that networks start their training from. No code in the file is run."""
    from ig3d_ray.importing.checkpoints import import_weights as bring
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    store.prepare()
    called = _name("--name", name)
    print(f"{called}: {bring(store, file, called)} tensors; in a search space: start_from: {called}")


def _one_of(option: str, value: str, allowed: tuple[T, ...]) -> T:
    for one in allowed:
        if value == one:
            return one
    raise Ig3dError(f"{option} {value}: allowed: {', '.join(allowed)}")


def _name(option: str, value: str) -> str:
    if not NAME.fullmatch(value):
        raise Ig3dError(f"{option} {value}: letters, digits and . _ + - only, a letter or digit first")
    return value


def named_split(name: str) -> "Split":
    """The split of this name.

    Raises:
        Ig3dError: there is none.
    """
    from ig3d_ray.types import SPLITS

    for split in SPLITS:
        if name == split:
            return split
    raise Ig3dError(f"--split {name}: allowed: {', '.join(SPLITS)}")
