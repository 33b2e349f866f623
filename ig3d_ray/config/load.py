"""Reads a search space from YAML: single fields overridden, every error reported in one line."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ig3d_ray.config.explain import first_error
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.errors import Ig3dError


def load_space(path: Path, overrides: tuple[str, ...] = ()) -> SearchSpace:
    """Read a search space.

    Args:
        path: a YAML file.
        overrides: `dotted.field=value`, the value in YAML; a number in the path is a list index.

    Raises:
        Ig3dError: one line: file, dotted field, value, what is allowed.
    """
    try:
        content = _unshared(_StrictLoader(path.read_text(encoding="utf-8")).get_single_data())
    except FileNotFoundError as error:
        raise Ig3dError(f"{path}: no such file; the shipped ones are in search_spaces/") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Ig3dError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise Ig3dError(f"{path}:{line} not YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(content, dict):
        raise Ig3dError(f"{path}: a search space is a mapping (dataset: ..., pool: ...), not {type(content).__name__}")
    for override in overrides:
        _override(content, override)
    try:
        _refuse_booleans(content)
        return SearchSpace.model_validate(content)
    except Ig3dError as error:
        raise Ig3dError(f"{path}: {error}") from error
    except ValidationError as error:
        raise Ig3dError(f"{path}: {first_error(error)}") from error


class _StrictLoader(yaml.SafeLoader):
    """YAML as data, by the safe loader; a duplicate key is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in own:
            if own.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"duplicate key {key!r}", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _unshared(content: Any) -> Any:
    """A copy without objects shared by YAML anchors, so that overriding one place does not change the others."""
    if isinstance(content, dict):
        return {key: _unshared(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_unshared(value) for value in content]
    return content


def _refuse_booleans(content: Any, field: str = "") -> None:
    """pydantic accepts true as 1; no field of a search space is Boolean."""
    if isinstance(content, bool):
        raise Ig3dError(f"{field}: {str(content).lower()}: no field takes true or false; give a number or a word")
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in parts:
        _refuse_booleans(value, f"{field}.{key}" if field else str(key))


def _override(content: Any, override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise Ig3dError(f"--set {override}: write it as field=value, such as search.budget=500")
    *parents, last = dotted.split(".")
    try:
        value = yaml.safe_load(text)
        for key in parents:
            if isinstance(content, list):
                content = content[int(key)]
            else:
                content[key] = content.get(key) or {}
                content = content[key]
        content[int(last) if isinstance(content, list) else last] = value
    except (ValueError, IndexError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise Ig3dError(f"--set {override}: there is no such field") from error
