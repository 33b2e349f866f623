"""What is done about copies: put into one split together, or all but one dropped."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from ig3d_ray.data import datasets
from ig3d_ray.data.duplicates.find import CHECK, Alike, Copies, Thresholds, connected, find_copies
from ig3d_ray.data.images import ImageSet
from ig3d_ray.data.samples import Samples
from ig3d_ray.storage.store import Store

Treatment = Literal["keep", "drop", "together"]
"""`keep`: nothing is changed. `drop`: one of each set of copies is kept, from test before dev before train, and none
where their classes differ. `together`: all are kept, in one split, and as one group: a published
test or dev split keeps its samples; of splits that were drawn, the one of the first sample."""
ORDER = ("test", "dev", "train")
LIST_COLUMNS = ("first", "first_split", "first_class", "second", "second_split", "second_class", "similarity", "how")


@dataclass(frozen=True)
class Resolved:
    """A data set after its copies were dealt with.

    Attributes:
        samples: those that are left, in their splits.
        dropped: (sample, why) of the others.
        moved: (sample, from, to) of those whose split changed.
    """

    samples: Samples
    dropped: list[tuple[str, str]]
    moved: list[tuple[str, str, str]]


@dataclass(frozen=True)
class CopiesOf:
    """The copies in a data set.

    Attributes:
        samples: the data set.
        rows: `[K]` int, rows of the samples with an image, to which the pairs of `copies` refer.
        copies: pairs of copies.
    """

    samples: Samples
    rows: np.ndarray
    copies: Copies

    @classmethod
    def find(cls, store: Store, samples: Samples, alike: Alike, thresholds: Thresholds = CHECK) -> "CopiesOf":
        """Find them.

        Args:
            store: with the images.
            samples: of one data set.
            alike: what counts as a copy.
            thresholds: from which similarity on.
        """
        imaged = samples.with_feature("image")
        rows = np.flatnonzero(np.asarray(samples.table["image"].is_valid()))
        return cls(samples, rows, find_copies(ImageSet(store, imaged, 1), alike, thresholds))

    @property
    def groups(self) -> list[np.ndarray]:
        """The rows of `samples` of each set of copies."""
        return [self.rows[part] for part in self.copies.groups]

    @property
    def contradicting(self) -> list[np.ndarray]:
        """The sets of copies whose classes differ."""
        return [part for part in self.groups if len(classes_of(self.samples, part)) > 1]

    def table(self) -> bytes:
        """A CSV with a row per pair: both samples with split and class, similarity, what they have in common."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(LIST_COLUMNS)
        names, splits = class_names(self.samples), self.samples.table["split"].to_pylist()
        pairs = self.copies
        for a, b, alike, how in zip(pairs.first, pairs.second, pairs.similarity, pairs.how, strict=True):
            both = [(self.samples.ids[row], splits[row], names[row]) for row in (self.rows[a], self.rows[b])]
            writer.writerow((*both[0], *both[1], f"{alike:.3f}", how))
        return text.getvalue().encode()


def class_names(samples: Samples) -> list[str]:
    """The class of each sample by name, empty where there is none."""
    names = datasets.dataset(samples.dataset).class_names
    return [names[label] if label >= 0 else "" for label in samples.expression.tolist()]


def classes_of(samples: Samples, rows: np.ndarray) -> list[int]:
    """The classes of some samples, ascending, each once."""
    labels = samples.expression[rows]
    return sorted(set(labels[labels >= 0].tolist()))


def resolve(found: CopiesOf, treatment: Treatment, published: bool) -> Resolved:
    """Deal with copies.

    Args:
        found: the copies of a data set.
        treatment: what is done about them.
        published: whether the test split is the publisher's.
    """
    if treatment == "keep" or not found.groups:
        return Resolved(found.samples, [], [])
    return _drop(found) if treatment == "drop" else _together(found, published)


def _drop(found: CopiesOf) -> Resolved:
    samples, names, dropped = found.samples, class_names(found.samples), []
    splits = samples.table["split"].to_pylist()
    for part in found.groups:
        if len(classes_of(samples, part)) > 1:
            different = ", ".join(sorted({names[row] for row in part if names[row]}))
            dropped += [(row, f"its copies have different classes: {different}") for row in part.tolist()]
            continue
        kept = _first(part, splits)
        dropped += [(row, f"a copy of {samples.ids[kept]}") for row in part.tolist() if row != kept]
    mask = np.ones(len(samples), dtype=bool)
    mask[[row for row, _ in dropped]] = False
    left = Samples(samples.dataset, samples.table.filter(pa.array(mask)))
    return Resolved(left, [(str(samples.ids[row]), why) for row, why in dropped], [])


def _together(found: CopiesOf, published: bool) -> Resolved:
    samples = found.samples
    splits, moved = samples.table["split"].to_pylist(), []
    groups = samples.table["group"].to_pylist()
    for part in _with_their_groups(found):
        first = _first(part, splits) if published else int(part[0])
        name = groups[first] or f"copies of {samples.ids[first]}"
        for row in part.tolist():
            if splits[row] != splits[first]:
                moved.append((str(samples.ids[row]), splits[row], splits[first]))
                splits[row] = splits[first]
            groups[row] = name
    table = samples.table
    for name, values in (("split", splits), ("group", groups)):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    return Resolved(Samples(samples.dataset, table), [], moved)


def _with_their_groups(found: CopiesOf) -> list[np.ndarray]:
    """The sets of copies, each with the other samples of its groups, such as all images of the person."""
    if found.samples.groups is None:
        return found.groups
    count, named = len(found.samples), found.samples.groups
    codes = np.unique(named, return_inverse=True)[1]
    belong = np.flatnonzero(named != "")
    # A sample is connected with its copies, and with a node for its group.
    starts = np.concatenate([found.rows[found.copies.first], belong])
    ends = np.concatenate([found.rows[found.copies.second], count + codes[belong]])
    parts = connected(starts, ends, count + int(codes.max()) + 1)
    copied = set(np.concatenate(found.groups).tolist())
    rows = (part[part < count] for part in parts)
    return [part for part in rows if copied & set(part.tolist())]


def _first(part: np.ndarray, splits: Sequence[str]) -> int:
    """The row that decides: from test before dev before train."""
    return int(min(part.tolist(), key=lambda row: (ORDER.index(splits[row]), row)))
