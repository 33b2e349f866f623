"""Types that every package uses: immutable values read from files, and the names of splits, tasks and views."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
View = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9+_-]*$", max_length=32)]
"""What a model takes as input, in one word: `2d`, `3d`, `2d+3d`, `landmarks`, `audio`, ..."""


def view_group(view: str) -> str:
    """Views that count as one when two members of different views are paired: those that include the image.

    Args:
        view: what a model takes as input.
    """
    return "2d" if view.split("+")[0] == "2d" else view


class Frozen(BaseModel):
    """An immutable value that is read from or written to a file; unknown fields are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Task(StrEnum):
    """What is predicted: one of C expressions, or valence and arousal."""

    EXPRESSION = "expression"
    VA = "va"

    @property
    def has_classes(self) -> bool:
        """Whether outputs are class scores, which have probabilities and temperatures."""
        return self is Task.EXPRESSION

    @property
    def default_metric(self) -> str:
        """The metric that selects epochs, and members where no objective is given."""
        return "accuracy" if self.has_classes else "ccc_mean"

    @property
    def outputs(self) -> str:
        """What a member's outputs are called in messages."""
        return "logits" if self.has_classes else "valence and arousal"

    def columns(self, classes: int) -> slice:
        """Which columns of a network's output belong to the task.

        Args:
            classes: C of the data set.
        """
        return slice(0, classes) if self.has_classes else slice(-2, None)

    def width(self, classes: int) -> int:
        """The number of output columns: the classes, or two.

        Args:
            classes: C of the data set.
        """
        return classes if self.has_classes else 2


@dataclass(frozen=True)
class Metric:
    """A metric of one task.

    Attributes:
        name: as in search spaces and tables.
        task: what it scores.
        greater_is_better: false for errors.
    """

    name: str
    task: Task
    greater_is_better: bool

    @property
    def sign(self) -> float:
        """1 where greater is better, otherwise -1: the factor that turns values into scores to maximize."""
        return 1.0 if self.greater_is_better else -1.0

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Optuna's word for it."""
        return "maximize" if self.greater_is_better else "minimize"
