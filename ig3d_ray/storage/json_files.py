"""JSON as data: each key once, finite numbers only, and every error is a `ValueError` with one line."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "content_sha256"


class SealError(ValueError):
    """A file is JSON, and not what was written: it is damaged, or was edited."""


def sealed(content: Mapping[str, Any]) -> str:
    """A JSON object that names the SHA-256 of its content, so that damage is found that leaves it valid JSON.

    Args:
        content: without the name of the seal.
    """
    whole = {**content, SEAL: _digest(content)}
    return json.dumps(whole, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def unsealed(text: str | bytes) -> Any:
    """The content of a JSON file, which is checked if it names its SHA-256.

    Args:
        text: of a file; without a seal, as people write it, it is taken as it is.

    Raises:
        ValueError: it is not JSON, as in `strict_json`, or not what was written.
    """
    content = strict_json(text)
    if isinstance(content, dict) and SEAL in content and content.pop(SEAL) != _digest(content):
        raise SealError("not what was written; if you edited it, remove its content_sha256")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


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
