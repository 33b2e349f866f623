"""From a publisher's files to a samples table: images checked and packed, a dev split carved out, skips listed."""

import csv
import hashlib
import io
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ig3d_ray.data import datasets
from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.duplicates.find import TREAT, Alike
from ig3d_ray.data.duplicates.resolve import CopiesOf, Treatment, resolve
from ig3d_ray.data.encoder_record import forget_encoders
from ig3d_ray.data.images import UnreadableImageError, open_image, pack_images
from ig3d_ray.data.ingest.layouts import Entry, Layout
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.leases import exclusive, was_interrupted
from ig3d_ray.storage.local_files import read_regular
from ig3d_ray.storage.store import Store
from ig3d_ray.types import SPLITS, Task

logger = logging.getLogger(__name__)
PER_PACK = 4096
# The sample-specific parts of a reason: reasons that differ only in these are counted together.
_OF_ONE_SAMPLE = re.compile(r"line \d+|valence [^:]*")
_IMAGE = re.compile(r"\.(?:jpe?g|png|bmp|gif)\b", re.IGNORECASE)
LONGEST_REASON = 500
Skips = list[tuple[str, str]]


@dataclass(frozen=True)
class Shares:
    """Shares of each class that become dev and test, where the publisher has no such split.

    Attributes:
        dev: of train.
        test: of all, where there is no test split.
    """

    dev: float = 0.1
    test: float = 0.2


@dataclass(frozen=True)
class CopiesPlan:
    """What counts as a copy of an image, and what is done about it.

    Attributes:
        treatment: keep, drop or put into one split together.
        alike: which images count as copies.
    """

    treatment: Treatment = "keep"
    alike: Alike = "near"


KEEP_COPIES = CopiesPlan()


@dataclass(frozen=True)
class Ingested:
    """The result of a data import: the table, (what, why) for everything that was excluded, and the copies."""

    samples: Samples
    skipped: Skips
    copies: CopiesOf | None = None
    moved: tuple[tuple[str, str, str], ...] = ()


def ingest(
    store: Store,
    dataset: str,
    layout: Layout,
    shares: Shares,
    seed: int,
    replace: bool,
    copies: CopiesPlan = KEEP_COPIES,
) -> Ingested:
    """Check and pack the images, carve dev out of train, and publish the samples table.

    Args:
        shares: of each class, for the splits that the publisher doesn't have.
        seed: of these splits.
        replace: overwrite an existing table, which members may have been trained on.
        copies: what counts as a copy of an image, and what is done about it.

    Raises:
        Ig3dError: nothing usable was found, a class has no train samples, or another table is there.
    """
    about = datasets.dataset(dataset)
    table = f"samples/{dataset}"
    over = store.seen(paths.samples_table(dataset))
    # A command that was killed after it had published the table is repeated, not refused.
    if store.exists(paths.samples_table(dataset)) and not replace and not was_interrupted(store, table):
        where = store.locate(paths.samples_table(dataset))
        raise Ig3dError(
            f"{where}: is there already, and members may be trained on it; use --replace or another --storage"
        )
    if not layout.entries:
        raise Ig3dError(
            f"{dataset}: none of {len(layout.skipped)} files and rows is a sample; {_first(layout.skipped)}"
        )
    for part in ("train", "test"):
        of_part = [entry for entry in layout.entries if (entry.split or "train") == part]
        if of_part and not layout.without_images and not any(entry.has_image for entry in of_part):
            message = f"not one of {len(of_part)} labeled {part} samples has an image, such as {of_part[0].sample_id}"
            raise Ig3dError(f"{dataset}: {message}; are the images called so?")
    counts = Counter(e.expression for e in layout.entries if e.split in ("train", None))
    empty = [name for index, name in enumerate(about.class_names) if not counts[index]]
    if empty and Task.EXPRESSION in about.tasks:
        raise Ig3dError(f"{dataset}: no train sample is {', '.join(empty)}; check the folders, or the order of classes")
    entries = sorted(layout.entries, key=lambda entry: entry.sample_id)
    skipped = list(layout.skipped)
    splits = _splits(entries, shares, seed)
    # What is wrong with the table is found before anything is written.
    Samples(dataset, _table(about, entries, {}, splits))
    places = _pack(store, dataset, entries, skipped)
    samples, found, moved = Samples(dataset, _table(about, entries, places, splits)), None, []
    if copies.treatment != "keep":
        found = CopiesOf.find(store, samples, copies.alike, TREAT)
        done = resolve(found, copies.treatment, published=any(entry.split == "test" for entry in entries))
        samples, moved = done.samples, done.moved
        skipped += done.dropped
    # An extraction that is about to publish waits, and then detects that the images have changed.
    datasets.publish(store, about)
    with exclusive(store, table) as leases:
        leases.verify(table)
        # The table last: once it is there, the data set is complete, and the command is not repeated.
        write_skipped(store, dataset, "images", skipped)
        if found is not None:
            store.write(paths.copies(dataset), found.table())
        forget_encoders(store, dataset)
        samples.save(store, over)
    return Ingested(samples, skipped, found, tuple(moved))


