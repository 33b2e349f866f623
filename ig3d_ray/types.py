"""Types that every package uses: immutable values read from files, and the names of splits, tasks and views."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
Task = Literal["expression", "va"]
View = Literal["2d", "3d", "2d+3d"]


class Frozen(BaseModel):
    """An immutable value that is read from or written to a file; unknown fields are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
