"""`ig3d ls`: what a storage holds."""

from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli.options import Storage
from ig3d_ray.cli.say import say
from ig3d_ray.storage import paths

if TYPE_CHECKING:
    from ig3d_ray.storage.store import Store


def ls(
    storage: Storage,
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="List this data set alone.")] = None,
) -> None:
    """List the data sets, members and searches of a storage."""
    from ig3d_ray.data import datasets
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    store.check_there()
    names = [datasets.use(store, dataset).name] if dataset else datasets.known_in(store)
    if not sum(_print_dataset(store, name) for name in names):
        say(f"{store.uri}: holds {'nothing of ' + dataset if dataset else 'no data set, member or search'}")


def _print_dataset(store: "Store", dataset: str) -> bool:
    """Print what there is of a data set; whether there is anything."""
    from ig3d_ray.data.samples import load_samples
    from ig3d_ray.ensembles.spec import read_ensemble
    from ig3d_ray.evaluation.logits import LogitStore
    from ig3d_ray.types import SPLITS

    has_samples = store.exists(paths.samples_table(dataset))
    cards = sorted(LogitStore(store).members(dataset), key=lambda card: card.name)
    specs = [name for name in store.names(paths.searches_folder(dataset)) if name.endswith(paths.SPEC_FILE)]
    if not (has_samples or cards or specs):
        return False
    say(dataset)
    if has_samples:
        samples = load_samples(store, dataset, only=())
        parts = ", ".join(f"{len(samples.in_split(split))} {split}" for split in SPLITS)
        say(f"  samples: {parts}; fingerprint {samples.fingerprint}")
    for card in cards:
        table = paths.logit_table(dataset, card.fingerprint, card.splits[0])
        say(f"  member {card.fingerprint}  {card.view:6} {card.name}  ({', '.join(card.splits)}){_date(store, table)}")
    for name in specs:
        spec = read_ensemble(store.locate(name))
        score = spec.scores.report.metrics[spec.objective]
        value = f"{score.value:.4f} [{score.low:.4f}, {score.high:.4f}]"
        folder = name.removesuffix(f"/{paths.SPEC_FILE}")
        say(f"  search {folder}: {spec.objective} {value}, {len(spec.members)} members{_date(store, name)}")
    return True


def _date(store: "Store", name: str) -> str:
    """When a file was last written, in local time."""
    found = store.modified(name)
    return f"  {found.astimezone():%Y-%m-%d %H:%M}" if found is not None else ""
