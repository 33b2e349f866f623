"""Which samples choose and which report."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ig3d_ray.types import Frozen, Split


class SubgroupFloor(Frozen):
    """What every subgroup of an attribute must score, for an ensemble to be chosen."""

    attribute: str = Field(min_length=1, max_length=100)
    """Of the samples, such as gender. Subgroups of fewer than 20 samples don't count."""
    metric: str = "accuracy"
    """The larger, the better."""
    at_least: float = Field(gt=0, le=1)
    """Of the worst subgroup on the selection set, by cross-fitting."""


class ProtocolSpec(Frozen):
    """How unbiased the reported score is."""

    kind: Literal["dev", "cross_fitted", "paper"] = "dev"
    """`dev`: choose on dev, report test. `cross_fitted`: choose on k-1 folds of test and report the k-th, in
    turn, if no other split is available. `paper`: choose on test and report test, optimistic."""
    folds: int = Field(default=5, ge=2, le=50)
    """Of the cross-fitting: inside the selection set, where it decides which method wins, and for `cross_fitted`
    around it. At most as many as there are groups of samples."""
    repeats: int = Field(default=1, ge=1, le=50)
    """How often the cross-fitting is repeated with other folds; the repeats are averaged."""

    group_by: str | None = Field(default=None, max_length=200)
    """A regular expression whose first group, in a sample's id, names what the sample belongs to, such as a video or a
    person: `^(.*)/` for folders. Without it the column `group` of the samples or labels counts, if there is one. Groups
    are kept in one fold, and resampled as a whole."""
    rope: float = Field(default=0.005, ge=0, le=1)
    """The region of practical equivalence: a gain in the objective whose interval lies within this of 0 is called
    practically the same."""

    floor: SubgroupFloor | None = None
    """Choose among the ensembles whose worst subgroup reaches this; if none does, the one that comes closest."""

    @model_validator(mode="after")
    def _folds_inside_folds(self) -> "ProtocolSpec":
        if self.kind == "cross_fitted" and self.folds < 3:
            raise ValueError("folds: 2 with 'cross_fitted' leaves nothing to choose by inside a fold; allowed: 3 to 50")
        return self

    @field_validator("group_by")
    @classmethod
    def _has_a_group(cls, value: str | None) -> str | None:
        try:
            if value is not None and re.compile(value).groups < 1:
                raise ValueError(f"{value!r} has no group; put what names the video into parentheses, as in ^(.*)/")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression ({error})") from error
        return value

    @property
    def choose_on(self) -> Split:
        """The split used for selection."""
        return "dev" if self.kind == "dev" else "test"

    @property
    def parts(self) -> int:
        """How many selection sets are searched: the whole, without one fold, for `cross_fitted` without two."""
        nested = self.folds * (self.folds - 1) // 2 if self.kind == "cross_fitted" else 0
        return 1 + self.repeats * (self.folds + nested)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits on which every member must have outputs."""
        return ("dev", "test") if self.kind == "dev" else ("test",)
