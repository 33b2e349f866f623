"""RAF-DB in every form in which it is handed out.

One folder of `train_00001_aligned.jpg` ... with `list_patition_label.txt` (with or without suffixes or further columns)
or Kaggle's `train_labels.csv` and `test_labels.csv`; or folders per class, by number or by name. Beside them may lie
`*_manu_attri.txt`: five landmarks, then gender, race and age as numbers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.ingest.layouts import (
    ALIGNED,
    Entry,
    Layout,
    by_stem,
    first_class,
    lines_of,
    need_classes,
    part_of,
    split_of,
)
from ig3d_ray.errors import Ig3dError

ATTRIBUTES = "_manu_attri"
# Digits of a label.
LONGEST_NUMBER = 6
TEST_FIRST = ("test", "test_set", "val_set", "val")
CODES = {
    "gender": ("male", "female", "unsure"),
    "race": ("Caucasian", "African-American", "Asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70+"),
}
Attributes = Mapping[str, Mapping[str, str]]


def read_rafdb(images: Path, labels: Sequence[Path], about: Dataset, attributes: Path | None = None) -> Layout:
    """RAF-DB's samples; labels counted from 1 in label files and in the published folders become classes from 0.

    Args:
        images: the folder of all images, or of folders train and test with one folder per class.
        labels: `list_patition_label.txt`, or Kaggle's two files; none for folders per class.
        about: which classes.
        attributes: the folder of `*_manu_attri.txt`; by default `images` and a folder Annotation beside it.

    Raises:
        Ig3dError: a label file can't be read, or folders are not named by class.
    """
    layout = Layout()
    known = _attributes(images, attributes, layout)
    if labels:
        _labeled(images, labels, about, layout, known)
        return layout
    for is_train in (True, False):
        root = part_of(images, is_train, ", or --labels for one folder of all images", TEST_FIRST)
        found, doubles = by_stem(root, layout, about)
        layout.skipped += doubles
        need_classes(root, found, "no --labels")
        first = first_class(root, found, about)
        word = "train" if is_train else "test"
        for stem, (file, label) in sorted(found.items()):
            sample_id = stem if stem.startswith(word) else f"{word}/{stem}"
            if label is None:
                layout.skipped.append((sample_id, f"in folder {file.parent.name}, which is no class"))
                continue
            number = label - first if file.parent.name.isdecimal() else label
            layout.take(Entry(sample_id, split_of(is_train), file, number, attributes=known.get(stem, {})), about)
    return layout


def _labeled(images: Path, labels: Sequence[Path], about: Dataset, layout: Layout, known: Attributes) -> None:
    found, doubles = by_stem(images, layout, about)
    layout.skipped += doubles
    seen: dict[str, int] = {}
    for file in labels:
        for stem, number in _label_lines(file, layout, seen):
            if stem not in found:
                layout.skipped.append((stem, "labeled, but there is no image; kept without one"))
            image, split = found.get(stem, (None, None))[0], split_of(stem.startswith("train"))
            layout.take(Entry(stem, split, image, number - 1, attributes=known.get(stem, {})), about)
    layout.skipped += [(stem, "image without label") for stem in sorted(set(found) - set(seen))]


def _label_lines(file: Path, layout: Layout, seen: dict[str, int]) -> Iterator[tuple[str, int]]:
    """The stem and label of each line `train_00001.jpg 5`, separated by blanks, commas or tabs."""
    for number, line in enumerate(lines_of(file), 1):
        parts = re.split(r"[\s,;]+", line.strip())
        if not line.strip() or parts[:2] in (["image", "label"], ["name", "label"]):
            continue
        if len(parts) < 2 or not (parts[1].isascii() and parts[1].isdecimal() and len(parts[1]) < LONGEST_NUMBER):
            layout.skipped.append((f"{file.name} line {number}", f"not a file name and a label: {line.strip()[:40]}"))
            continue
        stem = Path(parts[0]).name.rsplit(".", 1)[0].removesuffix(ALIGNED)
        if not stem.startswith(("train", "test")):
            layout.skipped.append((stem, "neither train_... nor test_..."))
        elif stem in seen:
            other = "" if int(parts[1]) == seen[stem] else f", as {seen[stem]} and as {parts[1]}; the first is kept"
            layout.skipped.append((stem, f"{file.name} line {number}: duplicate{other}"))
        else:
            seen[stem] = int(parts[1])
            yield stem, int(parts[1])


def _attributes(images: Path, given: Path | None, layout: Layout) -> Attributes:
    """Gender, race and age by sample, from the files that the publisher hands out with the manual landmarks."""
    if given is not None and not given.is_dir():
        raise Ig3dError(f"--attributes {given}: no such folder")
    places = (
        [given] if given else [images, *(images.parents[i] / "Annotation" for i in (0, 1) if i < len(images.parents))]
    )
    files = [file for place in places if place.is_dir() for file in sorted(place.rglob(f"*{ATTRIBUTES}.txt"))]
    known: dict[str, dict[str, str]] = {}
    for file in files:
        numbers = [line.strip() for line in lines_of(file) if len(line.split()) == 1]
        try:
            codes = dict(zip(CODES, map(int, numbers[:3]), strict=True))
            if min(codes.values()) < 0:
                raise ValueError
            known[file.stem.removesuffix(ATTRIBUTES)] = {name: CODES[name][code] for name, code in codes.items()}
        except (ValueError, IndexError):
            layout.skipped.append((file.name, "not gender, race and age as numbers after the landmarks"))
    if known:
        layout.notes.append(f"gender, race and age of {len(known)} samples from files *{ATTRIBUTES}.txt")
    return known
