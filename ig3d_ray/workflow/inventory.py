"""The members that a search space requests and those in a store: members by fingerprint, cached or missing."""

import functools
import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ig3d_ray.config.protocol import SubgroupFloor
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data import datasets
from ig3d_ray.data.labels import Labels, find_labels
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.groups import frames_of, groups_of
from ig3d_ray.evaluation.logits import LogitStore, LogitTable, MemberCard
from ig3d_ray.evaluation.pool import Pool, align
from ig3d_ray.evaluation.pool_parameters import with_parameters
from ig3d_ray.models.registry import has_network, parse_spec
from ig3d_ray.models.spec import ImportedSpec, TrainedSpec, fingerprint
from ig3d_ray.models.user_code import working_directory_on_path
from ig3d_ray.search.subgroups import FEWEST
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store, at_once
from ig3d_ray.training.runs import all_trained
from ig3d_ray.types import SPLITS, Split

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A member of a space.

    Attributes:
        spec: its spec.
        fingerprint: None as long as the data set isn't stored.
        cached: the splits whose logits the store holds.
    """

    spec: TrainedSpec | ImportedSpec
    fingerprint: str | None
    cached: tuple[str, ...]

    def ready_for(self, splits: Sequence[str]) -> bool:
        """Whether the outputs on all these splits are cached."""
        return set(splits) <= set(self.cached)


@dataclass(frozen=True)
class Inventory:
    """A space compared with a store.

    Attributes:
        dataset_fingerprint: of the samples table, empty if there is none.
        wanted: the space's members, in its order.
        others: imported members that the store holds and the space doesn't name.
    """

    dataset_fingerprint: str
    wanted: tuple[Wanted, ...]
    others: tuple[MemberCard, ...]
    cards: tuple[MemberCard, ...]

    @property
    def unused(self) -> int:
        """How many trained members the store holds that the space doesn't name."""
        named = {w.fingerprint for w in self.wanted} | {card.fingerprint for card in self.others}
        return sum(card.fingerprint not in named for card in self.cards)

    def usable(self, splits: Sequence[str]) -> list[MemberCard]:
        """The members that can be searched: those of the space with all outputs, then other imported ones."""
        by_fingerprint = {card.fingerprint: card for card in self.cards}
        ready = [w.fingerprint for w in self.wanted if w.fingerprint and w.ready_for(splits)]
        return [by_fingerprint[f] for f in ready] + [c for c in self.others if set(splits) <= set(c.splits)]

    def missing(self, splits: Sequence[str]) -> list[Wanted]:
        """The members of the space without outputs on some of these splits."""
        return [wanted for wanted in self.wanted if not wanted.ready_for(splits)]

    def excluded(self, splits: Sequence[str]) -> dict[str, str]:
        """Members that are excluded because outputs on these splits are missing: name -> reason."""
        cached = {wanted.spec.name: wanted.cached for wanted in self.wanted}
        cached |= {card.name: card.splits for card in self.others}
        lacking = {name: [s for s in splits if s not in there] for name, there in cached.items()}
        return {
            name: f"no {' and '.join(lacks)} predictions in the storage" for name, lacks in lacking.items() if lacks
        }


def take_inventory(store: Store, space: SearchSpace) -> Inventory:
    """Look up the members of a space in a store, by listings."""
    has_samples = store.exists(paths.samples_table(space.dataset))
    content = load_samples(store, space.dataset, only=()).fingerprint if has_samples else ""
    cards = {card.fingerprint: card for card in LogitStore(store).members(space.dataset)}
    trained = all_trained(store, space.dataset)
    wanted = []
    for spec in space.members():
        known = not has_network(spec) or has_samples
        mark = fingerprint(space.dataset, content, spec) if known else None
        # Logits without the weights that they came from could not be exported.
        usable = mark in cards and (not has_network(spec) or mark in trained)
        wanted.append(Wanted(spec, mark, cards[mark].splits if mark and usable else ()))
    named = {w.fingerprint for w in wanted}
    imported = [c for c in cards.values() if parse_spec(c.spec).is_imported]
    others = tuple(card for card in imported if card.fingerprint not in named)
    return Inventory(content, tuple(wanted), others, tuple(cards.values()))


def alike(specs: Sequence[TrainedSpec]) -> list[TrainedSpec]:
    """The first of all members with the same inputs and the same labels."""
    firsts: dict[object, TrainedSpec] = {}
    for spec in specs:
        firsts.setdefault((spec.features, any(stage.loss.has_va for stage in spec.stages)), spec)
    return list(firsts.values())


def check_trainable(samples: Samples, specs: Sequence[TrainedSpec]) -> None:
    """Check before anything is started that the data contain what these members need.

    Raises:
        Ig3dError: a split has no samples, none with a member's feature, or some without a label that it needs.
    """
    for split in SPLITS:
        part = samples.in_split(split)
        if split != "test":
            _check_classes(samples.dataset, part, split)
        if len(part) == 0:
            raise Ig3dError(
                f"{samples.dataset}: the samples table has no {split} samples; set `split` to {split} for some"
            )
        for spec in alike(specs):
            seen = part
            for feature in spec.features:
                seen = seen.with_feature(feature)
                if len(seen) == 0:
                    raise Ig3dError(f"{samples.dataset}: no {split} sample has {feature}, which {spec.name} needs")
            if split == "test":
                continue
            needs = {"expression": seen.expression < 0}
            if any(stage.loss.has_va for stage in spec.stages):
                needs["valence and arousal"] = np.isnan(seen.va).any(axis=1)
            for label, lacking in needs.items():
                if lacking.any():
                    first, count = seen.ids[int(lacking.argmax())], int(lacking.sum())
                    message = f"{split} sample {str(first)!r} has no {label} ({count} such)"
                    raise Ig3dError(f"{samples.dataset}: {message}, which {spec.name} needs to train")


