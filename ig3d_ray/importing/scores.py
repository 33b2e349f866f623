"""Class scores as logits: probabilities and percentages are recognized and renormalized."""

from typing import NamedTuple

import numpy as np

from ig3d_ray.data.tables.numbers import numbers
from ig3d_ray.data.tables.packed import PIECE, Columns, row_count
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.tools import ScoreKind

SMALLEST_PROBABILITY = 1e-12
LARGEST_FLOOR = 0.01
HALF_PRECISION = 2.5e-3
"""How far sums of probabilities in half precision, or printed with few digits, are from one."""
ABSENT_CLASS = np.log(1e6)
ROUNDING = 1e-6
LOOKED_AT = 20_000


def table_of_numbers(what: str, names: list[str], columns: Columns) -> np.ndarray:
    """Several columns as `[N, C]` float64; a row without any number is NaN throughout.

    Raises:
        Ig3dError: a row has some of its numbers, or one is invalid.
    """
    table = np.empty((row_count(columns), len(names)))
    for place, name in enumerate(names):
        table[:, place] = numbers(what, name, columns[name])
    lacking = np.isnan(table)
    partly = lacking.any(axis=1) & ~lacking.all(axis=1)
    if partly.any():
        row = int(partly.argmax())
        name = names[int(lacking[row].argmax())]
        raise Ig3dError(f"{what}: row {row + 1}, column {name}: NaN ({int(partly.sum())} such rows)")
    return table


class Logits(NamedTuple):
    """Class scores as logits, `[N, C]` float64 with rows of NaN where there are none, and what was done to them."""

    values: np.ndarray
    notes: list[str]


def to_logits(what: str, table: np.ndarray, kind: ScoreKind, called: str, asked: ScoreKind | None = None) -> Logits:
    """Class scores as logits: probabilities and percentages become their logarithms.

    Args:
        what: the file, for messages.
        table: `[N, C]`, which is changed; rows of NaN stay.
        kind: what the columns' names say; `scores` for nothing.
        called: the columns, for messages, such as `logit_`.
        asked: what the user gave.

    Raises:
        Ig3dError: the numbers are not what they are called, or it can't be known.
    """
    kind, notes = asked or kind, list[str]()
    if kind != "logits":
        table, notes = _without_markers(table, called)
    there = ~np.isnan(table).any(axis=1)
    some = table if there.all() else table[there]
    decided = _decide(what, some, kind, called, asked is not None)
    if decided == "logits":
        if kind == "scores":
            notes.append(f"{called or 'the class'} columns were taken as logits: they are no probabilities")
        return Logits(table, notes)
    values = some
    if decided == "percent":
        values /= 100
        notes.append(f"{called or 'the class'} columns are percentages, divided by 100")
    values, more = _renormalized(what, values, called, decided == "percent", np.flatnonzero(there))
    notes += more
    zeros = _take_logarithms(values)
    if zeros:
        notes.append(f"{zeros} probabilities of 0 were taken as half the smallest other one of their row")
    if values is not table:
        table[there] = values
    return Logits(table, notes)


def _take_logarithms(values: np.ndarray) -> int:
    """Probabilities become their logarithms, in place; returns how many were 0."""
    count = 0
    for start in range(0, len(values), PIECE):
        some = values[start : start + PIECE]
        zeros = some <= 0
        # Of each row by itself: a sample's logits don't depend on the others in its file.
        least = np.where(zeros, np.inf, some).min(axis=1, initial=np.inf, keepdims=True) / 2
        floor = np.clip(least, SMALLEST_PROBABILITY, LARGEST_FLOOR)
        np.log(np.where(zeros, floor, some), out=some)
        count += int(zeros.sum())
    return count


def _without_markers(table: np.ndarray, called: str) -> tuple[np.ndarray, list[str]]:
    """Rows that are all 0 or all -1, as some tools write where no face was found, become NaN; rounding below 0 is 0."""
    same = (table == table[:, :1]).all(axis=1) & np.isin(table[:, 0], (0.0, -1.0))
    table[(table < 0) & (table > -ROUNDING)] = 0.0
    table[same] = np.nan
    note = f"{int(same.sum())} rows of {called or 'class'} columns are all 0 or all -1: no face was found"
    return table, [note] if same.any() else []


def _decide(what: str, some: np.ndarray, kind: ScoreKind, called: str, asked: bool) -> ScoreKind:
    """What the numbers are, by their names, and where these don't decide, by their values."""
    if not len(some):
        return "logits"
    sums, negative = some.sum(axis=1), bool((some < 0).any())
    per_cent = not negative and abs(float(np.median(sums)) - 100) < 5
    ones = not negative and bool((np.abs(sums - 1) < HALF_PRECISION).all())
    if kind == "logits":
        alike = ones or (per_cent and bool((np.abs(sums - 100) < 1).all()))
        if not asked and alike and not bool(np.isin(some, (0, 1)).all()):
            raise Ig3dError(
                f"{what}: {called or 'the class'} columns are called logits, but look like probabilities: each row"
                " sums to one; give --scores probabilities, or --scores logits to take them as they are"
            )
        return "logits"
    if kind == "percent" or per_cent:
        return "percent"
    if kind == "probabilities" or (not negative and abs(float(np.median(sums)) - 1) < 0.05):
        return "probabilities"
    if negative:
        return "logits"
    raise Ig3dError(
        f"{what}: {called or 'the class'} columns are neither probabilities nor percentages (row 1 sums to"
        f" {sums[0]:.4g}), and never negative; give --scores logits, probabilities or percent"
    )


def _renormalized(
    what: str, values: np.ndarray, called: str, per_cent: bool, rows: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Probabilities that sum to one; sums that rounding or half precision explains are put right, and said."""
    sums, classes = values.sum(axis=1), values.shape[1]
    digits = decimals(values[:LOOKED_AT] * 100 if per_cent else values) + 2 * per_cent
    slack = max(HALF_PRECISION, classes * 0.5 * 10.0**-digits * 1.01)
    outside = np.any((values < 0) | (values > 1 + slack), axis=1)
    wrong = outside | (np.abs(sums - 1) > slack)
    if wrong.any():
        first = int(wrong.argmax())
        message = "holds a number outside [0, 1]" if outside[first] else f"sums to {sums[first]:.4g}, not 1"
        raise Ig3dError(
            f"{what}: row {rows[first] + 1}: {called or 'class scores:'} {message} ({int(wrong.sum())} such"
            " rows); raw scores are called logit_, or give --scores logits"
        )
    off = np.abs(sums - 1) > 1e-6
    if not off.any():
        return values, []
    share, far = float(off.mean()), float(np.abs(sums - 1).max())
    values /= sums[:, None]
    return values, [f"{share:.1%} of the rows did not sum to 1 (at most {far:.2g} off); renormalized"]


def decimals(values: np.ndarray) -> int:
    """The number of decimals that all numbers are rounded to; 12 for numbers that are not rounded.

    Args:
        values: any shape.
    """
    some = values.reshape(-1)[:LOOKED_AT]
    return next((d for d in range(7) if np.allclose(some, np.round(some, d), rtol=0, atol=1e-9)), 12)
