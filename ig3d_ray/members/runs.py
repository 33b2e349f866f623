"""Which members train together in one Ray Train run, and which of them are done. Plain data, no Ray."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ig3d_ray.data.catalog import Split
from ig3d_ray.logits import LogitStore
from ig3d_ray.members.spec import TrainableSpec
from ig3d_ray.storage import Store

TRAINED_SPLITS: tuple[Split, ...] = ("dev", "test")
PUBLISHED = ("checkpoint.pt", "spec.json")
FOLDER = "train"


@dataclass(frozen=True)
class Run:
    """Members of one kind that one Ray Train run trains one after another.

    Attributes:
        storage, dataset: where and on what. members: (fingerprint, spec).
    """

    storage: str
    dataset: str
    members: tuple[tuple[str, TrainableSpec], ...]

    @property
    def name(self) -> str:
        """The same members have the same name, whatever cluster they train on."""
        fingerprints = "".join(fingerprint for fingerprint, _ in self.members)
        digest = hashlib.sha256(f"{self.dataset}{fingerprints}".encode()).hexdigest()[:12]
        return f"{self.dataset}-{self.members[0][1].kind}-{digest}"


def make_runs(store: Store, dataset: str, members: Sequence[tuple[str, TrainableSpec]], size: int) -> list[Run]:
    """All members in runs of one kind and at most `size` members, whether or not they are trained yet.

    So a run keeps its name, and with it its checkpoints, when some of its members are done.
    """
    runs = []
    for kind in dict.fromkeys(spec.kind for _, spec in members):
        of_kind = [member for member in members if member[1].kind == kind]
        runs += [Run(store.uri, dataset, tuple(of_kind[i : i + size])) for i in range(0, len(of_kind), size)]
    return runs


def weights_name(name: str) -> str:
    """Where weights to start from lie in a store."""
    return f"weights/{name}.pt"


def is_trained(store: Store, dataset: str, fingerprint: str) -> bool:
    """Whether a member's weights are published, and the spec that is written after them."""
    return all(store.exists(f"members/{dataset}/{fingerprint}/{name}") for name in PUBLISHED)


def is_cached(store: Store, dataset: str, fingerprint: str) -> bool:
    """Whether a member is trained and its dev and test logits are in the cache."""
    logits = LogitStore(store)
    return is_trained(store, dataset, fingerprint) and all(
        logits.has(dataset, fingerprint, split) for split in TRAINED_SPLITS
    )


def all_cached(store: Store, dataset: str) -> set[str]:
    """Every member of which `is_cached` says yes: by two listings, however many there are."""
    trained: dict[str, set[str]] = {}
    for name in store.names(f"members/{dataset}"):
        _, _, member, file = name.split("/", 3)
        trained.setdefault(member, set()).add(file)
    splits: dict[str, set[str]] = {}
    for name in store.names(f"logits/{dataset}"):
        _, _, member, file = name.split("/", 3)
        splits.setdefault(member, set()).add(file.removesuffix(".parquet"))
    weights = {member for member, files in trained.items() if files >= set(PUBLISHED)}
    return {member for member in weights if splits.get(member, set()) >= set(TRAINED_SPLITS)}


def clear_finished(store: Store, runs: Sequence[Run]) -> None:
    """Delete the checkpoints that these runs needed to go on from; all their members must be done."""
    left = {name.split("/")[1] for name in store.names(FOLDER)}
    for run in runs:
        if run.name in left:
            store.remove(f"{FOLDER}/{run.name}")
