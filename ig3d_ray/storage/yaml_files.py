"""YAML as data: duplicate keys are errors, references can't grow, and every error is one line."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.local_files import read_regular

MAX_BYTES = 4_000_000
MAX_NODES = 200_000


class _StrictLoader(yaml.SafeLoader):
    """YAML as data, by the safe loader; a duplicate key is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key, count in Counter(map(str, own)).items():
            if count > 1:
                raise yaml.MarkedYAMLError(problem=f"duplicate key {key!r}", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep=deep)


def read_yaml(file: Path, hint: str = "") -> str:
    """The text of a YAML file.

    Args:
        file: the file.
        hint: what to do where there is no such file.

    Raises:
        Ig3dError: it can't be read.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise Ig3dError(f"{file}: {file.stat().st_size} bytes are too many for a configuration file")
        return read_regular(file).decode()
    except FileNotFoundError as error:
        raise Ig3dError(f"{file}: no such file{hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Ig3dError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def yaml_mapping(text: str, what: str, wanted: str) -> dict[str, Any]:
    """The mapping that a YAML text holds, without shared objects.

    Args:
        text: YAML.
        what: begins messages.
        wanted: what it should be, for the message.

    Raises:
        Ig3dError: it is not YAML or no mapping; its references grow without bound or to themselves.
    """
    try:
        loader = _StrictLoader(text)
        try:
            node = loader.get_single_node()
            _check_size(node, what)
            content = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise Ig3dError(f"{what}:{line} not YAML: {str(getattr(error, 'problem', None) or error)[:150]}") from error
    except RecursionError as error:
        raise Ig3dError(f"{what}: not YAML: nested too deeply") from error
    if not isinstance(content, dict):
        raise Ig3dError(f"{what}: {wanted}, not {type(content).__name__}")
    unshared: dict[str, Any] = _unshared(content)
    return unshared


def _check_size(node: yaml.Node | None, what: str) -> None:
    """Refuse a document whose references expand to very many values, or contain themselves."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(one: yaml.Node) -> int:
        if id(one) in sizes:
            return sizes[id(one)]
        if id(one) in open_nodes:
            raise Ig3dError(f"{what}: line {one.start_mark.line + 1}: refers to itself; write the values out")
        open_nodes.add(id(one))
        parts = one.value if isinstance(one, yaml.CollectionNode) else ()
        inner = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
        sizes[id(one)] = total = 1 + sum(map(size, inner))
        open_nodes.discard(id(one))
        if total > MAX_NODES:
            raise Ig3dError(f"{what}: its references (*name) expand to more than {MAX_NODES} values; write fewer")
        return total

    if node is not None:
        size(node)


def _unshared(content: Any) -> Any:
    """A copy without objects shared by YAML anchors, so that overriding one place does not change the others."""
    if isinstance(content, dict):
        return {key: _unshared(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_unshared(value) for value in content]
    return content
