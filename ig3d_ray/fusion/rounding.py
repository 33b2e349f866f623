"""Fitted numbers are rounded, so that another machine gives the same."""

SIGNIFICANT = 6
"""Digits of fitted weights and temperatures: few enough that rounding on another machine gives the same values."""


def significant(number: float) -> float:
    """A number with six significant digits, whatever its size."""
    return float(f"{number:.{SIGNIFICANT}g}") + 0.0
