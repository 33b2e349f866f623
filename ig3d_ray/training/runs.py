"""Which members train together in one Ray Train run, and which of them are done. Plain data, no Ray."""

import hashlib
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from ig3d_ray.models.spec import TrainedSpec
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split

TRAINED_SPLITS: tuple[Split, ...] = ("dev", "test")
# Maximum duration of a run of several members: startup then takes 1/60 of it, and the run is still short.
PACK_SECONDS = 600.0
# Startup of a run's processes (imports of torch, connections): 7 s were measured on a machine with two cores
# (docs/scale.md), plus the creation of the context on a GPU. Members of several kinds that train no longer than that
# share a run.
START_SECONDS = 10.0


@dataclass(frozen=True)
class Run:
    """Members that one Ray Train run trains one after another.

    Attributes:
        storage: URI of the storage.
        dataset: that the members train on.
        members: (fingerprint, spec).
    """

    storage: str
    dataset: str
    members: tuple[tuple[str, TrainedSpec], ...]

    @property
    def name(self) -> str:
        """The same members give the same name on every cluster."""
        fingerprints = "".join(fingerprint for fingerprint, _ in self.members)
        digest = hashlib.sha256(f"{self.dataset}{fingerprints}".encode()).hexdigest()[:12]
        return f"{self.dataset}-{self.members[0][1].kind}-{digest}"


def make_runs(
    store: Store,
    dataset: str,
    members: Sequence[tuple[str, TrainedSpec]],
    size: int,
    seconds: Mapping[str, float] | None = None,
) -> list[Run]:
    """Group all members into runs, trained or not: short ones together, long ones alone.

    Members of one kind share a run up to `PACK_SECONDS`. Runs of several kinds that would together end before another
    one has started, within `START_SECONDS`, are one.

    So a run keeps its name, and with it its checkpoints, when some of its members are done. A run of many long
    trainings would last as long as all of them, however many machines there are.

    Args:
        size: maximum number of members in a run.
        seconds: expected durations by fingerprint; they must be the same on every cluster, or runs would lose
            their names; nothing by default.
    """
    groups: list[tuple[list[tuple[str, TrainedSpec]], float]] = []
    for kind in dict.fromkeys(spec.kind for _, spec in members):
        taken: list[tuple[str, TrainedSpec]] = []
        total = 0.0
        for member in (member for member in members if member[1].kind == kind):
            takes = seconds[member[0]] if seconds else 0.0
            if taken and (len(taken) == size or total + takes > PACK_SECONDS):
                groups.append((taken, total))
                taken, total = [], 0.0
            taken.append(member)
            total += takes
        groups.append((taken, total))
    if seconds is not None:
        groups = _shortest_together(groups, size)
    return [Run(store.uri, dataset, tuple(taken)) for taken, _ in groups]


def _shortest_together(
    groups: Sequence[tuple[list[tuple[str, TrainedSpec]], float]], size: int
) -> list[tuple[list[tuple[str, TrainedSpec]], float]]:
    """The groups of members and their seconds, neighbours that end before another run has started as one."""
    packed: list[tuple[list[tuple[str, TrainedSpec]], float]] = []
    for taken, total in groups:
        before, so_far = packed[-1] if packed else ([], math.inf)
        if so_far + total <= START_SECONDS and len(before) + len(taken) <= size:
            packed[-1] = (before + taken, so_far + total)
        else:
            packed.append((taken, total))
    return packed


def all_trained(store: Store, dataset: str) -> set[str]:
    """Every member whose weights and spec are published, found with one listing."""
    return _members_having(store, paths.members_folder(dataset), paths.TRAINED_FILES)


def all_cached(store: Store, dataset: str) -> set[str]:
    """Every trained member whose dev and test logits are in the cache, found with two listings."""
    tables = {f"{split}.parquet" for split in TRAINED_SPLITS}
    return all_trained(store, dataset) & _members_having(store, paths.logits_folder(dataset), tables)


def _members_having(store: Store, folder: str, files: Set[str]) -> set[str]:
    """The members with all these files in their folders."""
    return {member for member, found in paths.files_by_folder(store.names(folder), folder).items() if found >= files}


def clear_finished(store: Store, runs: Sequence[Run]) -> None:
    """Delete the checkpoints that these runs resume from; all their members must be finished."""
    left = paths.first_folders(store.names(paths.TRAIN), paths.TRAIN)
    for run in runs:
        if run.name in left:
            store.remove(paths.train_folder(run.name))
