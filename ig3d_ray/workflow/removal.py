"""Deleting a member, a search or a data set, with what depends on it."""

from dataclasses import dataclass

from ig3d_ray.data import datasets
from ig3d_ray.ensembles.spec import read_ensemble
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitStore, MemberCard
from ig3d_ray.storage import paths
from ig3d_ray.storage.leases import Leases
from ig3d_ray.storage.store import Store
from ig3d_ray.types import SPLITS


@dataclass(frozen=True)
class Removal:
    """What is to be deleted.

    Attributes:
        what: described, one line each: first what was asked for, then what depends on it.
        folders: keys and folders of the storage, in the order in which they are deleted: what depends on others first,
            so that a killed deletion leaves nothing that refers to what is gone.
        leases: names that no living run may hold.
    """

    what: tuple[str, ...]
    folders: tuple[str, ...]
    leases: tuple[str, ...]


def remove_member(store: Store, dataset: str, name: str) -> Removal:
    """A member with its outputs, the searches whose ensembles contain it, and, if it is the last one of a data set
    without a samples table, the labels that came with predictions.

    Args:
        store: the storage.
        dataset: of the member.
        name: of the member, or its fingerprint.

    Raises:
        Ig3dError: there is no such member, or there are several of this name.
    """
    datasets.use(store, dataset)
    cards = LogitStore(store).members(dataset)
    if not any(name in (card.name, card.fingerprint) for card in cards):
        _sweep_removed(store, dataset)
    card = _one(cards, dataset, name)
    using = [one for one, members in _searches(store, dataset).items() if card.fingerprint in members]
    what = [f"member {card.name} ({card.fingerprint}): outputs on {', '.join(card.splits)}"]
    what += [f"search {one}, whose ensemble contains it" for one in using]
    folders = [
        *using,
        f"{paths.logits_folder(dataset)}/{card.fingerprint}",
        paths.member_folder(dataset, card.fingerprint),
    ]
    if len(cards) == 1 and not store.exists(paths.samples_table(dataset)):
        labels = [one for one in (paths.labels_table(dataset, split) for split in SPLITS) if store.exists(one)]
        what += [f"{one.rsplit('/', 1)[1]}, since {dataset} has no other member and no samples table" for one in labels]
        folders += labels
    return Removal(tuple(what), tuple(folders), (paths.member_lease(dataset, card.fingerprint), *using))


def remove_search(store: Store, folder: str) -> Removal:
    """A search with its spec, candidates and report; nothing depends on it.

    Args:
        store: the storage.
        folder: `searches/<dataset>/<search>`.
    """
    return Removal((f"search {folder}: spec, candidates and report",), (folder,), (folder,))


def remove_dataset(store: Store, dataset: str) -> Removal:
    """A data set with its samples, members, searches, and what trainings took.

    Args:
        store: the storage.
        dataset: its name.

    Raises:
        Ig3dError: the storage has nothing of it.
    """
    places = {
        "searches": paths.searches_folder(dataset),
        "logit tables": paths.logits_folder(dataset),
        "files of members": paths.members_folder(dataset),
        "files of extractions": f"extracted/{dataset}",
        "durations of trainings": paths.timings_folder(dataset),
        "files of the data set": paths.dataset_folder(dataset),
        "declaration": paths.declaration(dataset),
    }
    counts = {place: _count(store, place) for place in places.values()}
    # A command that was killed may have left a folder without files.
    there = {kind: place for kind, place in places.items() if counts[place] or store.exists(place)}
    if not there:
        known = ", ".join(sorted(paths.first_folders(store.names("datasets"), "datasets"))) or "none"
        raise Ig3dError(f"{dataset}: {store.uri} has nothing of it; data sets there: {known}")
    what = [f"{kind}: {counts[place]} in {place}" for kind, place in reversed(list(there.items()))]
    leased = [paths.parse_lease(one) for one in store.names(paths.LEASES)]
    own = (f"{paths.members_folder(dataset)}/", f"{paths.searches_folder(dataset)}/")
    names = sorted({one.name for one in leased if one is not None and one.name.startswith(own)})
    return Removal(tuple(what), tuple(there.values()), tuple(names))


def carry_out(store: Store, removal: Removal) -> None:
    """Delete it.

    Args:
        store: the storage.
        removal: what.

    Raises:
        Ig3dError: a living run uses some of it; nothing is deleted then.
    """
    with Leases(store) as leases:
        for name in removal.leases:
            owner = leases.acquire(name)
            if owner is not None:
                raise Ig3dError(f"{name}: a run uses it ({owner.host}, pid {owner.pid}); end that run first")
        for folder in removal.folders:
            store.remove(folder)


def _sweep_removed(store: Store, dataset: str) -> None:
    """Delete the leases and empty folders of members whose deletion was killed after their last file."""
    of_members = f"{paths.members_folder(dataset)}/"
    leased = {key.name for key in map(paths.parse_lease, store.names(paths.LEASES)) if key is not None}
    with Leases(store) as leases:
        for name in sorted(one for one in leased if one.startswith(of_members)):
            own = paths.member_folder(dataset, name.removeprefix(of_members))
            outputs = f"{paths.logits_folder(dataset)}/{name.removeprefix(of_members)}"
            # Nobody else may begin with it meanwhile.
            if store.names(own) or store.names(outputs) or leases.acquire(name) is not None:
                continue
            store.remove(own)
            store.remove(outputs)


def _one(cards: list[MemberCard], dataset: str, name: str) -> MemberCard:
    found = [card for card in cards if name in (card.name, card.fingerprint)]
    if len(found) > 1:
        marks = ", ".join(card.fingerprint for card in found)
        raise Ig3dError(f"{name}: {len(found)} members of {dataset} have this name; give a fingerprint: {marks}")
    if not found:
        known = ", ".join(sorted(card.name for card in cards)[:5]) or "none"
        raise Ig3dError(f"{name}: no member of {dataset}; its members: {known}")
    return found[0]


def _searches(store: Store, dataset: str) -> dict[str, set[str]]:
    """Folder of each finished search -> the fingerprints of its ensemble's members."""
    specs = [one for one in store.names(paths.searches_folder(dataset)) if one.endswith(paths.SPEC_FILE)]
    return {
        one.removesuffix(f"/{paths.SPEC_FILE}"): {m.fingerprint for m in read_ensemble(store.locate(one)).members}
        for one in specs
    }


def _count(store: Store, place: str) -> int:
    return len(store.names(place)) or int(store.exists(place) and store.size(place) is not None)
