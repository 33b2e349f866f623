"""Pages of the site that are not written by hand: the benchmarks, and a reference made from the code."""

import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.models import registry

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Reference

Made from the code: the fields of a search space such as `search_spaces/faces.yaml`, then every command.

## Search spaces

Every field of an item of the pool may be a list. Lists expand to their product: two subsets and two losses are four
members.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    files.append(File.generated(config, "reference.md", content=reference()))
    for page in sorted((ROOT / "benchmarks").glob("*.md")):
        # Scripts are in the repository, not in the site.
        text = re.sub(r"\[([^]]+)\]\(\w+\.(?:py|json|txt)\)", r"\1", page.read_text()).replace("](../docs/", "](../")
        files.append(File.generated(config, f"benchmarks/{page.name}", content=text))
    for figure in sorted((ROOT / "benchmarks").glob("*.svg")):
        files.append(File.generated(config, f"benchmarks/{figure.name}", content=figure.read_text()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Adapt links of the repository to the site."""
    return markdown.replace("](../benchmarks/", "](benchmarks/").replace("](docs/", "](")


def reference() -> str:
    """The page of fields and commands."""
    parts = [HEAD]
    done: set[type[BaseModel]] = set()
    waiting = [SearchSpace]
    while waiting:
        model = waiting.pop(0)
        if model in done:
            continue
        done.add(model)
        parts.append(f"### {model.__name__}\n\n{(model.__doc__ or '').strip().splitlines()[0]}\n")
        rows = [row(name, field) for name, field in model.model_fields.items()]
        parts.append("\n".join(["| field | type | default | description |", "|---|---|---|---|", *rows]) + "\n")
        waiting += [registry.spec_class(kind) for kind in registry.KINDS] if model is SearchSpace else []
        waiting += [part for field in model.model_fields.values() for part in models_in(field.annotation)]
    words = [sys.executable, "-m", "typer", "ig3d_ray.cli.app", "utils", "docs", "--name", "ig3d"]
    commands = subprocess.run(words, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return "\n".join(parts) + "\n## Commands\n\n" + commands.replace("\n#", "\n##").removeprefix("# `ig3d`\n")


def row(name: str, field: FieldInfo) -> str:
    """A field as a line of a table."""
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    default = "" if field.is_required() else f"`{value!r}`"
    if isinstance(value, BaseModel) or "Spec(" in default:
        default = "see its own table"
    about = " ".join((field.description or "").split())
    cells = (f"`{name}`", described(field.annotation), default, about)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def described(kind: Any) -> str:
    """A type in words."""
    if kind is None or kind is types.NoneType:
        return "nothing"
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return described(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(described(part) for part in inner))
    if origin in (tuple, list):
        return "list of " + described(inner[0])
    if origin is dict:
        return f"{described(inner[1])} by name"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true, false"}.get(kind.__name__, "any")


def models_in(kind: Any) -> Iterator[type[BaseModel]]:
    """The models in a type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from models_in(part)
