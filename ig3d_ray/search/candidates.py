"""Candidates of a search: single members, pairs of a 2D and a 3D member, and many members by a method."""

import fnmatch
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import optuna

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion.combine import Space, Strategy
from ig3d_ray.fusion.fit import METHODS, PER_COLUMN, RICHER, SPACES_OF, Method
from ig3d_ray.types import Task, view_group

WEIGHT_DECIMALS = 9


@dataclass(frozen=True)
class Candidate:
    """A candidate to score.

    Attributes:
        members: one name; or the 2D member's and the 3D member's; or many, for a method.
        strategy: None for a single member.
        space: where class scores are combined.
        weight_3d: weight of the second of two members, for `weighted`; `exact` solves for it on the selection set.
        reference: name of the reference, empty for other candidates.
        method: how the weights of many are found, None for pairs and single members.
        per_column: whether each class (or valence and arousal) has weights of its own.
        temperatures: whether logits are divided by temperatures fitted on the selection set.
    """

    members: tuple[str, ...]
    strategy: Strategy | None = None
    space: Space = "logits"
    weight_3d: float | Literal["exact"] | None = None
    reference: str = ""
    method: Method | None = None
    per_column: bool = False
    temperatures: bool = False


LOOKS_BEST = "always the member that looks best"
"""The family of single members: its rule takes the member with the best score where it chooses."""


def family(candidate: Candidate, members: int) -> str:
    """The family of a candidate; families are compared by cross-fitting, candidates within a family by their scores.

    Args:
        members: how many there are in the pool.
    """
    if candidate.reference:
        return f"{candidate.reference}: {' + '.join(candidate.members)}"
    if candidate.strategy is None:
        return LOOKS_BEST
    if candidate.method is None:
        return f"best {candidate.strategy} of two"
    if len(candidate.members) < members:
        return "best subset"
    of_what = "" if len(SPACES_OF[candidate.method]) == 1 else f" of {candidate.space}"
    apart = ", weights per class" if candidate.method in METHODS[Task.EXPRESSION] else ", weights per dimension"
    return f"{candidate.method.replace('_', ' ')}{of_what}{apart if candidate.per_column else ''}"


@dataclass(frozen=True)
class Choices:
    """The possible choices, given a space and the available members."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    """Of each member's view."""
    members_2d: tuple[str, ...]
    members_3d: tuple[str, ...]
    strategies: tuple[Strategy, ...]
    spaces: tuple[Space, ...]
    temperatures: tuple[bool, ...]
    weight_3d: Literal["exact"] | tuple[float, float]
    floors: bool
    methods: tuple[tuple[Method, Space, bool], ...]
    """Method, space, per column."""
    subset_members: int
    limit: int
    """Of the members of any ensemble."""

    @property
    def mixes(self) -> tuple[tuple[Strategy, Space, bool], ...]:
        """Strategy, space and temperatures of pairs, without duplicates."""
        found = itertools.product(self.strategies, self.spaces, self.temperatures)
        # Temperatures only rescale logits: an exact weight of two absorbs them.
        absorbs = self.weight_3d == "exact" and len(self.temperatures) > 1
        return tuple(
            (strategy, in_space, warm)
            for strategy, in_space, warm in found
            if not (absorbs and warm and strategy == "weighted" and in_space != "probabilities")
        )

    @property
    def two_views(self) -> bool:
        """Whether there are two views, such as 2D and 3D members; pairs are then of one member of each."""
        return len(set(self.groups)) == 2

    def may_pair(self, first: str, second: str) -> bool:
        """Whether two members are of different views, or all members are of one."""
        groups = dict(zip(self.names, self.groups, strict=True))
        return first != second and (len(set(self.groups)) == 1 or groups[first] != groups[second])

    @property
    def subset_methods(self) -> tuple[tuple[Method, Space, bool], ...]:
        """The methods that are tried on subsets: weights alone."""
        return tuple(one for one in self.methods if one[0] not in RICHER)

    @property
    def couples(self) -> Iterator[tuple[str, str]]:
        """The members of each pair; those of one 2D member are adjacent."""
        if self.limit < 2:
            return iter(())
        if self.two_views:
            return itertools.product(self.members_2d, self.members_3d)
        return (pair for pair in itertools.combinations(self.names, 2) if self.may_pair(*pair))

    @property
    def has_pairs(self) -> bool:
        """Whether there is any pair."""
        return next(self.couples, None) is not None

    @property
    def has_subsets(self) -> bool:
        """Whether there are subsets of more than two members to choose from."""
        return len(self.names) > 2 and bool(self.subset_methods) and self.subset_members >= 2

    @property
    def pairs(self) -> int | None:
        """How many different candidates of two members there are; None if a weight is sampled from a range."""
        if "weighted" in self.strategies and self.weight_3d != "exact":
            return None
        return sum(1 for _ in self.couples) * len(self.mixes)


