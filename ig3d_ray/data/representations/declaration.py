"""The declaration of a representation, as a YAML file has it.

The published code of the paper concatenates groups in whatever order a JSON file has them. Here the order is the
declaration's, stored with each model, and never depends on a file.
"""

import hashlib
import json
from collections.abc import Collection
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from ig3d_ray.types import Frozen, View

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
Subset = Name
# Reason for excluding an all-zero vector, which some extractions write where no face was found.
ALL_ZERO = "all its numbers are 0, as some write where no face was found"
RESERVED = frozenset({"sample_id", "split", "image", "expression", "valence", "arousal", "group", "predictions"})


class Group(Frozen):
    """Numbers that belong together: as many as `width`, or one for each of `names`."""

    width: int | None = Field(default=None, ge=1, le=100_000)
    """How many numbers it has."""
    names: tuple[str, ...] = ()
    """Columns by name, such as those of action units."""
    key: str | None = None
    """The name of the group in JSON files, where it is another."""

    @model_validator(mode="after")
    def _has_a_width(self) -> Self:
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"names: {next(n for n in self.names if self.names.count(n) > 1)!r} is there twice")
        if self.width is None and not self.names:
            raise ValueError("width: is missing; give the number of values, or their names")
        if self.width is not None and self.names and len(self.names) != self.width:
            raise ValueError(f"width: {self.width}, but {len(self.names)} names; leave one of the two out")
        return self

    @property
    def size(self) -> int:
        """The number of values."""
        return self.width or len(self.names)


class Declaration(Frozen):
    """A representation: its groups in order, and named subsets of them."""

    name: Name
    """The word used in configuration and paths."""
    about: str = ""
    """One line for people."""
    source: str = ""
    """Where the groups and their order are documented."""
    view: View = "3d"
    """The view of a face that these numbers are; members of different views are paired."""
    groups: dict[Name, Group] = Field(min_length=1)
    """In the order of the vector; in YAML a number is a width, a list are names."""
    subsets: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    """Name -> groups; `full` has all of them."""
    aliases: tuple[str, ...] = ()
    """Other names of its columns in files."""

    @field_validator("groups", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: _long_form(group) for name, group in value.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.name in RESERVED:
            raise ValueError(f"name: {self.name!r} is the name of a column of samples; choose another")
        for subset, groups in self.subsets.items():
            unknown = [name for name in groups if name not in self.groups]
            if unknown or not groups or len(set(groups)) < len(groups):
                what = f"{unknown[0]!r} is no group" if unknown else "must name groups, each once"
                raise ValueError(f"subsets.{subset}: {what}; groups: {', '.join(self.groups)}")
        if set(self.subsets.get("full", self.groups)) != set(self.groups):
            raise ValueError("subsets.full: has all groups; name this subset otherwise")
        return self

    @cached_property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """(name, size) of each group, in order."""
        return tuple((name, group.size) for name, group in self.groups.items())

    @cached_property
    def width(self) -> int:
        """The number of values of the whole vector."""
        return sum(size for _, size in self.sizes)

    @property
    def subset_names(self) -> tuple[str, ...]:
        """Every subset, `full` included."""
        return (*(name for name in self.subsets if name != "full"), "full")

    def subset_sizes(self, subset: str) -> tuple[tuple[str, int], ...]:
        """(name, size) of each group of a subset, in the order of the vector.

        Args:
            subset: one of `subset_names`.
        """
        kept = self.groups if subset == "full" else self.subsets[subset]
        return tuple((name, size) for name, size in self.sizes if name in kept)

    def subset_columns(self, subset: str) -> np.ndarray:
        """Which columns of the full vector a subset keeps: `[D]` int64, ascending.

        Args:
            subset: one of `subset_names`.
        """
        return self.group_columns({name for name, _ in self.subset_sizes(subset)})

    def group_columns(self, kept: Collection[str]) -> np.ndarray:
        """Which columns of the full vector some groups have: `[D]` int64, ascending.

        Args:
            kept: names of groups.
        """
        columns, start = [], 0
        for name, size in self.sizes:
            if name in kept:
                columns.append(np.arange(start, start + size))
            start += size
        return np.concatenate(columns)

    @property
    def digest(self) -> str:
        """16 hex digits over the groups, the subsets and the view."""
        names = {name: group.names for name, group in self.groups.items()}
        content = json.dumps([self.sizes, names, self.subsets, self.view])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def _long_form(group: Any) -> Any:
    if isinstance(group, int) and not isinstance(group, bool):
        return {"width": group}
    return {"names": group} if isinstance(group, list | tuple) else group
