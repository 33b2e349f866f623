"""Formats of known tools, as declarations: how a file is recognized, its ids, its classes by name or in order."""

from functools import cache
from importlib import resources
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from ig3d_ray.data.tables.packed import Columns
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.explain import first_error
from ig3d_ray.storage.yaml_files import yaml_mapping
from ig3d_ray.types import Frozen

ScoreKind = Literal["logits", "probabilities", "percent", "scores"]


class ToolFormat(Frozen):
    """How a tool writes its predictions."""

    name: str
    """Of the tool, for `--format`."""
    about: str = ""
    """What it writes."""
    source: str = ""
    """Where its format is documented."""
    recognized_by: tuple[str, ...] = ()
    """Columns that a file of this tool has; a name that ends with * stands for all that begin so."""
    also_recognized_by: tuple[tuple[str, ...], ...] = ()
    """Other sets of such columns, each of which is enough."""
    id: tuple[str, ...] = ()
    """Columns of sample ids; the first that is there counts."""
    frame: str | None = None
    """The column of the frame, for videos."""
    classes: dict[str, str] = Field(default_factory=dict)
    """Column, after a prefix, -> expression."""
    prefixes: tuple[str, ...] = ("",)
    """What may precede a class in the name of its column."""
    order: tuple[str, ...] = ()
    """The expressions of numbered columns, in order."""
    short_order: tuple[str, ...] = ()
    """Likewise, for files with that many columns."""
    va_after_classes: bool = False
    """Whether two further numbered columns are valence and arousal."""
    scores: ScoreKind = "scores"
    """What the scores are."""
    predicted: str | None = None
    """The column of the predicted class, where there are no scores."""
    label: str | None = None
    """The column of the true class."""
    numbers: tuple[str, ...] = ()
    """The expressions that the numbers of `predicted` and `label` are."""
    found_where: str | None = None
    """A column that is 0 where no face was found."""
    predicted_label: str | None = None
    """A column that is called like a label, but has predictions."""
    va: tuple[str, str] | None = None
    """Columns of valence and arousal."""
    face: tuple[str, str] | None = None
    """Columns of the width and height of the face."""

    def matches(self, columns: Columns) -> bool:
        """Whether a file has the columns that identify the tool."""
        ways = ((self.recognized_by,) if self.recognized_by else ()) + self.also_recognized_by
        return any(all(_there(name, columns) for name in way) for way in ways)


def numbered_classes(values: np.ndarray, tool: ToolFormat | None) -> np.ndarray:
    """A column of classes as text; the numbers of a tool that counts in an order of its own become names.

    Args:
        values: `[N]` str or numbers.
        tool: that wrote them.
    """
    texts = values
    if values.dtype.kind in "fiu":
        # NumPy takes 128 bytes for the text of any number.
        few, place = np.unique(values, return_inverse=True)
        texts = np.asarray(few.astype(np.str_).tolist(), dtype=np.str_)[place]
    elif values.dtype.kind != "U":
        texts = values.astype(np.str_)
    if tool is None or not tool.numbers:
        return texts
    names = {str(index): name for index, name in enumerate(tool.numbers)}
    return np.asarray([names.get(text.removesuffix(".0"), text) for text in texts.tolist()], dtype=np.str_)


class Score(NamedTuple):
    """A column of scores: the expression it is of, and the column."""

    expression: str
    column: str


def _there(name: str, columns: Columns) -> bool:
    return name in columns if not name.endswith("*") else any(one.startswith(name[:-1]) for one in columns)


@cache
def tool_formats() -> dict[str, ToolFormat]:
    """Every known tool's format, by name."""
    found = {}
    for file in resources.files("ig3d_ray.importing").joinpath("formats").iterdir():
        if file.name.endswith(".yaml"):
            try:
                one = ToolFormat.model_validate(yaml_mapping(file.read_text(encoding="utf-8"), file.name, "a mapping"))
            except ValidationError as error:
                raise Ig3dError(f"{file.name}: {first_error(error)}") from error
            found[one.name] = one
    return dict(sorted(found.items()))


def tool_format(name: str) -> ToolFormat | None:
    """A tool's format by name; None for `table`, a plain table.

    Raises:
        Ig3dError: there is no such format; the message lists the known ones.
    """
    if name == "table":
        return None
    if name not in tool_formats():
        raise Ig3dError(f"--format {name}: known: table, {', '.join(tool_formats())}")
    return tool_formats()[name]


def recognize(columns: Columns) -> ToolFormat | None:
    """The tool that wrote a file, by its columns; None for a plain table."""
    return next((one for one in tool_formats().values() if one.matches(columns)), None)


def tool_scores(tool: ToolFormat, columns: Columns) -> list[Score]:
    """The columns of a tool's scores with their expressions, in the tool's order; empty where it has none."""
    for prefix in tool.prefixes:
        by_name = [Score(word, prefix + name) for name, word in tool.classes.items() if prefix + name in columns]
        if by_name and len(by_name) == len(tool.classes):
            return by_name
        numbered = sum(f"{prefix}{i}" in columns for i in range(32)) if tool.order else 0
        for order in (tool.order, tool.short_order):
            if order and numbered == len(order) + 2 * (tool.va_after_classes and numbered > len(order)):
                return [Score(word, f"{prefix}{i}") for i, word in enumerate(order)]
    return []


def tool_va(tool: ToolFormat, scores: list[Score], columns: Columns) -> tuple[str, str] | None:
    """A tool's columns of valence and arousal, if the file has them."""
    if tool.va is not None:
        return tool.va if all(name in columns for name in tool.va) else None
    if tool.va_after_classes and scores:
        stem = scores[0].column.removesuffix("0")
        names = (f"{stem}{len(scores)}", f"{stem}{len(scores) + 1}")
        return names if all(name in columns for name in names) else None
    return None