def choices(space: SearchSpace, pool: Pool) -> Choices:
    """What can be tried.

    A pair is of two members of different views: as in the paper one that takes the image as input and one that takes
    3D parameters only; where all members take the same, any two.
    """
    groups = tuple(view_group(view) for view in pool.views)
    distinct = sorted(set(groups), key=lambda group: (group != "2d", groups.index(group)))
    first, seconds = (distinct[0], distinct[1:]) if len(distinct) == 2 else ("2d", ["3d"])
    names_2d = tuple(n for n, group in zip(pool.names, groups, strict=True) if group == first)
    names_3d = tuple(n for n, group in zip(pool.names, groups, strict=True) if group in seconds)
    expression = pool.task.has_classes
    methods: list[tuple[Method, Space, bool]] = []
    for method, per in itertools.product(space.methods, space.fusion.weights_per):
        for in_space in SPACES_OF[method]:
            per_column = per == "column"
            if expression and in_space not in space.fusion.spaces:
                continue
            if not per_column or (method in PER_COLUMN and in_space == "logits"):
                methods.append((method, in_space, per_column))
    limit = space.search.max_members or len(pool.names)
    return Choices(
        names=pool.names,
        groups=groups,
        members_2d=names_2d,
        members_3d=names_3d,
        strategies=space.fusion.strategies,
        spaces=space.fusion.spaces if expression else ("logits",),
        temperatures=tuple(t == "fitted" for t in space.fusion.temperatures) if expression else (False,),
        weight_3d=space.fusion.weight_3d,
        floors=space.fusion.floors == "fitted",
        methods=tuple(methods) if limit > 1 else (),
        subset_members=min(limit, space.search.subset_members, len(pool.names) - 1),
        limit=limit,
    )


def always_scored(space: SearchSpace, pool: Pool) -> tuple[Candidate, ...]:
    """Each member alone, the references of the space for every pair that fits them, each method on all members."""
    fixed = [Candidate((name,)) for name in pool.names]
    among = choices(space, pool)
    for reference in space.references:
        firsts = fnmatch.filter(among.members_2d, reference.member_2d)
        seconds = fnmatch.filter(among.members_3d, reference.member_3d)
        weight = None if reference.weight_3d is None else round(reference.weight_3d, WEIGHT_DECIMALS)
        for pair in itertools.product(firsts, seconds) if among.limit > 1 else ():
            fixed.append(Candidate(pair, reference.strategy, reference.space, weight, reference.name))
    # With two members the exact weight is optimal, unless each column has its own weight,
    # and unless there is more than weights.
    fixed += [of_many(pool.names, *m) for m in among.methods if len(pool.names) > 2 - (m[2] or m[0] in RICHER)]
    return tuple(fixed)


def of_many(
    names: Sequence[str], method: Method, space: Space, per_column: bool, temperatures: bool = False
) -> Candidate:
    """The candidate of a method on some members, in the pool's order."""
    return Candidate(tuple(names), "weighted", space, None, "", method, per_column, temperatures)


def all_pairs(space: SearchSpace, pool: Pool) -> Iterator[Candidate]:
    """Every pair with every strategy and space, weights to be solved for."""
    among = choices(space, pool)
    for first, second in among.couples:
        for strategy, in_space, temperatures in among.mixes:
            weight: Literal["exact"] | None = "exact" if strategy == "weighted" else None
            yield Candidate((first, second), strategy, in_space, weight, temperatures=temperatures)


def suggest(trial: optuna.Trial, among: Choices, pairs: bool) -> Candidate:
    """Ask Optuna for one candidate: a subset of members with a method, or with `pairs` one of two members."""
    kind = trial.suggest_categorical("kind", ["pair", "subset"]) if pairs and among.has_subsets else None
    if kind == "pair" or (kind is None and pairs):
        return _suggest_pair(trial, among)
    return _suggest_subset(trial, among)


def _suggest_pair(trial: optuna.Trial, among: Choices) -> Candidate:
    members = (
        trial.suggest_categorical("member_2d", among.members_2d if among.two_views else among.names),
        trial.suggest_categorical("member_3d", among.members_3d if among.two_views else among.names),
    )
    if not among.may_pair(*members):
        return Candidate((members[0],))
    if not among.two_views and among.names.index(members[0]) > among.names.index(members[1]):
        members = members[::-1]
    # By index: Optuna gives back a plain str, whose type would have to be asserted.
    strategy, in_space, temperatures = among.mixes[trial.suggest_categorical("mix", range(len(among.mixes)))]
    weight: float | Literal["exact"] | None = None
    if strategy == "weighted":
        weight = "exact"
        if among.weight_3d != "exact":
            low, high = among.weight_3d
            weight = round(trial.suggest_float("weight_3d", low, high), WEIGHT_DECIMALS)
    return Candidate(members, strategy, in_space, weight, temperatures=temperatures)


def _suggest_subset(trial: optuna.Trial, among: Choices) -> Candidate:
    """Slots that each hold a member: duplicates give a smaller subset."""
    size = trial.suggest_int("members", 2, among.subset_members)
    slots = {trial.suggest_categorical(f"member_{slot}", among.names) for slot in range(1, size + 1)}
    members = [name for name in among.names if name in slots]
    methods = among.subset_methods
    method, in_space, per_column = methods[trial.suggest_categorical("method", range(len(methods)))]
    # A mixture of probabilities, and a selection of them, depend on how sure each member is; a stack of logits not.
    # Members with floors have their own temperatures.
    warm = False
    if in_space == "probabilities" and len(among.temperatures) > 1 and not among.floors:
        warm = trial.suggest_categorical("temperatures", [False, True])
    if len(members) == 1:
        return Candidate((members[0],))
    return of_many(members, method, in_space, per_column, warm)
