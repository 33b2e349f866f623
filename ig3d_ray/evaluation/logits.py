"""The logit cache: the outputs of each member for each sample, one Parquet table per data set, member and split.

Any model can be added here by its predictions alone. Rows are identified by `sample_id`
and their order is never significant.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ig3d_ray.data.datasets import dataset as dataset_of
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.local_cache import read_through
from ig3d_ray.storage.parquet import table_from_bytes, table_to_bytes
from ig3d_ray.storage.store import Store, at_once
from ig3d_ray.types import Split, Task, View

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 2
"""Of logit tables; `docs/storage-format.md` lists what changed."""


@dataclass(frozen=True)
class LogitTable:
    """One member's outputs on one split.

    Attributes:
        dataset: its name in the catalog.
        split: train, dev or test.
        member: the member's fingerprint.
        name: as in tables.
        view: which view it takes as input.
        member_spec: the member's spec as canonical JSON.
        dataset_fingerprint: of the samples that it was computed on; empty for imported predictions.
        ids: `[N]` str, unique.
        logits: `[N, C]` float32 raw class scores, or None.
        va: `[N, 2]` float32 valence and arousal, or None.

    Raises:
        Ig3dError: a duplicate sample_id; widths or lengths don't fit; a number is NaN or infinite. The
            message names the first offending sample and how many there are.
    """

    dataset: str
    split: Split
    member: str
    name: str
    view: View
    member_spec: str
    dataset_fingerprint: str
    ids: np.ndarray
    logits: np.ndarray | None
    va: np.ndarray | None

    def __post_init__(self) -> None:
        what = f"{self.dataset} {self.split} outputs of {self.name}"
        if len(self.ids) == 0:
            raise Ig3dError(f"{what}: no rows")
        unique, first, counts = np.unique(self.ids, return_index=True, return_counts=True)
        if len(unique) != len(self.ids):
            repeated = unique[counts > 1]
            earliest = self.ids[first[counts > 1].min()]
            raise Ig3dError(f"{what}: sample_id {str(earliest)!r} is duplicated ({len(repeated)} such ids)")
        if self.logits is None and self.va is None:
            raise Ig3dError(f"{what}: neither logits nor valence and arousal")
        classes = len(dataset_of(self.dataset).class_names)
        for kind, values, width in (("logits", self.logits, classes), ("va", self.va, 2)):
            if values is None:
                continue
            if values.shape != (len(self.ids), width):
                shape = "x".join(map(str, values.shape))
                raise Ig3dError(f"{what}: {kind} are {shape}, but {self.dataset} needs {len(self.ids)}x{width}")
            broken = ~np.isfinite(values).all(axis=1)
            if broken.any():
                sample = self.ids[int(broken.argmax())]
                raise Ig3dError(f"{what}: NaN or infinity in the {kind} of sample {sample} ({int(broken.sum())} such)")

    def outputs(self, task: Task) -> np.ndarray | None:
        """The columns of a task: `[N, C]` logits, or `[N, 2]` valence and arousal; None where it has none."""
        return self.logits if task.has_classes else self.va

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the ids and numbers, in hex; neither the order of rows nor a library's version matters."""
        order = np.argsort(self.ids)
        content = hashlib.sha256("\0".join([self.dataset, self.split, *self.ids[order].tolist()]).encode())
        for name, values in (("logits", self.logits), ("va", self.va)):
            if values is not None:
                content.update(name.encode() + np.ascontiguousarray(values[order], dtype=np.float32).tobytes())
        return content.hexdigest()

    def to_bytes(self) -> bytes:
        """The table as Parquet, rows sorted by id; the same content gives the same bytes."""
        order = np.argsort(self.ids)
        columns: dict[str, pa.Array] = {"sample_id": pa.array(self.ids[order].tolist(), pa.string())}
        for name, values in (("logits", self.logits), ("va", self.va)):
            if values is not None:
                flat = pa.array(np.ascontiguousarray(values[order], dtype=np.float32).reshape(-1))
                columns[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        about = {
            "dataset": self.dataset,
            "split": self.split,
            "member": self.member,
            "name": self.name,
            "view": self.view,
            "member_spec": self.member_spec,
            "dataset_fingerprint": self.dataset_fingerprint,
            "class_names": list(dataset_of(self.dataset).class_names),
            "ig3d_ray": version("ig3d-ray"),
            "schema_version": SCHEMA_VERSION,
        }
        table = pa.table(columns).replace_schema_metadata({"ig3d": json.dumps(about, sort_keys=True)})
        return table_to_bytes(table)

    @staticmethod
    def from_bytes(data: bytes, what: str) -> "LogitTable":
        """Read the output of `to_bytes`.

        Raises:
            Ig3dError: the file is truncated or not a logit table; the message begins with `what`.
        """
        try:
            table = table_from_bytes(data)
            about = json.loads(table.schema.metadata[b"ig3d"])
        except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
            reason = "cut short or not Parquet" if isinstance(error, pa.ArrowInvalid | OSError) else "no logit table"
            raise Ig3dError(f"{what}: {reason}; delete this file and run again, or import again") from error
        written = about.get("schema_version", 1)
        if written != SCHEMA_VERSION:
            way_out = "delete this file, and train or import the member again"
            raise Ig3dError(f"{what}: schema_version {written}; this version of ig3d reads {SCHEMA_VERSION}: {way_out}")
        expected = list(dataset_of(about["dataset"]).class_names)
        if about["class_names"] != expected:
            raise Ig3dError(f"{what}: classes {about['class_names']}, but {about['dataset']} has {expected}")

        def matrix(name: str) -> np.ndarray | None:
            if name not in table.column_names:
                return None
            column = table[name].combine_chunks()
            return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)

        ids = np.asarray(table["sample_id"].to_pylist(), dtype=np.str_)
        keys = ("dataset", "split", "member", "name", "view", "member_spec", "dataset_fingerprint")
        return LogitTable(**{k: about[k] for k in keys}, ids=ids, logits=matrix("logits"), va=matrix("va"))


