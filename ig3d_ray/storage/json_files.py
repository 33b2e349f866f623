"""JSON as data: each key once, finite numbers only, and every error is a `ValueError` with one line."""

import json
from typing import Any


def strict_json(text: str | bytes) -> Any:
    """The content of JSON, as the standard has it.

    Args:
        text: of a file.

    Raises:
        ValueError: it is not JSON, has a key twice, NaN or infinity, is nested too deeply, or has a number of too many
            digits.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice[:40]!r} occurs twice")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is too large")
    return value
