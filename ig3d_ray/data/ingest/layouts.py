"""Common on-disk layouts of AffectNet and RAF-DB, read as one list of entries.

AffectNet: `train_set/images/<number>.jpg` and `val_set/...` (or flat folders `train`, `val`) with an annotation
CSV each (`number,exp,val,aro`); or folders per class, `train/<class>/<number>.jpg`, with or without the CSVs.
RAF-DB: one folder of `train_00001_aligned.jpg` ... with `list_patition_label.txt`; or folders per class.
"""

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.errors import Ig3dError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
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
        is_train: whether it belongs to the published train part.
        file: its image.
        expression: class from 0, or None.
        valence: NaN where there is none.
        arousal: NaN where there is none.
    """

    sample_id: str
    is_train: bool
    file: Path | None
    expression: int | None
    valence: float = NAN
    arousal: float = NAN


@dataclass
class Layout:
    """The content of a publisher's files.

    Attributes:
        entries: the samples.
        skipped: (what, why) of each file or row that is not a sample.
    """

    entries: list[Entry] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

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


def read_affectnet(images: Path, annotations: dict[str, Path], about: Dataset) -> Layout:
    """AffectNet's samples; for affectnet7 without contempt.

    Args:
        images: the folder that holds the train and val parts.
        annotations: `train`, `val` -> CSV; may be empty.

    Raises:
        Ig3dError: a part is missing, a CSV can't be read, or there is neither a CSV nor a folder per class.
    """
    layout = Layout()
    for is_train, word in ((True, "train"), (False, "val")):
        root = _part(images, is_train)
        found, doubles = _by_stem(root, layout)
        layout.skipped += doubles
        if word not in annotations:
            _need_classes(root, found, f"no {word} annotations")
            for stem, (file, label) in sorted(found.items()):
                layout.take(Entry(f"{word}/{stem}", is_train, file, label), about)
            continue
        numbers = set()
        for number, expression, valence, arousal in _annotations(annotations[word], layout):
            sample_id = f"{word}/{number}"
            if number in numbers:
                layout.skipped.append((sample_id, f"{annotations[word].name}: a second row"))
                continue
            numbers.add(number)
            image, folder = found.get(number, (None, None))
            if folder is not None and folder != expression:
                layout.skipped.append((sample_id, f"in folder {folder}, but annotated as {expression}"))
                continue
            if image is None:
                layout.skipped.append((sample_id, "annotated, but there is no image; kept without one"))
            layout.take(Entry(sample_id, is_train, image, expression, valence, arousal), about)
        layout.skipped += [(f"{word}/{stem}", "image without annotation") for stem in sorted(set(found) - numbers)]
    return layout


def read_rafdb(images: Path, labels: Path | None, about: Dataset) -> Layout:
    """RAF-DB's samples; labels 1..7 of the label file and of the published folders become classes 0..6.

    Args:
        images: the folder of all images, or of folders train and test with one folder per class.
        labels: `list_patition_label.txt`; None for folders per class.

    Raises:
        Ig3dError: the label file can't be read, or folders are not named by class.
    """
    layout = Layout()
    if labels is not None:
        found, doubles = _by_stem(images, layout)
        layout.skipped += doubles
        seen = set()
        for stem, number in _label_lines(labels, layout):
            seen.add(stem)
            if stem not in found:
                layout.skipped.append((stem, "labeled, but there is no image; kept without one"))
            file = found.get(stem, (None, None))[0]
            layout.take(Entry(stem, stem.startswith("train"), file, number - 1), about)
        layout.skipped += [(stem, "image without label") for stem in sorted(set(found) - seen)]
        return layout
    for is_train in (True, False):
        root = _part(images, is_train, ", or --labels for one folder of all images")
        found, doubles = _by_stem(root, layout)
        layout.skipped += doubles
        _need_classes(root, found, "no --labels")
        first = _first_class(root, {label for _, label in found.values() if label is not None})
        word = "train" if is_train else "test"
        for stem, (file, label) in sorted(found.items()):
            sample_id = stem if stem.startswith(word) else f"{word}/{stem}"
            layout.take(Entry(sample_id, is_train, file, None if label is None else label - first), about)
    return layout


def annotation_part(file: Path) -> str:
    """Which part a CSV annotates, `train` or `val`, by its name.

    Raises:
        Ig3dError: the name contains neither word, or both.
    """
    words = [word for word in ("train", "val") if word in file.name.lower()]
    if len(words) != 1:
        raise Ig3dError(f"--annotations {file}: its name must contain train or val, as train_set_annotation.csv does")
    return words[0]


def _part(images: Path, is_train: bool, or_else: str = "") -> Path:
    names = TRAIN_FOLDERS if is_train else TEST_FOLDERS
    for name in names:
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
            if name.lower().endswith(PICTURES) and not name.startswith("."):
                yield Path(folder) / name


Found = dict[str, tuple[Path, int | None]]


def _by_stem(root: Path, layout: Layout) -> tuple[Found, list[tuple[str, str]]]:
    """Images by their stem with the class of their folder, and duplicate stems."""
    found: Found = {}
    doubles = []
    for file in image_files(root):
        stem = file.stem.removesuffix(ALIGNED)
        label = int(file.parent.name) if file.parent != root and file.parent.name.isdigit() else None
        if stem in found:
            doubles.append((str(file.relative_to(root)), f"the same name as {found[stem][0].relative_to(root)}"))
        else:
            found[stem] = (file, label)
    if not found:
        raise Ig3dError(f"{root}: holds no images ({', '.join(PICTURES)})")
    return found, doubles


def _need_classes(root: Path, found: Found, lacking: str) -> None:
    if all(label is None for _, label in found.values()):
        raise Ig3dError(f"{root}: {lacking}, and no folders named by class (0, 1, ...); give one of the two")


def _first_class(root: Path, labels: set[int]) -> int:
    """The first folder number, 0 or 1."""
    if 0 in labels:
        return 0
    if 7 in labels:
        return 1
    raise Ig3dError(
        f"{root}: folders {sorted(labels)}: neither 0 nor 7 is there, so they may be 0..6 or 1..7; give a label file"
    )


def _annotations(file: Path, layout: Layout) -> Iterator[tuple[str, int, float, float]]:
    for row in csv.DictReader(_lines(file)):
        try:
            yield str(int(row["number"])), int(row["exp"]), float(row["val"]), float(row["aro"])
        except KeyError as error:
            raise Ig3dError(f"{file}: no column {error}; its first line should be number,exp,val,aro") from error
        except (TypeError, ValueError):
            layout.skipped.append((f"{file.name}: {','.join(str(v) for v in row.values())}", "not four numbers"))


def _label_lines(file: Path, layout: Layout) -> Iterator[tuple[str, int]]:
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(file), 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2 or not parts[1].isdigit():
            layout.skipped.append((f"{file.name} line {number}", f"not a file name and a label: {line.strip()[:40]}"))
            continue
        stem = Path(parts[0]).stem.removesuffix(ALIGNED)
        if not stem.startswith(("train", "test")):
            layout.skipped.append((stem, "neither train_... nor test_..."))
        elif stem in seen:
            other = "" if int(parts[1]) == seen[stem] else f", as {seen[stem]} and as {parts[1]}; the first is kept"
            layout.skipped.append((stem, f"{file.name} line {number}: duplicate{other}"))
        else:
            seen[stem] = int(parts[1])
            yield stem, int(parts[1])


def _lines(file: Path) -> Iterable[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Ig3dError(f"{file}: cannot be read ({error})") from error
