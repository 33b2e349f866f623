"""`ig3d rm ...`: deleting a member, a search or a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli.locate import spec_at
from ig3d_ray.cli.options import Dataset, Storage
from ig3d_ray.cli.say import say
from ig3d_ray.errors import Ig3dError

if TYPE_CHECKING:
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.removal import Removal

rm_app = typer.Typer(help="Delete a member, a search or a data set, with what depends on it.", no_args_is_help=True)
Yes = Annotated[bool, typer.Option("--yes", help="Delete what is listed; without, it is only listed.")]


@rm_app.command("member", epilog="Example: ig3d rm member cnn-w16-ce-s0 --dataset faces --storage runs")
def rm_member(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="Its name or fingerprint, as `ig3d ls` shows them.")],
    dataset: Dataset,
    storage: Storage,
    yes: Yes = False,
) -> None:
    """Delete a member, its outputs, and the searches whose ensembles contain it."""
    from ig3d_ray.workflow.removal import remove_member

    store = _store(storage)
    _finish(store, remove_member(store, dataset, member), yes)


@rm_app.command("search", epilog="Example: ig3d rm search faces-1a2b3c4d --storage runs")
def rm_search(
    search: Annotated[str, typer.Argument(metavar="SEARCH", help="Its name, as `ig3d ls` shows it, or its folder.")],
    storage: Storage,
    yes: Yes = False,
) -> None:
    """Delete a search with its spec, candidates and report."""
    from ig3d_ray.storage import paths
    from ig3d_ray.workflow.removal import remove_search

    store = _store(storage)
    # A folder without a spec too: that of a search, or of a deletion, that was killed.
    key = paths.parse_search(str(Path(search).absolute()) if Path(search).is_dir() else spec_at(search, storage))
    _finish(store, remove_search(store, f"{paths.searches_folder(key.dataset)}/{key.search}"), yes)


@rm_app.command("dataset", epilog="Example: ig3d rm dataset faces --storage runs")
def rm_dataset(
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Name of the data set.")],
    storage: Storage,
    yes: Yes = False,
) -> None:
    """Delete a data set with its samples, members and searches."""
    from ig3d_ray.workflow.removal import remove_dataset

    store = _store(storage)
    _finish(store, remove_dataset(store, dataset), yes)


def _store(storage: str) -> "Store":
    from ig3d_ray.storage.leases import Leases
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    store.check_there()
    store.prepare()
    # What a deletion left that was killed at its very end.
    with Leases(store) as leases:
        leases.sweep_abandoned("searches/")
    return store


def _finish(store: "Store", removal: "Removal", yes: bool) -> None:
    from ig3d_ray.workflow.removal import carry_out

    if yes:
        carry_out(store, removal)
    for line in removal.what:
        say(f"{'deleted' if yes else 'would delete'}: {line}")
    if not yes:
        raise Ig3dError("nothing was deleted; to delete what is listed, repeat the command with --yes")
