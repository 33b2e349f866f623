"""`ig3d data ...`: make a data set from what its publisher gives out, and look at it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths

if TYPE_CHECKING:
    from ig3d_ray.data.ingest.build import Ingested
    from ig3d_ray.data.representations import Representation
    from ig3d_ray.data.samples import Samples
    from ig3d_ray.storage.store import Store

data_app = typer.Typer(help="Make data sets, and look at them.", no_args_is_help=True)
Out = Annotated[str, typer.Option("--out", "--storage", metavar="URI", help="The store that gets the data set.")]
Images = Annotated[Path, typer.Option(metavar="DIR", help="The publisher's folder of pictures.")]
DevShare = Annotated[float, typer.Option(min=0.01, max=0.5, help="How much of each class of train becomes dev.")]
Seed = Annotated[int, typer.Option(min=0, help="Which samples become dev follows from it.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the data set that is there.")]


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
    from ig3d_ray.data.synthetic.faces import contact_sheet
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.pipeline import draw_faces

    if out is None and sheet is None:
        raise Ig3dError("nothing to do: give --out URI, --sheet FILE.png, or both")
    if sheet is not None:
        check_ending(sheet, ".png", "--sheet")
    if out is not None:
        store = Store(out)
        store.prepare()
        made = draw_faces(store, samples, seed)
        print(f"{store.locate(paths.dataset_folder('faces'))}: {len(made)} faces, fingerprint {made.fingerprint}")
    if sheet is not None:
        Store(str(sheet.absolute().parent)).write(sheet.name, contact_sheet(seed))
        print(f"{sheet}: ten faces of each expression")


@data_app.command("affectnet")
def data_affectnet(
    images: Images,
    out: Out,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(metavar="CSV", help="number,exp,val,aro; one whose name says train, one val. Repeatable."),
    ] = None,
    dataset: Annotated[str, typer.Option(help="affectnet8, affectnet7 or affectnet_va.")] = "affectnet8",
    dev_share: DevShare = 0.1,
    seed: Seed = 0,
    replace: Replace = False,
) -> None:
    """AffectNet: train_set and val_set (flat, or a folder per class), with annotations or without."""
    from ig3d_ray.data import datasets
    from ig3d_ray.data.ingest.build import ingest
    from ig3d_ray.data.ingest.layouts import annotation_part, read_affectnet
    from ig3d_ray.storage.store import Store

    if not dataset.startswith("affectnet"):
        raise Ig3dError(f"--dataset {dataset}: allowed: affectnet8, affectnet7, affectnet_va")
    about, files = datasets.dataset(dataset), {annotation_part(file): file for file in annotations or ()}
    if dataset == "affectnet_va" and len(files) < 2:
        raise Ig3dError("--annotations: affectnet_va needs those of train and of val: folders tell no valence")
    store = Store(out)
    store.prepare()
    layout = read_affectnet(_folder(images), files, about)
    _told(store, ingest(store, dataset, layout, dev_share, seed, replace, print))


@data_app.command("rafdb")
def data_rafdb(
    images: Images,
    out: Out,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="list_patition_label.txt; none for folders per class.")
    ] = None,
    dev_share: DevShare = 0.1,
    seed: Seed = 0,
    replace: Replace = False,
) -> None:
    """RAF-DB: the aligned pictures with their label file, or train and test with a folder per class."""
    from ig3d_ray.data import datasets
    from ig3d_ray.data.ingest.build import ingest
    from ig3d_ray.data.ingest.layouts import read_rafdb
    from ig3d_ray.storage.store import Store

    store = Store(out)
    store.prepare()
    layout = read_rafdb(_folder(images), labels, datasets.dataset("rafdb"))
    _told(store, ingest(store, "rafdb", layout, dev_share, seed, replace, print))


@data_app.command("features")
def data_features(
    dataset: Annotated[str, typer.Option(help="Whose samples the parameters are of.")],
    out: Out,
    emoca: Annotated[Path | None, typer.Option(metavar="PATH", help="A folder, or a .csv, .npz, .parquet.")] = None,
    smirk: Annotated[Path | None, typer.Option(metavar="PATH", help="The same, of SMIRK's.")] = None,
    split: Annotated[str | None, typer.Option(help="train or test, where a name stands in both.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option(metavar="GROUP=FIRST:END", help="Places in a CSV, from 0. Repeatable.")
    ] = None,
) -> None:
    """3D parameters: JSON files, EMOCA's output folders, or one merged file; nothing missing is filled up."""
    from ig3d_ray.data.ingest.build import reasons
    from ig3d_ray.data.ingest.features import import_features, parse_columns
    from ig3d_ray.data.samples import load_samples
    from ig3d_ray.storage.leases import alone
    from ig3d_ray.storage.store import Store

    if emoca is None and smirk is None:
        raise Ig3dError("nothing to read: give --emoca PATH, --smirk PATH, or both")
    if split not in (None, "train", "dev", "test"):
        raise Ig3dError(f"--split {split}: allowed: train (with dev), dev, test (AffectNet's val)")
    store = Store(out)
    load_samples(store, dataset)
    places = parse_columns(columns) if columns else None
    given: tuple[tuple[Representation, Path | None], ...] = (("emoca", emoca), ("smirk", smirk))
    # Nobody else changes the table between reading and writing it, or one of the two would be lost.
    with alone(store, f"samples/{dataset}", print):
        for representation, source in given:
            if source is not None:
                done = import_features(store, load_samples(store, dataset), representation, source, split, places)
                _features_told(store, done.samples, representation, source, done.added, reasons(done.skipped))


