"""Representations of a face in numbers as declarations: groups of parameters in a fixed order, and named subsets.

The YAML files in this folder are built in; a user's own is read from a file, or from the storage that has it.
"""

from ig3d_ray.data.representations.catalog import (
    BUILT_IN,
    Representation,
    create,
    declare,
    find,
    groups_of,
    known,
    known_in,
    read_declaration,
    representation,
    subset_columns,
    subset_groups,
    width_of,
)
from ig3d_ray.data.representations.declaration import ALL_ZERO, Declaration, Group, Subset

__all__ = [
    "ALL_ZERO",
    "BUILT_IN",
    "Declaration",
    "Group",
    "Representation",
    "Subset",
    "create",
    "declare",
    "find",
    "groups_of",
    "known",
    "known_in",
    "read_declaration",
    "representation",
    "subset_columns",
    "subset_groups",
    "width_of",
]
