"""Checks a data set before training: counts compared with the published ones, missing data, duplicate images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ig3d_ray.data import datasets
from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.duplicates.find import Alike
from ig3d_ray.data.duplicates.resolve import CopiesOf, class_names
from ig3d_ray.data.ingest.build import class_table
from ig3d_ray.data.ingest.features import missing_by_split
from ig3d_ray.data.samples import Samples
from ig3d_ray.storage.store import Store
from ig3d_ray.types import SPLITS


@dataclass(frozen=True)
class DataCheck:
    """What a check of a data set found.

    Attributes:
        counts: rows of (what, per class, all): each split, and the published counts beside train + dev and
            test.
        notes: information for the user.
        faults: problems that should be fixed before training.
        copies: copies among the images.
    """

    class_names: tuple[str, ...]
    counts: list[tuple[str, list[int], int]]
    notes: list[str]
    faults: list[str]
    copies: CopiesOf


def check_data(store: Store, samples: Samples, alike: Alike = "exact") -> DataCheck:
    """Counts per class and split, missing features, duplicate images, empty classes.

    Args:
        store: with the images.
        samples: the data set.
        alike: which images count as duplicates.
    """
    about, table = datasets.dataset(samples.dataset), class_table(samples)
    rows = [(split, counts.tolist(), int(counts.sum())) for split, counts in table.items()]
    notes, faults = _against_published(about, table)
    for what, counts in about.counts.items():
        rows.append((f"published {'train + dev' if what == 'train' else what}", list(counts), sum(counts)))
    faults += _empty(about.class_names, table)
    for feature in ("image", *(samples.representations or ("emoca", "smirk"))):
        missing = missing_by_split(samples, feature)
        if sum(missing.values()) == len(samples):
            notes.append(f"no sample has {feature}")
        elif missing:
            message = ", ".join(f"{count} {split}" for split, count in sorted(missing.items()))
            notes.append(f"without {feature}: {message}; members that take it as input are compared on the others")
    notes.append(_about_ids(samples))
    unlabeled = int((samples.expression < 0).sum())
    if unlabeled:
        notes.append(f"{unlabeled} samples have no class")
    if about.has_va and np.isnan(samples.va).any():
        notes.append(f"{int(np.isnan(samples.va).any(axis=1).sum())} samples have no valence and arousal")
    copies = CopiesOf.find(store, samples, alike)
    for message, is_fault in about_copies(copies, alike):
        (faults if is_fault else notes).append(message)
    return DataCheck(about.class_names, rows, notes, faults, copies)


def _about_ids(samples: Samples) -> str:
    """What ids look like, and how files are matched with them."""
    splits = samples.table["split"].to_pylist()
    examples = [f"{samples.ids[splits.index(split)]} ({split})" for split in SPLITS if split in splits]
    matched = (
        "files match by their path without suffix, or its last part; folders train, val, test decide where both fit"
    )
    return f"sample ids are such as {', '.join(examples)}; {matched}"


def _against_published(about: Dataset, table: dict[str, np.ndarray]) -> tuple[list[str], list[str]]:
    notes, faults = [], []
    for what, counts in about.counts.items():
        ours = table["train"] + table["dev"] if what == "train" else table["test"]
        published = np.array(counts)
        if (ours == published).all():
            notes.append(f"{what}: every class has the published count")
            continue
        if sorted(ours.tolist()) == sorted(counts) or _order_is_off(ours, published):
            faults.append(f"{what}: the counts fit the published ones in another order: are classes mixed up?")
        else:
            notes.append(f"{what}: {int(ours.sum())} samples, published {int(published.sum())}")
    return notes, faults


def _order_is_off(ours: np.ndarray, published: np.ndarray) -> bool:
    """Whether another order of classes would match the published class shares much better."""
    if not ours.sum():
        return False
    shares, wanted = ours / ours.sum(), published / published.sum()
    best = np.empty_like(shares)
    best[np.argsort(wanted)] = np.sort(shares)
    return float(np.abs(shares - wanted).sum()) > 0.2 and float(np.abs(best - wanted).sum()) < 0.05


def _empty(class_names: Sequence[str], table: dict[str, np.ndarray]) -> list[str]:
    found = []
    for split, counts in table.items():
        if not counts.sum():
            found.append(f"{split} has no labeled samples")
            continue
        found += [f"no {split} sample is {name}" for name, count in zip(class_names, counts, strict=True) if not count]
    return found


def about_copies(found: CopiesOf, alike: Alike) -> list[tuple[str, bool]]:
    """Images that are copies of each other: (message, whether they are in two splits, a fault).

    Args:
        found: the copies of a data set.
        alike: what counted as one.
    """
    samples, pairs, rows = found.samples, found.copies, found.rows
    splits, names = np.array(samples.table["split"].to_pylist(), np.str_), class_names(samples)
    first, second = rows[pairs.first], rows[pairs.second]
    across = splits[first] != splits[second]
    what = "duplicate images" if alike == "exact" else "pairs of duplicate images"
    message = []
    for some, is_fault, where in (
        (across, True, "in two splits"),
        (~across, False, "within one split"),
    ):
        if some.any():
            a, b = first[some][0], second[some][0]
            example = f"{samples.ids[a]} ({splits[a]}) and {samples.ids[b]} ({splits[b]})"
            advice = "; import them with --duplicates together, or drop" if is_fault else ""
            message.append((f"{int(some.sum())} {what} {where}, such as {example}{advice}", is_fault))
    contradicting = found.contradicting
    if contradicting:
        shown = ", ".join(f"{samples.ids[row]} ({names[row] or 'no class'})" for row in contradicting[0].tolist()[:3])
        message.append((f"{len(contradicting)} sets of duplicates have different classes, such as {shown}", False))
    return message
