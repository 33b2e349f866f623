"""AffectNet in every form in which it is handed out.

2017: images in numbered folders with `training.csv` and `validation.csv` (`subDirectory_filePath`, `expression`, ...),
their names hashed; 2021: `train_set/images/<number>.jpg` with `annotations/<number>_exp.npy`, `_val.npy`, `_aro.npy`;
later: a CSV with `number,exp,val,aro` for each part; or folders per class, by number or by name.
"""

import io
import re
from collections.abc import Iterator, Mapping
from itertools import repeat
from pathlib import Path

import numpy as np

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.ingest.layouts import (
    NAN,
    TEST_FOLDERS,
    TRAIN_FOLDERS,
    Entry,
    Found,
    Layout,
    by_stem,
    need_classes,
    part_of,
    split_of,
)
from ig3d_ray.data.tables.columns import find_column, listed
from ig3d_ray.data.tables.containers import read_columns
from ig3d_ray.data.tables.packed import each_text
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.local_files import read_regular

IDS = ("subDirectory_filePath", "number", "image", "image_path", "path", "pth", "file", "filename", "name")
CLASSES = ("expression", "exp", "label", "emotion", "class")
VALENCE, AROUSAL = ("valence", "val"), ("arousal", "aro")
# Expressions of AffectNet's list that are none of its classes.
NONE_OF_THEM = {8: "none", 9: "uncertain", 10: "no face"}
Row = tuple[str, int | None, float, float]


def read_affectnet(images: Path, annotations: Mapping[str, Path], about: Dataset) -> Layout:
    """AffectNet's samples; for affectnet7 without contempt.

    Args:
        images: the folder that holds the train and val parts, or with annotations that name files, all images.
        annotations: `train`, `val` -> CSV; may be empty.
        about: which classes and labels.

    Raises:
        Ig3dError: a part is missing, a CSV can't be read, or there are neither annotations nor a folder per class.
    """
    layout = Layout()
    walked: dict[Path, Found] = {}
    seen: dict[Path, set[str]] = {}
    words: dict[Path, str] = {}
    for is_train, word in ((True, "train"), (False, "val")):
        root = _root(images, is_train, word in annotations)
        if root not in walked:
            walked[root], doubles = by_stem(root, layout, about)
            layout.skipped += doubles
        found = walked[root]
        arrays = root.parent / "annotations" if root.name == "images" else root / "annotations"
        if word in annotations:
            rows = _annotations(annotations[word], layout, about)
        elif arrays.is_dir():
            layout.notes.append(f"{word}: labels are those of {arrays}/<number>_exp.npy, _val.npy, _aro.npy")
            rows = _arrays(arrays, found, layout)
        else:
            need_classes(root, found, f"no {word} annotations")
            for stem, (file, label) in sorted(found.items()):
                if label is None:
                    layout.skipped.append((f"{word}/{stem}", f"in folder {file.parent.name}, which is no class"))
                else:
                    layout.take(Entry(f"{word}/{stem}", split_of(is_train), file, label), about)
            continue
        seen.setdefault(root, set()).update(_take(rows, found, word, layout, about))
        words.setdefault(root, word)
    for root, stems in seen.items():
        # One folder may hold the images of both parts.
        found = walked[root]
        layout.skipped += [(f"{words[root]}/{one}", "image without annotation") for one in sorted(set(found) - stems)]
    return layout


def _take(rows: Iterator[Row], found: Found, word: str, layout: Layout, about: Dataset) -> set[str]:
    """Add the samples of annotated rows, with their images: the stems of these."""
    seen: set[str] = set()
    in_classes = _has_class_folders(found, about)
    for stem, expression, valence, arousal in rows:
        sample_id = f"{word}/{stem}"
        if stem in seen:
            layout.skipped.append((sample_id, "annotated a second time"))
            continue
        seen.add(stem)
        image, folder = found.get(stem, (None, None))
        if expression in NONE_OF_THEM and about.width <= 8:
            layout.skipped.append((sample_id, f"annotated as {NONE_OF_THEM[expression]}, which is no class"))
            continue
        if in_classes and folder is not None and folder != expression:
            layout.skipped.append((sample_id, f"in folder {folder}, but annotated as {expression}"))
            continue
        if image is None:
            layout.skipped.append((sample_id, "annotated, but there is no image; kept without one"))
        missing = about.va.missing_values if about.va else ()
        valence, arousal = (NAN if value in missing else value for value in (valence, arousal))
        layout.take(Entry(sample_id, split_of(word == "train"), image, expression, valence, arousal), about)
    return seen


