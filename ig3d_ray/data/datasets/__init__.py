"""Data sets as declarations: what is predicted, the classes in order, the range of valence and arousal.

The YAML files in this folder are built in; a user's own is read from a file, or from the storage that has it.
"""

from ig3d_ray.data.datasets.catalog import (
    BUILT_IN,
    create,
    dataset,
    declare,
    find,
    known,
    known_in,
    publish,
    read_declaration,
    use,
)
from ig3d_ray.data.datasets.declaration import Dataset, ExpressionClass, VaLabels

__all__ = [
    "BUILT_IN",
    "Dataset",
    "ExpressionClass",
    "VaLabels",
    "create",
    "dataset",
    "declare",
    "find",
    "known",
    "known_in",
    "publish",
    "read_declaration",
    "use",
]
