"""The declaration of a data set, as a YAML file has it."""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator

from ig3d_ray.data.datasets.class_names import normalized, synonyms
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.explain import first_error
from ig3d_ray.types import Frozen, Task

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
DatasetName = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
MOST_CLASSES = 127
UNCLEAR = frozenset({"", "none", "nan", "null", "-1"})
RESERVED = frozenset({"sample_id", "split", "image", "expression", "valence", "arousal", "group", "predictions"})
ColumnName = Annotated[str, Field(min_length=1)]


class ExpressionClass(Frozen):
    """One expression.

    In YAML a name alone is enough; usual synonyms (happy, happiness, joy) are known.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """As tables and reports show it."""
    synonyms: tuple[str, ...] = ()
    """Further names of this class in files."""

    @property
    def words(self) -> frozenset[str]:
        """Every name of the class, normalized: its own, its declared synonyms, and the usual ones of all these."""
        own = {normalized(word) for word in (self.name, *self.synonyms)}
        return frozenset(own | {other for word in own for other in synonyms(word)})


class VaLabels(Frozen):
    """How valence and arousal are written in a data set's label files."""

    range: tuple[float, float] = (-1.0, 1.0)
    """Lowest and highest value; labels are rescaled from it to [-1, 1]."""
    not_annotated: tuple[float, ...] | None = None
    """Values that mean "not annotated"; by default -2 and -5, where they are outside the range."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        low, high = self.range
        if not np.isfinite([low, high]).all() or low >= high:
            raise ValueError(f"range: [{low:g}, {high:g}]: give the lowest value, then the highest")
        inside = [value for value in self.not_annotated or () if low <= value <= high]
        if inside:
            raise ValueError(f"not_annotated: {inside[0]:g} lies inside the range [{low:g}, {high:g}]")
        return self

    @property
    def missing_values(self) -> tuple[float, ...]:
        """The values that mean "not annotated"."""
        low, high = self.range
        usual = tuple(value for value in (-2.0, -5.0) if not low <= value <= high)
        return usual if self.not_annotated is None else self.not_annotated

    @property
    def is_rescaled(self) -> bool:
        """Whether the range is another than [-1, 1]."""
        return self.range != (-1.0, 1.0)

    def rescaled(self, values: np.ndarray) -> np.ndarray:
        """Values of the declared range in [-1, 1]; NaN stays NaN.

        Args:
            values: any shape, float.
        """
        low, high = self.range
        return values if not self.is_rescaled else -1 + 2 * ((values - low) / (high - low))

    def native(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `rescaled`.

        Args:
            values: any shape, float, on the scale of [-1, 1].
        """
        low, high = self.range
        return values if not self.is_rescaled else low + (values + 1) / 2 * (high - low)