@dataclass(frozen=True)
class MemberCard:
    """A member in the store: fingerprint, name, view, spec (canonical JSON), cached splits."""

    fingerprint: str
    name: str
    view: View
    spec: str
    splits: tuple[str, ...]


class LogitStore:
    """The logit tables of a store, and the cards of their members."""

    def __init__(self, store: Store) -> None:
        self.store = store
        # Versions of the tables in the last listing, which identify the local copies.
        self._versions: dict[str, str | None] = {}

    @staticmethod
    def path(dataset: str, member: str, split: str) -> str:
        """The name under which a table is stored."""
        return paths.logit_table(dataset, member, split)

    def write(self, table: LogitTable) -> None:
        """Publish a table, whole or not at all."""
        self.store.write(self.path(table.dataset, table.member, table.split), table.to_bytes())

    def has(self, dataset: str, member: str, split: str) -> bool:
        """Whether a table is published."""
        return self.store.exists(self.path(dataset, member, split))

    def read(self, dataset: str, member: str, split: str) -> LogitTable:
        """A published table; for a remote store, the local copy if its version matches the last listing.

        Raises:
            Ig3dError: it is missing or broken, or does not belong at its path.
        """
        name = self.path(dataset, member, split)
        table = LogitTable.from_bytes(read_through(self.store, name, self._versions.get(name)), self.store.locate(name))
        if (table.dataset, table.member, table.split) != (dataset, member, split):
            there = f"{table.dataset}/{table.member}/{table.split}"
            raise Ig3dError(f"{self.store.locate(name)}: holds {there}; it was moved: delete it and run again")
        return table

    def to_pandas(self, dataset: str, split: str) -> "pd.DataFrame":
        """Every member's outputs on a split, side by side: a row per sample, columns (member, output).

        Missing outputs are NaN. Outputs are named by their class, `valence` and `arousal`.

        Raises:
            Ig3dError: no member has outputs there.
        """
        import pandas as pd

        names, found = dataset_of(dataset).class_names, {}
        for card in told_apart(card for card in self.members(dataset) if split in card.splits):
            table = self.read(dataset, card.fingerprint, split)
            for values, columns in ((table.logits, names), (table.va, ("valence", "arousal"))):
                for i, column in enumerate(columns if values is not None else ()):
                    found[card.name, column] = pd.Series(values[:, i], index=table.ids)  # type: ignore[index]
        if not found:
            raise Ig3dError(f"{dataset}: no outputs on {split} in {self.store.uri}")
        frame = pd.DataFrame(found).sort_index()
        frame.index.name, frame.columns.names = "sample_id", ["member", "output"]
        return frame

    def look(self, dataset: str) -> list[str]:
        """The names of a data set's tables; later reads may use the local copies."""
        self._versions = self.store.versions(paths.logits_folder(dataset))
        return list(self._versions)

    def members(self, dataset: str) -> list[MemberCard]:
        """Every member with at least one cached split, by fingerprint; one listing, and one read per member."""
        splits: dict[str, list[str]] = {}
        for name in self.look(dataset):
            key = paths.parse_logit_table(name)
            if key is not None:
                splits.setdefault(key.fingerprint, []).append(key.split)

        def card(member: str) -> MemberCard:
            cached = sorted(splits[member])
            table = self.read(dataset, member, cached[0])
            return MemberCard(member, table.name, table.view, table.member_spec, tuple(cached))

        return at_once(card, sorted(splits))


def told_apart(cards: Iterable[MemberCard]) -> list[MemberCard]:
    """Members by unique names: members with the same name, such as one trained before the data changed, get
    the first digits of their fingerprint appended."""
    known = list(cards)
    counts = Counter(card.name for card in known)
    return [replace(c, name=f"{c.name}+{c.fingerprint[:6]}") if counts[c.name] > 1 else c for c in known]