def _has_class_folders(found: Found, about: Dataset) -> bool:
    """Whether images lie in folders of classes; the folders of 2017 are numbered up to 1500, beyond the classes."""
    folders = {file.parent.name for file, label in found.values() if label is not None}
    return all(not name.isdecimal() or int(name) <= about.width for name in folders)


def annotation_part(file: Path) -> str:
    """Which part a CSV annotates, `train` or `val`, by its name.

    Raises:
        Ig3dError: the name contains neither word, or both.
    """
    words = [word for word in ("train", "val") if word in file.name.lower()]
    if len(words) != 1:
        raise Ig3dError(f"--annotations {file}: its name must contain train or val, as train_set_annotation.csv does")
    return words[0]


def _root(images: Path, is_train: bool, is_annotated: bool) -> Path:
    """The folder of a part; where annotations name the files, one folder may hold both parts."""
    names = TRAIN_FOLDERS if is_train else TEST_FOLDERS
    if is_annotated and not any((images / name).is_dir() for name in names):
        return images
    return part_of(images, is_train)


def _annotations(file: Path, layout: Layout, about: Dataset) -> Iterator[Row]:
    columns = read_columns(file)
    name, label = find_column(columns, IDS), find_column(columns, CLASSES)
    if name is None or label is None:
        missing = "number" if name is None else "exp"
        raise Ig3dError(
            f"{file}: no column {missing!r} (there are: {listed(columns)}); known: number,exp,val,aro, or"
            " subDirectory_filePath, expression, valence, arousal"
        )
    va = [find_column(columns, names) for names in (VALENCE, AROUSAL)]
    layout.notes.append(f"{file.name}: columns {', '.join(one for one in (name, label, *va) if one)}")
    parts = [each_text(columns, one) if one else repeat(NAN) for one in (name, label, *va)]
    rows = zip(*parts, strict=False)
    for place, expression, valence, arousal in rows:
        try:
            yield _stem(str(place)), _class_of(expression, about), float(valence), float(arousal)
        except (TypeError, ValueError):
            row = ",".join(str(value) for value in (place, expression, valence, arousal))
            layout.skipped.append((f"{file.name}: {row}", "not a class and two numbers"))


def _class_of(value: object, about: Dataset) -> int:
    text = str(value).strip()
    if re.fullmatch(r"-?\d+(\.0*)?", text):
        return int(float(text))
    index = about.index(text)
    if index is None:
        raise ValueError(text)
    return index


def _stem(place: str) -> str:
    """A file's name without its folders and suffix; a number that pandas read as 12.0 is 12."""
    name = place.strip().replace("\\", "/").rsplit("/", 1)[-1]
    if re.fullmatch(r"\d+\.0", name):
        return name[:-2]
    return str(int(name)) if name.isdecimal() and "/" not in place else name.rsplit(".", 1)[0]


def _arrays(folder: Path, found: Found, layout: Layout) -> Iterator[Row]:
    """One file of NumPy per number and label; the labels are strings."""
    stems = {file.name.removesuffix("_exp.npy") for file in folder.glob("*_exp.npy")}
    for stem in sorted(stems | set(found)):
        try:
            expression, valence, arousal = (_value(folder / f"{stem}_{key}.npy") for key in ("exp", "val", "aro"))
            if not expression.is_integer():
                raise ValueError(f"expression {expression:g}")
            yield stem, int(expression), valence, arousal
        except (OSError, ValueError, OverflowError, EOFError, TypeError) as error:
            layout.skipped.append((f"{stem}", f"its annotation cannot be read ({str(error)[:60]})"))


def _value(file: Path) -> float:
    return float(np.load(io.BytesIO(read_regular(file)), allow_pickle=False).item())
