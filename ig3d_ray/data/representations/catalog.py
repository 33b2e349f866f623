"""Looks representations up by name: built in, declared in a file, or created in a storage."""

from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator

from ig3d_ray.data.declarations import parsed, published, shipped_names, shipped_text
from ig3d_ray.data.representations.declaration import Declaration
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.json_files import sealed
from ig3d_ray.storage.store import Store
from ig3d_ray.storage.yaml_files import read_yaml

PACKAGE = "ig3d_ray.data.representations"
BUILT_IN: tuple[str, ...] = shipped_names(PACKAGE)
# Declarations of this process, as a registry of codecs: a name means the same everywhere in it.
_DECLARED: dict[str, Declaration] = {}


@cache
def _built_in(name: str) -> Declaration:
    return _parsed(shipped_text(PACKAGE, name), f"{name}.yaml")


def _parsed(text: str, what: str) -> Declaration:
    return parsed(Declaration, text, what, "a representation is a mapping (name: ..., groups: {...})")


def _stored(store: Store, place: str) -> Declaration:
    return published(Declaration, store, place)


def read_declaration(file: Path) -> Declaration:
    """The representation that a YAML file declares.

    Raises:
        Ig3dError: the file can't be read, or a field is wrong; the message names the file and the field.
    """
    return _parsed(read_yaml(file), str(file))


def find(name: str) -> Declaration | None:
    """The representation of this name, None if there is none."""
    return _DECLARED.get(name) or (_built_in(name) if name in BUILT_IN else None)


def representation(name: str) -> Declaration:
    """The representation of this name.

    Raises:
        Ig3dError: there is no such representation; the message lists the known ones.
    """
    found = find(name)
    if found is None:
        own = "; your own: `ig3d data representation FILE.yaml --storage URI`"
        raise Ig3dError(f"unknown representation {name!r}; known: {', '.join(known())}{own}")
    return found


def known() -> list[str]:
    """The names of all representations, sorted."""
    return sorted({*BUILT_IN, *_DECLARED})


def declare(about: Declaration) -> Declaration:
    """Make a representation known by its name in this process.

    Raises:
        Ig3dError: another one has this name.
    """
    there = find(about.name)
    if there is not None and there.digest != about.digest:
        kind = "a built-in representation" if about.name in BUILT_IN else "another representation of this process"
        raise Ig3dError(f"representation {about.name!r} is the name of {kind}; choose another in the declaration")
    if about.name not in BUILT_IN:
        _DECLARED[about.name] = about
    return about


def create(store: Store, about: Declaration) -> None:
    """Declare a representation and publish its declaration in a storage.

    Raises:
        Ig3dError: the storage or the process has another one of this name.
    """
    declare(about)
    place, text = paths.declared_representation(about.name), sealed(about.model_dump(mode="json"))
    if store.exists(place) and _stored(store, place).digest != about.digest:
        raise Ig3dError(f"{store.locate(place)}: declares other groups under this name; choose another name")
    store.write(place, text.encode())


def known_in(store: Store) -> list[str]:
    """The names of all representations, with those that were created in a storage, sorted."""
    for place in store.names(paths.DECLARED_REPRESENTATIONS):
        declare(_stored(store, place))
    return known()


def groups_of(name: str) -> tuple[tuple[str, int], ...]:
    """(name, size) of each group of a representation, in order."""
    return representation(name).sizes


def width_of(name: str) -> int:
    """The number of values of a representation."""
    return representation(name).width


def subset_groups(name: str, subset: str) -> tuple[tuple[str, int], ...]:
    """(name, size) of each group in a subset of a representation, in order."""
    return representation(name).subset_sizes(subset)


def subset_columns(name: str, subset: str) -> np.ndarray:
    """Which columns of the full vector a subset keeps: `[D]` int64, ascending; D is 156 or 334 for EMOCA."""
    return representation(name).subset_columns(subset)


def _known(name: str) -> str:
    if find(name) is None:
        raise ValueError(f"allowed: {', '.join(known())}; your own: ig3d data representation FILE.yaml")
    return name


Representation = Annotated[str, AfterValidator(_known)]
