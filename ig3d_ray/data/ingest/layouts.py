"""Samples as their publishers hand them out: a list of entries, and what was excluded and why."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.images import IMAGE_SUFFIXES
from ig3d_ray.data.tables.columns import listed
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.local_files import read_regular
from ig3d_ray.types import Split

# Names of the two parts in publications and scripts; the paper reports results on the second one.
TRAIN_FOLDERS = ("train_set", "train")
TEST_FOLDERS = ("val_set", "val", "val_clean", "test")
ALIGNED = "_aligned"
NAN = float("nan")


@dataclass(frozen=True)
class Entry:
    """One sample as published.

    Attributes:
        sample_id: `train/123`, `val/123` (AffectNet); `train_00001` (RAF-DB).
        split: the publisher's; None where there is none.
        file: its image; None if there is none, or `encoded` has it.
        expression: class from 0, or None.
        valence: NaN where there is none.
        arousal: NaN where there is none.
        group: which samples belong together, such as a subject.
        attributes: of its subgroups, such as gender.
        encoded: its image as the content of a file, where it has no file of its own.
    """

    sample_id: str
    split: Split | None
    file: Path | None
    expression: int | None
    valence: float = NAN
    arousal: float = NAN
    group: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    encoded: bytes | None = None

    @property
    def has_image(self) -> bool:
        """Whether there is an image, in a file or not."""
        return self.file is not None or self.encoded is not None


@dataclass
class Layout:
    """The content of a publisher's files.

    Attributes:
        entries: the samples.
        skipped: (what, why) of each file or row that is not a sample.
        notes: what was read as what, one line each.
        without_images: whether it has no images on purpose.
    """

    entries: list[Entry] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    without_images: bool = False

    def take(self, entry: Entry, about: Dataset) -> None:
        """Add a sample, unless its labels are invalid."""
        classes = len(about.class_names)
        if entry.expression is not None and not 0 <= entry.expression < classes:
            why = f"expression {entry.expression} is outside 0..{classes - 1}"
        elif not all(v != v or -1 <= v <= 1 for v in (entry.valence, entry.arousal)):
            why = f"valence {entry.valence:g}, arousal {entry.arousal:g}: outside [-1, 1]"
        else:
            self.entries.append(entry)
            return
        self.skipped.append((entry.sample_id, why))


def split_of(is_train: bool) -> Split:
    """The split of a publisher's two parts."""
    return "train" if is_train else "test"


def part_of(images: Path, is_train: bool, or_else: str = "", test_folders: Sequence[str] = TEST_FOLDERS) -> Path:
    """The folder of the train or of the test images, in any case.

    Args:
        images: that holds both.
        is_train: which.
        or_else: what else may be given, for the message.
        test_folders: names of the test folder, the first that is there counts.

    Raises:
        Ig3dError: there is none.
    """
    names = TRAIN_FOLDERS if is_train else test_folders
    there = {folder.name.lower(): folder.name for folder in images.iterdir() if folder.is_dir()}
    for name in (there[name] for name in names if name in there):
        if (images / name).is_dir():
            inner = images / name / "images"
            return inner if inner.is_dir() else images / name
    raise Ig3dError(
        f"--images {images}: has none of the folders {', '.join(names)}; give the one that holds them{or_else}"
    )


def image_files(root: Path) -> Iterator[Path]:
    """Every image below a folder, in a fixed order."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield Path(folder) / name


Found = dict[str, tuple[Path, int | None]]


def by_stem(root: Path, layout: Layout, about: Dataset) -> tuple[Found, list[tuple[str, str]]]:
    """Images by their stem with the number of their class folder, and duplicate stems.

    A folder named as a class has that class's number; one of digits has this number, which may count from 1.
    """
    found: Found = {}
    doubles = []
    for file in image_files(root):
        if not is_text(file):
            doubles.append((ascii(file.name), "its name is not UTF-8"))
            continue
        stem = file.stem.removesuffix(ALIGNED)
        label = folder_class(file.parent.name, about) if file.parent != root else None
        if stem in found:
            doubles.append((str(file.relative_to(root)), f"the same name as {found[stem][0].relative_to(root)}"))
        else:
            found[stem] = (file, label)
    if not found:
        raise Ig3dError(f"{root}: holds no images (.jpg, .png, ...)")
    return found, doubles


def is_text(file: Path) -> bool:
    """Whether a path is UTF-8, as ids must be."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return True


def folder_class(name: str, about: Dataset) -> int | None:
    """The class that a folder names (`happy`, `3_happy`), or the number that it is; None if neither.

    Args:
        name: of the folder.
        about: whose classes.
    """
    named = named_class(name, about)
    return named if named is not None else int(name) if name.isascii() and name.isdecimal() else None


def named_class(name: str, about: Dataset) -> int | None:
    """The class that a folder names, with or without a number before it; None if it names none.

    Args:
        name: of the folder.
        about: whose classes.
    """
    index = about.index(name)
    return index if index is not None else about.index(re.sub(r"^\d+[\W_]+", "", name))


def need_classes(root: Path, found: Found, lacking: str) -> None:
    if all(label is None for _, label in found.values()):
        raise Ig3dError(f"{root}: {lacking}, and no folders named by class (0, 1, ...); give one of the two")


def first_class(root: Path, found: Found, about: Dataset) -> int:
    """The number of the first class: 0, or 1 where numbered folders count from 1.

    Raises:
        Ig3dError: it can't be known.
    """
    numbers = {label for file, label in found.values() if label is not None and file.parent.name.isdecimal()}
    return first_number(root, numbers, about, ", or give a label file")


def first_number(root: Path, numbers: Set[int], about: Dataset, or_else: str = "") -> int:
    """The number of the first of numbered class folders, 0 or 1.

    Args:
        root: the folder.
        numbers: of its class folders.
        about: whose classes.
        or_else: what else may be given, for the message.

    Raises:
        Ig3dError: neither the first nor the last class's number is there.
    """
    if not numbers or 0 in numbers:
        return 0
    if about.width in numbers:
        return 1
    raise Ig3dError(
        f"{root}: folders {listed(map(str, sorted(numbers)))}: neither 0 nor {about.width}"
        f" is there, so they may count from 0 or from 1; name them as the classes{or_else}"
    )


def lines_of(file: Path) -> Iterable[str]:
    """The lines of a text file.

    Raises:
        Ig3dError: it can't be read.
    """
    try:
        return read_regular(file).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Ig3dError(f"{file}: cannot be read ({error})") from error
