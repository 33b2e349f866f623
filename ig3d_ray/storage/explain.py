"""One line for what pydantic found wrong in a file."""

from typing import Any

from pydantic import ValidationError


def first_error(error: ValidationError, above: str = "") -> str:
    """The most useful of the errors: field, value, and what is allowed.

    Args:
        error: of a validation.
        above: the dotted path of what was validated, for a part of a file.
    """
    everything = error.errors()
    # pydantic adds "too short" for a list whose items it has just refused.
    errors = [e for e in everything if e["type"] != "too_short"] or everything
    # A misspelled field is more informative than the field that is missing because of it.
    errors.sort(key=lambda e: e["type"] != "extra_forbidden")
    first = errors[0]
    field = ".".join([*([above] if above else []), *map(str, first["loc"])])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return _line(first, field) + more


def _line(error: Any, field: str) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "too_short":
        return f"{field}: is empty; list at least one"
    if error["type"] == "missing":
        return f"{field}: is missing"
    if error["type"] == "extra_forbidden":
        message = "unknown field; check the spelling"
    value = error["input"]
    if not error["loc"]:
        return f"{field}: {message}" if field else message
    return f"{field}: {message}" if isinstance(value, dict) else f"{field}: {value!r}: {message}"
