"""`ig3d data ...`: data sets from what their publishers hand out, and checks of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ig3d_ray.cli.options import Dataset, Seed, SplitName, Storage, check_suffix
from ig3d_ray.cli.say import say
from ig3d_ray.cli.tables import Classes, known_dataset
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths

if TYPE_CHECKING:
    from ig3d_ray.data import datasets
    from ig3d_ray.data.ingest.build import Ingested
    from ig3d_ray.data.ingest.features import FeatureImport
    from ig3d_ray.data.ingest.layouts import Layout
    from ig3d_ray.storage.store import Store

data_app = typer.Typer(help="Make data sets, and check them.", no_args_is_help=True)
Images = Annotated[Path, typer.Option(metavar="DIR", help="The publisher's folder of images.")]
DevShare = Annotated[float, typer.Option(min=0.01, max=0.5, help="Share of each training class that becomes dev.")]
TestShare = Annotated[
    float, typer.Option(min=0.01, max=0.9, help="Share of each class that becomes test, where no split is given.")
]
Treated = Literal["keep", "drop", "together"]
Counted = Literal["exact", "near", "altered"]
Duplicates = Annotated[
    Treated,
    typer.Option(help="Copies of an image: keep them, drop all but one, or put them into one split together."),
]
Alike = Annotated[
    Counted,
    typer.Option(
        help="What counts as a copy: the same file; also resized, recompressed, brighter or mirrored; also rotated,"
        " cropped or partly covered."
    ),
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the data set that is stored.")]


@data_app.command("faces", epilog="Example: ig3d data faces --storage runs --samples 4000 --sheet faces.png")
def data_faces(
    storage: Annotated[
        str | None, typer.Option("--storage", metavar="URI", help="Storage that gets the data set.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Number of faces, at least 200.")] = 4000,
    seed: Seed = 0,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw a contact sheet of the expressions.")
    ] = None,
) -> None:
    """Draw the built-in data set: faces with expressions, and 3D parameters as an encoder would output them."""
    from ig3d_ray.data.synthetic.faces import contact_sheet
    from ig3d_ray.storage.output_files import write_file
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.drawn_faces import draw_faces

    if storage is None and sheet is None:
        raise Ig3dError("nothing to do: give --storage URI, --sheet FILE.png, or both")
    if sheet is not None:
        check_suffix(sheet, (".png",), "--sheet")
    if storage is not None:
        store = Store(storage)
        store.prepare()
        drawn = draw_faces(store, samples, seed)
        say(f"{store.locate(paths.dataset_folder('faces'))}: {len(drawn)} faces, fingerprint {drawn.fingerprint}")
    if sheet is not None:
        write_file(sheet, contact_sheet(seed))
        say(f"{sheet}: ten faces of each expression")


@data_app.command("create", epilog="Example: ig3d data create mine.yaml --storage runs")
def data_create(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="Declaration: name, classes in order, va.")],
    storage: Storage,
) -> None:
    """Declare a data set of your own in a storage: its classes in order, its range of valence and arousal."""
    from ig3d_ray.data import datasets
    from ig3d_ray.storage.store import Store

    about = datasets.read_declaration(file)
    store = Store(storage)
    store.prepare()
    datasets.create(store, about)
    say(f"{about.name}: {', '.join(about.tasks)}; declared in {store.locate(paths.declaration(about.name))}")
    for line in about.lines():
        say(line)


@data_app.command("datasets", epilog="Example: ig3d data datasets --storage runs")
def data_datasets(
    storage: Annotated[
        str | None, typer.Option("--storage", metavar="URI", help="Storage whose own data sets are listed too.")
    ] = None,
) -> None:
    """List the known data sets with their classes in order, and where these are documented."""
    from ig3d_ray.data import datasets
    from ig3d_ray.storage.store import Store

    for name in datasets.known_in(Store(storage)) if storage is not None else datasets.known():
        about = datasets.dataset(name)
        say(f"{name}: {about.about}" if about.about else name)
        for line in about.lines():
            say(f"  {line}")
        if about.source:
            say(f"  documented in: {about.source}")


@data_app.command("folder", epilog="Example: ig3d data folder faces/ --dataset fer2013 --storage runs")
def data_folder(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Class folders by number or name, or splits of them.")],
    dataset: Dataset,
    storage: Storage,
    classes: Classes = None,
    dev_share: DevShare = 0.1,
    test_share: TestShare = 0.2,
    seed: Seed = 0,
    duplicates: Duplicates = "keep",
    alike: Alike = "near",
    replace: Replace = False,
) -> None:
    """Make a data set of a folder with a folder per class."""
    from ig3d_ray.data.ingest.folders import read_folders

    store, about = _target(storage, dataset, classes)
    layout = read_folders(_folder(folder, ""), about)
    _ingest(store, about.name, layout, (dev_share, test_share), seed, replace, (duplicates, alike))


@data_app.command("table", epilog="Example: ig3d data table faces.csv --images faces/ --dataset mine --storage runs")
def data_table(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, Parquet, NPZ or JSON: path, label, split, ...")],
    dataset: Dataset,
    storage: Storage,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder that paths are relative to; by default the table's.")
    ] = None,
    classes: Classes = None,
    dev_share: DevShare = 0.1,
    test_share: TestShare = 0.2,
    seed: Seed = 0,
    duplicates: Duplicates = "keep",
    alike: Alike = "near",
    replace: Replace = False,
) -> None:
    """Make a data set of a table: path, label or votes, valence, arousal, split, group, attributes."""
    from ig3d_ray.data.ingest.sheets import read_sheet

    store, about = _target(storage, dataset, classes)
    layout = read_sheet(file, _folder(images) if images else None, about)
    _ingest(store, about.name, layout, (dev_share, test_share), seed, replace, (duplicates, alike))


@data_app.command(
    "affectnet", epilog="Example: ig3d data affectnet --images AffectNet/ --annotations train.csv --storage runs"
)
def data_affectnet(
    images: Images,
    storage: Storage,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(metavar="CSV", help="Labels of a part; the file's name says train or val. Repeatable."),
    ] = None,
    dataset: Annotated[
        Literal["affectnet8", "affectnet7", "affectnet_va"], typer.Option(help="Which classes and labels.")
    ] = "affectnet8",
    dev_share: DevShare = 0.1,
    seed: Seed = 0,
    duplicates: Duplicates = "keep",
    alike: Alike = "near",
    replace: Replace = False,
) -> None:
    """AffectNet as of 2017, 2021 or later: with CSV files, annotations in .npy files, or a folder per class."""
    from ig3d_ray.data.ingest.affectnet import annotation_part, read_affectnet

    store, about = _target(storage, dataset)
    files = {annotation_part(file): file for file in annotations or ()}
    layout = read_affectnet(_folder(images), files, about)
    if dataset == "affectnet_va" and all(entry.valence != entry.valence for entry in layout.entries):
        raise Ig3dError("--annotations: affectnet_va needs those of train and of val; class folders have no valence")
    _ingest(store, dataset, layout, (dev_share, 0.0), seed, replace, (duplicates, alike))


@data_app.command(
    "rafdb", epilog="Example: ig3d data rafdb --images aligned/ --labels list_patition_label.txt --storage runs"
)
def data_rafdb(
    images: Images,
    storage: Storage,
    labels: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="list_patition_label.txt, or Kaggle's CSV files; none for class folders."),
    ] = None,
    attributes: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of *_manu_attri.txt, if not beside the images.")
    ] = None,
    dev_share: DevShare = 0.1,
    seed: Seed = 0,
    duplicates: Duplicates = "keep",
    alike: Alike = "near",
    replace: Replace = False,
) -> None:
    """RAF-DB: the aligned images with their label file, or train and test with a folder per class."""
    from ig3d_ray.data.ingest.rafdb import read_rafdb

    store, about = _target(storage, "rafdb")
    layout = read_rafdb(_folder(images), labels or (), about, attributes)
    _ingest(store, "rafdb", layout, (dev_share, 0.0), seed, replace, (duplicates, alike))


@data_app.command(
    "features", epilog="Example: ig3d data features --dataset rafdb --representation emoca --from emoca/ --storage runs"
)
def data_features(
    dataset: Dataset,
    representation: Annotated[str, typer.Option(metavar="NAME", help="emoca, smirk, landmarks, ..., or your own.")],
    source: Annotated[
        Path,
        typer.Option("--from", metavar="PATH", help="A folder of files, or one .csv, .tsv, .npz or .parquet."),
    ],
    storage: Storage,
    split: Annotated[
        SplitName | None, typer.Option(help="Split of the files, where a name occurs in train and in test.")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(metavar="GROUP=FIRST:END", help="Columns of a CSV, from 0. Repeatable.")
    ] = None,
) -> None:
    """Import parameters of the faces: JSON or .npy files, folders of them, or one merged file; none is filled in."""
    from ig3d_ray.cli.terminal import log_to_stderr
    from ig3d_ray.data import representations
    from ig3d_ray.data.ingest.features import import_features, parse_columns
    from ig3d_ray.data.samples import load_samples
    from ig3d_ray.storage.leases import exclusive
    from ig3d_ray.storage.store import Store

    log_to_stderr()
    store = Store(storage)
    load_samples(store, dataset, only=())
    store.prepare()
    representations.representation(representation)
    places = parse_columns(columns) if columns else None
    # Nobody else changes the table between reading and writing it, or one of the two changes would be lost.
    table = f"samples/{dataset}"
    with exclusive(store, table) as leases:
        fence = leases.fence(table, paths.samples_table(dataset))
        samples = load_samples(store, dataset)
        done = import_features(store, samples, representation, source, split, places, fence)
    _print_imported(store, done, representation, source)


@data_app.command("representation", epilog="Example: ig3d data representation mine.yaml --storage runs")
def data_representation(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="Declaration: name, groups with widths, subsets.")],
    storage: Storage,
) -> None:
    """Declare a representation of your own in a storage: its groups in order with their widths."""
    from ig3d_ray.data import representations
    from ig3d_ray.storage.store import Store

    about = representations.read_declaration(file)
    store = Store(storage)
    store.prepare()
    representations.create(store, about)
    where = store.locate(paths.declared_representation(about.name))
    groups = ", ".join(f"{name} {size}" for name, size in about.sizes)
    say(f"{about.name}: {about.width} values ({groups}); subsets {', '.join(about.subset_names)}; declared in {where}")


def _target(storage: str, dataset: str, classes: str | None = None) -> "tuple[Store, datasets.Dataset]":
    """The storage, and the data set in it."""
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    store.prepare()
    return store, known_dataset(store, dataset, classes)


def _ingest(
    store: "Store",
    dataset: str,
    layout: "Layout",
    shares: tuple[float, float],
    seed: int,
    replace: bool,
    duplicates: tuple[Treated, Counted],
) -> None:
    from ig3d_ray.cli.terminal import log_to_stderr
    from ig3d_ray.data.ingest.build import CopiesPlan, Shares, ingest

    if duplicates[0] == "keep" and duplicates[1] != "near":
        raise Ig3dError(f"--alike {duplicates[1]}: copies are kept; add --duplicates together, or drop")
    log_to_stderr()
    done = ingest(store, dataset, layout, Shares(*shares), seed, replace, CopiesPlan(*duplicates))
    for note in layout.notes:
        say(f"read: {note}")
    _print_ingested(store, done)


def _folder(images: Path, option: str = "--images ") -> Path:
    if not images.is_dir():
        raise Ig3dError(f"{option}{images}: no such folder")
    return images


def _print_ingested(store: "Store", done: "Ingested") -> None:
    from ig3d_ray.data.ingest.build import class_table, reasons

    samples = done.samples
    folder = store.locate(paths.dataset_folder(samples.dataset))
    say(f"{folder}: {len(samples)} samples, fingerprint {samples.fingerprint}")
    _print_copies(store, done)
    for split, counts in class_table(samples).items():
        say(f"{split}: {int(counts.sum())} samples; per class {' '.join(map(str, counts.tolist()))}")
    _print_excluded(store, samples.dataset, reasons(done.skipped))


def _print_copies(store: "Store", done: "Ingested") -> None:
    if done.copies is None:
        return
    groups = done.copies.groups
    images, different = sum(len(part) for part in groups), len(done.copies.contradicting)
    say(f"copies: {len(groups)} sets of {images} images, {different} of them with different classes")
    if done.moved:
        say(f"copies: {len(done.moved)} samples moved to the split of their copies, such as {' '.join(done.moved[0])}")
    say(f"all of them: {store.locate(paths.copies(done.samples.dataset))}")


def _print_imported(store: "Store", done: "FeatureImport", representation: str, source: Path) -> None:
    from ig3d_ray.data.ingest.build import reasons

    samples = done.samples
    say(f"{representation}: {done.added} of {len(samples)} samples have parameters from {source}")
    _print_excluded(store, samples.dataset, reasons(done.skipped))


def _print_excluded(store: "Store", dataset: str, reasons: list[str]) -> None:
    for line in reasons:
        say(f"excluded: {line}")
    if reasons:
        say(f"all of them: {store.locate(paths.skipped_files(dataset))}")