def write_skipped(store: Store, dataset: str, source: str, skipped: Skips) -> str:
    """Write the skipped items of a source to the dataset's skipped.csv, replacing its earlier entries.

    Returns:
        Where the file is.
    """
    name = paths.skipped_files(dataset)
    rows = [row for row in _skipped_rows(store, name) if row[0] != source]
    rows += [(source, what, why) for what, why in skipped]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("source", "what", "why"))
    writer.writerows(rows)
    store.write(name, text.getvalue().encode())
    return store.locate(name)


def reasons(skipped: Skips, at_most: int = 8) -> list[str]:
    """What was skipped, counted by reason with its first example."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for what, why in skipped:
        kind = _kind(why)
        counts[kind] += 1
        first.setdefault(kind, f"{why}, such as {what}")
    common = counts.most_common(at_most)
    message = [f"{count} x {first[kind]}" for kind, count in common]
    left = counts.total() - sum(count for _, count in common)
    return message + ([f"{left} for {len(counts) - len(common)} other reasons"] if left else [])


def _kind(why: str) -> str:
    """A reason without what is of one sample: its line, its numbers, its file's name."""
    words = _OF_ONE_SAMPLE.sub("#", why[:LONGEST_REASON]).split()
    return " ".join("#" if _names_a_sample(word) else word for word in words)


def _names_a_sample(word: str) -> bool:
    place = min((at for at in (word.find("/"), word.find("_")) if at >= 0), default=-1)
    return bool(_IMAGE.search(word)) or (place >= 0 and any(letter.isdecimal() for letter in word[place:]))


def _skipped_rows(store: Store, name: str) -> list[tuple[str, str, str]]:
    if not store.exists(name):
        return []
    rows = list(csv.reader(io.StringIO(store.read(name).decode())))[1:]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def _first(skipped: Skips) -> str:
    return f"the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else "there are none"


def _pack(store: Store, dataset: str, entries: Sequence[Entry], skipped: Skips) -> dict[str, str]:
    """sample_id -> location of its packed image; images that can't be decoded are skipped."""
    with_image = [entry for entry in entries if entry.has_image]
    places: dict[str, str] = {}
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        for start in range(0, len(with_image), PER_PACK):
            logger.debug("data: %d of %d images read", start, len(with_image))
            chunk = with_image[start : start + PER_PACK]
            read = pool.map(_checked, chunk)
            encoded = {}
            for entry, (data, why) in zip(chunk, read, strict=True):
                if data is None:
                    skipped.append((str(entry.file), f"{why}; {entry.sample_id} is kept without an image"))
                else:
                    encoded[entry.sample_id] = data
            if encoded:
                places |= pack_images(store, dataset, encoded)
    return places