@data_app.command("check")
def data_check(dataset: Annotated[str, typer.Option(help="Which data set.")], out: Out) -> None:
    """Counts per class against the published ones, missing features, the same picture twice. Faults: exit code 1."""
    from rich.console import Console
    from rich.table import Table

    from ig3d_ray.data.check import check_data
    from ig3d_ray.data.samples import load_samples
    from ig3d_ray.storage.store import Store

    store = Store(out)
    found = check_data(store, load_samples(store, dataset))
    table = Table(title=f"{dataset}: classes 0 to {len(found.class_names) - 1}, in this order")
    table.add_column("")
    for number, name in enumerate(found.class_names):
        table.add_column(f"{number} {name}", justify="right")
    table.add_column("all", justify="right")
    for what, counts, total in found.counts:
        table.add_row(what, *(f"{count:,}" for count in counts), f"{total:,}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)
    for note in found.notes:
        print(f"note: {note}")
    for fault in found.faults:
        print(f"FAULT: {fault}")
    if found.faults:
        raise typer.Exit(1)


def check_ending(file: Path, endings: str | tuple[str, ...], option: str) -> None:
    """Refuse an output file of another kind, or in a folder that isn't there."""
    allowed = (endings,) if isinstance(endings, str) else endings
    if file.suffix.lower() not in allowed:
        raise Ig3dError(f"{option} {file}: this writes {' or '.join(allowed)} only; let the name end so")
    if not file.absolute().parent.is_dir():
        raise Ig3dError(f"{option} {file}: there is no folder {file.absolute().parent}; make it first")


def _folder(images: Path) -> Path:
    if not images.is_dir():
        raise Ig3dError(f"--images {images}: no such folder")
    return images


def _told(store: "Store", done: "Ingested") -> None:
    from ig3d_ray.data.ingest.build import class_table, reasons

    samples = done.samples
    where = store.locate(paths.dataset_folder(samples.dataset))
    print(f"{where}: {len(samples)} samples, fingerprint {samples.fingerprint}")
    for split, counts in class_table(samples).items():
        print(f"{split}: {int(counts.sum())} samples; per class {' '.join(map(str, counts.tolist()))}")
    _skips_told(store, samples.dataset, reasons(done.skipped))


def _features_told(store: "Store", samples: "Samples", name: str, source: Path, added: int, why: list[str]) -> None:
    print(f"{name}: {added} of {len(samples)} samples have parameters from {source}")
    _skips_told(store, samples.dataset, why)


def _skips_told(store: "Store", dataset: str, why: list[str]) -> None:
    for line in why:
        print(f"skipped: {line}")
    if why:
        print(f"all of them: {store.locate(paths.skipped_files(dataset))}")