class Dataset(Frozen):
    """A data set: its tasks, its classes in the order of the logits' columns, and how its labels are written."""

    name: DatasetName
    """The word used in configuration and paths."""
    about: str = ""
    """One line for people."""
    source: str = ""
    """Where the order of the classes and the form of the labels are documented."""
    classes: tuple[ExpressionClass, ...] = ()
    """Expressions, in the order of the logits' columns."""
    va: VaLabels | None = None
    """Valence and arousal; none by default."""
    tasks: tuple[Task, ...] = ()
    """What can be searched; the first is the default. By default expressions, then valence and arousal, as declared."""
    orders: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Other orders of the same classes in known files: name -> class names."""
    counts: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Published samples per class of `train` and `test`."""
    group: ColumnName | None = None
    """The column that says which samples belong together, such as subject or video."""
    attributes: tuple[ColumnName, ...] = ()
    """Columns of subgroups, such as gender."""

    @field_validator("classes", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return [{"name": one} if isinstance(one, str) else one for one in value]

    @model_validator(mode="before")
    @classmethod
    def _default_tasks(cls, content: Any) -> Any:
        if not isinstance(content, dict) or content.get("tasks"):
            return content
        kinds = ((Task.EXPRESSION, bool(content.get("classes"))), (Task.VA, content.get("va") is not None))
        return content | {"tasks": tuple(task for task, there in kinds if there)}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.tasks:
            raise ValueError("classes: no classes and no va: there is nothing to predict; declare at least one")
        if Task.VA in self.tasks and self.va is None:
            raise ValueError("tasks: va, but va is not declared; add va: {range: [-1, 1]}")
        if Task.EXPRESSION in self.tasks and len(self.classes) < 2:
            raise ValueError(f"classes: {len(self.classes)} given; expressions need at least two")
        self._check_names()
        for name, order in self.orders.items():
            if sorted(index for word in order if (index := self.index(word)) is not None) != [*range(self.width)]:
                raise ValueError(f"orders.{name}: must name each of {', '.join(self.class_names)} once")
        for split, counts in self.counts.items():
            if split not in ("train", "test") or len(counts) != self.width:
                raise ValueError(f"counts.{split}: must be train or test, with {self.width} numbers")
        return self

    def _check_names(self) -> None:
        if self.width > MOST_CLASSES:
            raise ValueError(f"classes: {self.width} given; at most {MOST_CLASSES}")
        unclear = [
            one.name for one in self.classes if one.name.strip().lower() in UNCLEAR or one.name.strip().isdecimal()
        ]
        if unclear:
            raise ValueError(f"classes: {unclear[0]!r} means a number or a missing value in files; give it a word")
        taken = [name for name in self.attributes if name in RESERVED or self.attributes.count(name) > 1]
        if taken:
            raise ValueError(f"attributes: {taken[0]!r} is a column of samples already; choose another name")
        seen: dict[str, str] = {}
        for one in self.classes:
            own = {normalized(word) for word in (one.name, *one.synonyms)}
            for word in sorted(own & seen.keys()):
                raise ValueError(f"classes: duplicate class {one.name!r}: {seen[word]!r} has the name {word!r} too")
            seen |= dict.fromkeys(own, one.name)
        wide: dict[str, str] = {}
        for one in self.classes:
            for word in sorted(one.words & wide.keys()):
                raise ValueError(f"classes: {one.name!r} and {wide[word]!r} are one expression: both mean {word!r}")
            wide |= dict.fromkeys(one.words, one.name)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Expressions, in the order of the logits' columns."""
        return tuple(one.name for one in self.classes)

    @property
    def width(self) -> int:
        """C, the number of classes."""
        return len(self.classes)

    @property
    def has_va(self) -> bool:
        """Whether samples carry valence and arousal (both nominally in [-1, 1])."""
        return self.va is not None

    @cached_property
    def _words(self) -> dict[str, int]:
        return {word: index for index, one in enumerate(self.classes) for word in one.words}

    def index(self, word: str) -> int | None:
        """The class that a word names, in any case, or by a synonym; None if it names none."""
        return self._words.get(normalized(word))

    def place_of(self, order: str) -> tuple[int, ...]:
        """For each class, its column in files of a named order.

        Args:
            order: a key of `orders`.
        """
        there = [self.index(word) for word in self.orders[order]]
        return tuple(there.index(column) for column in range(self.width))

    def lines(self) -> list[str]:
        """What the columns of its predictions and labels are, for people."""
        found = []
        if self.classes:
            found.append("classes: " + ", ".join(f"{i} {name}" for i, name in enumerate(self.class_names)))
        if self.va is not None:
            low, high = self.va.range
            missing = ", ".join(f"{value:g}" for value in self.va.missing_values)
            found.append(f"valence, arousal: [{low:g}, {high:g}]" + (f"; not annotated: {missing}" if missing else ""))
        return found

    @property
    def digest(self) -> str:
        """16 hex digits over what labels mean: classes in order, the range of valence and arousal, and the group."""
        va = None if self.va is None else (self.va.range, self.va.missing_values)
        return hashlib.sha256(json.dumps([self.class_names, va, self.group]).encode()).hexdigest()[:16]


def parse_classes(name: str, classes: str) -> Dataset:
    """A data set of expressions, declared by its classes alone.

    Args:
        name: of the data set.
        classes: comma-separated, in the order of the logits' columns.

    Raises:
        Ig3dError: the name or a class is invalid.
    """
    content = {"name": name, "classes": [word.strip() for word in classes.split(",")]}
    try:
        return Dataset.model_validate(content)
    except ValidationError as error:
        raise Ig3dError(f"--classes {classes[:100]}: {first_error(error)}") from error
