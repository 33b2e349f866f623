"""Finds columns by the names that people give them."""

from collections.abc import Iterable

from ig3d_ray.data.datasets.class_names import normalized
from ig3d_ray.data.tables.packed import Columns

SHOWN = 10
NAME_LENGTH, LINE_LENGTH = 40, 110


def listed(names: Iterable[str]) -> str:
    """Names for a message: at most ten of them, and about a hundred characters."""
    everything, shown, length = list(names), list[str](), 0
    for name in everything[:SHOWN]:
        length += len(name[:NAME_LENGTH]) + 2
        if length > LINE_LENGTH and shown:
            break
        shown.append(name[:NAME_LENGTH])
    more = f", ... ({len(everything)} in all)" if len(everything) > len(shown) else ""
    return ", ".join(shown) + more


def find_column(columns: Columns, candidates: Iterable[str]) -> str | None:
    """The first of some columns that is there, in any case and with any separators."""
    there = {normalized(name): name for name in reversed(list(columns))}
    return next((there[normalized(name)] for name in candidates if normalized(name) in there), None)
