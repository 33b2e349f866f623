"""Reads a search space from YAML: single fields overridden, every error reported in one line."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data import datasets
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.explain import first_error
from ig3d_ray.storage.yaml_files import read_yaml, yaml_mapping


def load_space(path: Path, overrides: tuple[str, ...] = ()) -> SearchSpace:
    """Read a search space.

    Args:
        path: a YAML file.
        overrides: `dotted.field=value`, the value in YAML; a number in the path is a list index.

    Raises:
        Ig3dError: one line: file, dotted field, value, what is allowed.
    """
    content = _content(path, overrides)
    declaration = _dataset_file(content, path)
    if declaration is not None:
        content["dataset"] = datasets.declare(datasets.read_declaration(declaration)).name
    try:
        _refuse_booleans(content)
        return SearchSpace.model_validate(content)
    except Ig3dError as error:
        raise Ig3dError(f"{path}: {error}") from error
    except ValidationError as error:
        raise Ig3dError(f"{path}: {first_error(error)}") from error


def dataset_file(path: Path, overrides: tuple[str, ...] = ()) -> Path | None:
    """The file that declares the data set, if the search space names a file.

    Args:
        path: the search space.
        overrides: as of `load_space`.

    Raises:
        Ig3dError: the search space can't be read.
    """
    return _dataset_file(_content(path, overrides), path)


def _content(path: Path, overrides: tuple[str, ...]) -> dict[str, Any]:
    text = read_yaml(path, "; the shipped ones are in search_spaces/")
    content = yaml_mapping(text, str(path), "a search space is a mapping (dataset: ..., pool: ...)")
    for override in overrides:
        _override(content, override)
    return content


def _dataset_file(content: dict[str, Any], path: Path) -> Path | None:
    """The path of a declaration is relative to the search space."""
    given = content.get("dataset")
    return path.parent / given if isinstance(given, str) and given.endswith((".yaml", ".yml")) else None


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