def _check_classes(dataset: str, part: Samples, split: str) -> None:
    """Training needs samples of every class, and choosing an epoch needs dev samples of several classes."""
    names = datasets.dataset(dataset).class_names
    counts = np.bincount(part.expression[part.expression >= 0], minlength=len(names))
    there = [name for name, count in zip(names, counts, strict=True) if count]
    if split == "train" and there and len(there) < len(names):
        missing = ", ".join(name for name in names if name not in there)
        raise Ig3dError(
            f"{dataset}: no train sample is {missing}; a network would never learn it: see `ig3d data check`"
        )
    if split == "dev" and len(there) == 1:
        raise Ig3dError(f"{dataset}: every dev sample is {there[0]}; epochs can't be chosen by that: carve dev anew")


def check_startable(store: Store, specs: Sequence[TrainedSpec]) -> None:
    """Check that the initial weights of members exist, and that torchvision is installed if a network needs it.

    Raises:
        Ig3dError: something is missing.
    """
    for spec in specs:
        weights = spec.initial_weights
        if weights is not None and not store.exists(paths.start_weights(weights)):
            way_out = f"import them with `ig3d import weights FILE --name {weights}`"
            raise Ig3dError(
                f"{store.locate(paths.start_weights(weights))}: {spec.name} starts from these weights; {way_out}"
            )
        working_directory_on_path()
        for package in (name for name in spec.packages if importlib.util.find_spec(name) is None):
            if spec.kind == "module":
                raise Ig3dError(
                    f"{spec.name}: there is no module {package} in {os.getcwd()}, nor installed; see factory"
                )
            raise Ig3dError(f"{package} is not installed, and {spec.name} needs it: pip install 'ig3d-ray[backbones]'")


def _read(logits: LogitStore, dataset: str, split: Split, card: MemberCard) -> LogitTable:
    return logits.read(dataset, card.fingerprint, split)


def load_pools(
    store: Store, space: SearchSpace, cards: Sequence[MemberCard]
) -> tuple[dict[Split, Pool], list[MemberCard]]:
    """The pools of a protocol's splits.

    Returns:
        The pool of each split, and the members in them: those whose outputs fit the task.

    Raises:
        Ig3dError: no members, no labels, a broken table, or nothing in common.
    """
    logits, pools = LogitStore(store), {}
    logits.look(space.dataset)
    tables: dict[Split, list[LogitTable]] = {}
    for split in space.protocol.splits:
        tables[split] = at_once(functools.partial(_read, logits, space.dataset, split), cards)
    fits = [all(tables[s][i].outputs(space.task) is not None for s in tables) for i in range(len(cards))]
    for split, found in tables.items():
        labels = find_labels(store, space.dataset, split)
        kept = [table for table, fit in zip(found, fits, strict=True) if fit]
        if not kept or labels is None:
            where = store.locate(paths.logits_folder(space.dataset))
            raise Ig3dError(
                f"{where}: the pool is empty: no member has {split} {space.task.outputs};"
                " train with `ig3d run`, or import predictions with `ig3d import predictions`"
            )
        pools[split] = _grouped(align(kept, labels, space.task), labels, space)
    if space.fusion.gate_parameters is not None:
        name = space.fusion.gate_parameters.representation
        pools = {split: with_parameters(store, pool, name) for split, pool in pools.items()}
    return pools, [card for card, fit in zip(cards, fits, strict=True) if fit]


def _check_floor(pool: Pool, attributes: Mapping[str, np.ndarray], floor: SubgroupFloor | None) -> None:
    """Whether the attribute of a floor is known.

    Raises:
        Ig3dError: it isn't, or no subgroup has enough samples.
    """
    if floor is None:
        return
    values, counts = np.unique(attributes.get(floor.attribute, np.zeros(0, np.str_)), return_counts=True)
    if not any(value and count >= FEWEST for value, count in zip(values, counts, strict=True)):
        there = ", ".join(sorted(attributes)) or "none"
        raise Ig3dError(
            f"protocol.floor: {pool.dataset} {pool.split} has no {floor.attribute} with subgroups of {FEWEST} samples"
            f" or more (attributes there: {there}); `ig3d import labels FILE --attribute {floor.attribute}` brings it"
        )


def _grouped(pool: Pool, labels: Labels, space: SearchSpace) -> Pool:
    """The pool with the groups of its samples; a warning if there seem to be some that nobody named."""
    order = np.argsort(labels.ids)
    rows = order[np.searchsorted(labels.ids, pool.ids, sorter=order)]
    known = None if labels.groups is None else labels.groups[rows]
    attributes = {name: values[rows] for name, values in labels.attributes.items()}
    groups = groups_of(pool.ids, known, space.protocol.group_by)
    _check_floor(pool, attributes, space.protocol.floor)
    if groups is not None and space.abstain_above_risk is not None:
        raise Ig3dError(
            f"abstain_above_risk: {pool.dataset} {pool.split} has groups of samples, and the bound holds for"
            " independent ones only; remove it, or the groups"
        )
    found = frames_of(pool.ids, pool.labels) if groups is None else None
    if found is not None:
        videos, example = found
        logger.warning(
            f"{pool.dataset} {pool.split}: {len(pool)} samples look like frames of {videos} videos, such as {example}:"
            " intervals are too narrow unless they are groups; set protocol.group_by, such as '^(.*)[/_]'"
        )
    return replace(pool, groups=groups, labels_digest=labels.digest(space.task), attributes=attributes)