def _checked(entry: Entry) -> tuple[bytes | None, str]:
    if entry.file is None:
        return entry.encoded, ""
    try:
        data = read_regular(entry.file)
        open_image(data, entry.file.name)
    except UnreadableImageError as error:
        return None, str(error).removeprefix(f"{entry.file.name}: ").split(";")[0]
    except OSError:
        return None, "cannot be read"
    return data, ""


def _splits(entries: Sequence[Entry], shares: Shares, seed: int) -> list[str]:
    """train, dev or test of each entry: the publisher's, and of every class the shares with the smallest hashes.

    Uses a hash of the id, so that a sample's split doesn't change when others are added or removed. Samples of one
    group stay together; the shares are then those of whole groups, whatever their classes.
    """
    splits: dict[str, str] = {entry.sample_id: entry.split or "train" for entry in entries}
    has = {entry.split for entry in entries}
    if "test" not in has:
        _carve(entries, splits, "test", shares.test, seed)
    if "dev" not in has:
        _carve(entries, splits, "dev", shares.dev, seed)
    return [splits[entry.sample_id] for entry in entries]


def _carve(entries: Sequence[Entry], splits: dict[str, str], into: str, share: float, seed: int) -> None:
    """Move a share of train into another split."""
    train = [entry for entry in entries if splits[entry.sample_id] == "train"]
    if any(entry.group is not None for entry in train):
        _carve_groups(train, splits, into, share, seed)
        return
    of_class: dict[int | None, list[str]] = {}
    for entry in train:
        of_class.setdefault(entry.expression, []).append(entry.sample_id)
    for ids in of_class.values():
        ids.sort(key=lambda sample_id: _order(seed, into, sample_id))
        # A class with a single sample stays in train.
        for sample_id in ids[: min(max(1, round(share * len(ids))), len(ids) - 1)]:
            splits[sample_id] = into


def _carve_groups(train: Sequence[Entry], splits: dict[str, str], into: str, share: float, seed: int) -> None:
    of_group: dict[str, list[str]] = {}
    for entry in train:
        of_group.setdefault(entry.group or entry.sample_id, []).append(entry.sample_id)
    moved = 0
    for group in sorted(of_group, key=lambda name: _order(seed, into, name))[:-1]:
        if moved >= round(share * len(train)):
            break
        for sample_id in of_group[group]:
            splits[sample_id] = into
        moved += len(of_group[group])


def _order(seed: int, into: str, name: str) -> bytes:
    # The dev split of a publisher's train part is as it always was.
    key = f"{seed}\0{name}" if into == "dev" else f"{seed}\0{into}\0{name}"
    return hashlib.sha256(key.encode()).digest()


def _table(about: Dataset, entries: Sequence[Entry], places: dict[str, str], splits: Sequence[str]) -> pa.Table:
    def number(values: Sequence[float]) -> pa.Array:
        return pa.array([None if math.isnan(v) else v for v in values], pa.float32())

    attributes = [name for name in about.attributes if any(name in entry.attributes for entry in entries)]
    return pa.table(
        {
            "sample_id": [entry.sample_id for entry in entries],
            "split": list(splits),
            "image": pa.array([places.get(entry.sample_id) for entry in entries], pa.string()),
            "expression": pa.array([entry.expression for entry in entries], pa.int8()),
            "valence": number([entry.valence for entry in entries]),
            "arousal": number([entry.arousal for entry in entries]),
            "group": pa.array([entry.group for entry in entries], pa.string()),
        }
        | {name: pa.array([entry.attributes.get(name) for entry in entries], pa.string()) for name in attributes}
    )


def class_table(samples: Samples) -> dict[str, np.ndarray]:
    """Split -> how many samples of each class, `[C]`."""
    classes = len(datasets.dataset(samples.dataset).class_names)
    parts = {split: samples.in_split(split).expression for split in SPLITS}
    return {split: np.bincount(labels[labels >= 0], minlength=classes) for split, labels in parts.items()}
