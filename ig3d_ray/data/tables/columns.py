"""Finds columns by the names that people give them."""

from collections.abc import Iterable

from ig3d_ray.data.tables.containers import Columns

SHOWN = 10


def listed(names: Iterable[str]) -> str:
    """Columns for a message, at most ten of them."""
    everything = list(names)
    more = f", ... ({len(everything)} columns)" if len(everything) > SHOWN else ""
    return ", ".join(name[:40] for name in everything[:SHOWN]) + more


def find_column(columns: Columns, candidates: Iterable[str]) -> str | None:
    """The first of some columns that is there, in any case."""
    lower = {name.lower(): name for name in reversed(list(columns))}
    return next((lower[name.lower()] for name in candidates if name.lower() in lower), None)
