"""How numbers are written in a file of text, so that they can be written again exactly as they were."""

from collections.abc import Callable

BOTH = ""
"""The spelling of numbers none of which is whole: with and without `.0`."""


def spellings(text: str) -> tuple[str, ...]:
    """How numbers may be spelled of which the first is this text.

    Args:
        text: of a number.
    """
    mantissa, _, exponent = text.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return ("r", "s", f".{decimals}e") if exponent else ("r", "s", f".{decimals}f")


def spell(spelling: str) -> Callable[[float], str]:
    """A function from numbers to text: Python's own form, without `.0`, or a format.

    Args:
        spelling: one of `spellings`.
    """
    if spelling in ("r", BOTH):
        return repr
    return _without_zero if spelling == "s" else f"{{:{spelling}}}".format


def _without_zero(value: float) -> str:
    return repr(value).removesuffix(".0")
