"""What the site holds beside the written pages: the benchmarks, and a reference made from the code itself."""

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

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Reference

Made from the code. What a file such as `search_spaces/faces.yaml` may hold stands first, then every command.

## Search spaces

Lists in an item of the pool are multiplied out: two subsets and two losses are four members.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    files.append(File.generated(config, "reference.md", content=reference()))
    for page in sorted((ROOT / "benchmarks").glob("*.md")):
        # Scripts are in the repository, not in the site.
        text = re.sub(r"\[([^]]+)\]\(\w+\.(?:py|json|txt)\)", r"\1", page.read_text()).replace("](../docs/", "](../")
        files.append(File.generated(config, f"benchmarks/{page.name}", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links that hold in the repository hold in the site."""
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
        parts.append("\n".join(["| field | what it may be | default | |", "|---|---|---|---|", *rows]) + "\n")
        waiting += [part for field in model.model_fields.values() for part in models_in(field.annotation)]
    message = [sys.executable, "-m", "typer", "ig3d_ray.cli.app", "utils", "docs", "--name", "ig3d"]
    commands = subprocess.run(message, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return "\n".join(parts) + "\n## Commands\n\n" + commands.replace("\n#", "\n##").removeprefix("# `ig3d`\n")


def row(name: str, field: FieldInfo) -> str:
    """A field as a line of a table."""
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    default = "" if field.is_required() else f"`{value!r}`"
    if isinstance(value, BaseModel) or "Spec(" in default:
        default = "see there"
    about = " ".join((field.description or "").split())
    cells = (f"`{name}`", said(field.annotation), default, about)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def said(kind: Any) -> str:
    """A type in words."""
    if kind is None or kind is types.NoneType:
        return "nothing"
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return said(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(said(part) for part in inner))
    if origin in (tuple, list):
        return "list of " + said(inner[0])
    if origin is dict:
        return f"{said(inner[1])} by name"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true, false"}.get(kind.__name__, "any")


def models_in(kind: Any) -> Iterator[type[BaseModel]]:
    """The models that a type speaks of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from models_in(part)
