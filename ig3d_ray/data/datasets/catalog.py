"""Looks data sets up by name: built in, declared in a file, or created in a storage."""

from functools import cache
from pathlib import Path

from ig3d_ray.data.datasets.declaration import Dataset
from ig3d_ray.data.declarations import parsed, published, shipped_names, shipped_text
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.json_files import sealed
from ig3d_ray.storage.store import Store
from ig3d_ray.storage.yaml_files import read_yaml

PACKAGE = "ig3d_ray.data.datasets"
BUILT_IN: tuple[str, ...] = shipped_names(PACKAGE)
# Declarations of this process, as a registry of codecs: a name means the same everywhere in it.
_DECLARED: dict[str, Dataset] = {}


@cache
def _built_in(name: str) -> Dataset:
    return _parsed(shipped_text(PACKAGE, name), f"{name}.yaml")


def _parsed(text: str, what: str) -> Dataset:
    return parsed(Dataset, text, what, "a data set is a mapping (name: ..., classes: ...)")


def _stored(store: Store, place: str) -> Dataset:
    return published(Dataset, store, place)


def read_declaration(file: Path) -> Dataset:
    """The data set that a YAML file declares.

    Raises:
        Ig3dError: the file can't be read, or a field is wrong; the message names the file and the field.
    """
    return _parsed(read_yaml(file), str(file))


def dataset(name: str) -> Dataset:
    """The data set of this name.

    Raises:
        Ig3dError: there is no such data set; the message lists the known ones.
    """
    found = find(name)
    if found is None:
        own = "; your own: `ig3d data create FILE.yaml --storage URI`"
        raise Ig3dError(f"unknown dataset {name!r}; known: {', '.join(known())}{own}")
    return found


def find(name: str) -> Dataset | None:
    """The data set of this name, None if there is none."""
    return _DECLARED.get(name) or (_built_in(name) if name in BUILT_IN else None)


def known() -> list[str]:
    """The names of all data sets, sorted."""
    return sorted({*BUILT_IN, *_DECLARED})


def declare(about: Dataset) -> Dataset:
    """Make a data set known by its name in this process.

    Raises:
        Ig3dError: another data set has this name.
    """
    there = find(about.name)
    if there is not None and there.digest != about.digest:
        kind = "the built-in data set" if about.name in BUILT_IN else "another data set of this process"
        raise Ig3dError(f"dataset {about.name!r} is the name of {kind}; choose another name in the declaration")
    if about.name not in BUILT_IN:
        # The newest has the synonyms and attributes that were added.
        _DECLARED[about.name] = about
    return about


def create(store: Store, about: Dataset) -> None:
    """Declare a data set and publish its declaration in a storage.

    Args:
        store: where it is published.
        about: the declaration.

    Raises:
        Ig3dError: the storage or the process has another data set of this name.
    """
    declare(about)
    publish(store, about)


def publish(store: Store, about: Dataset) -> None:
    """Publish the declaration of a data set that is not built in, where later commands and workers find it.

    Args:
        store: where it is published.
        about: the declaration.

    Raises:
        Ig3dError: the storage has other classes or labels under this name, or attributes that this one lacks.
    """
    if about.name in BUILT_IN:
        return
    place, text = paths.declaration(about.name), sealed(about.model_dump(mode="json"))
    if store.exists(place):
        there = _stored(store, place)
        lost = [name for name in there.attributes if name not in about.attributes]
        if there.digest != about.digest or lost:
            what = f"the attribute {lost[0]}" if lost else "other classes or labels"
            raise Ig3dError(f"{store.locate(place)}: declares {what} under this name; choose another name, or storage")
        if store.read(place) == text.encode():
            return
    store.write(place, text.encode())


def known_in(store: Store) -> list[str]:
    """The names of all data sets, with those that were created in a storage, sorted."""
    for place in store.names(paths.DECLARED_DATASETS):
        declare(_stored(store, place))
    return known()


def use(store: Store, name: str) -> Dataset:
    """The data set of this name, its declaration read from a storage if it is not built in.

    Raises:
        Ig3dError: neither this process nor the storage has it.
    """
    place = paths.declaration(name)
    if name not in BUILT_IN and name not in _DECLARED and store.exists(place):
        declare(_stored(store, place))
    return dataset(name)
