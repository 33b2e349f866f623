"""A table of images: path, class or soft labels, valence, arousal, split, group and attributes."""

import re
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.datasets.class_names import normalized
from ig3d_ray.data.ids import SUFFIX
from ig3d_ray.data.images import IMAGE_SUFFIXES
from ig3d_ray.data.ingest.folders import SPLIT_FOLDERS
from ig3d_ray.data.ingest.layouts import NAN, Entry, Layout
from ig3d_ray.data.ingest.pixels import encoded_pixels
from ig3d_ray.data.tables.classes import classes_of
from ig3d_ray.data.tables.columns import find_column, listed
from ig3d_ray.data.tables.containers import read_columns
from ig3d_ray.data.tables.numbers import MISSING_WORDS, numbers
from ig3d_ray.data.tables.packed import Columns, each, each_text, row_count
from ig3d_ray.errors import Ig3dError
from ig3d_ray.types import Split

PATHS = (
    "path",
    "image",
    "image_path",
    "image_name",
    "img",
    "img_path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "name",
)
IDS = ("sample_id", "id", "image_id")
PIXELS = ("pixels",)
LABELS = ("label", "expression", "emotion", "class", "target", "y")
SPLITS = ("split", "usage", "set", "subset", "partition")
NO_CLASS = frozenset({"unknown", "nf", "noface", "notface"})
GROUPS = ("group", "subject", "subject_id", "video", "person", "identity")


def read_sheet(file: Path, images: Path | None, about: Dataset) -> Layout:
    """The samples of a table.

    Args:
        file: CSV, Parquet, NPZ or JSON. A column of paths, of ids, or of pixels (FER2013; ids are then numbers of rows
            as in FER+, `fer0000000`); classes in one column, or votes or probabilities in a column per class, of which
            the largest counts if it is alone.
        images: the folder that paths are relative to; that of the table by default.
        about: whose classes, range, group and attributes.

    Raises:
        Ig3dError: a column is missing, or a class or number is invalid.
    """
    columns, what, layout = read_columns(file), str(file), Layout()
    path, given_id, pixels = (find_column(columns, names) for names in (PATHS, IDS, PIXELS))
    if path is None and given_id is None and pixels is None:
        raise Ig3dError(f"{what}: no column of paths or ids: path or sample_id (there are: {listed(columns)})")
    rows = row_count(columns)
    classes = _classes(what, columns, about, layout)
    va = [_va(what, columns, names, about, layout) for names in (("valence", "val"), ("arousal", "aro"))]
    splits = _splits(what, columns, rows)
    group = find_column(columns, ((about.group,) if about.group else ()) + GROUPS)
    attributes = {name: found for name in about.attributes if (found := find_column(columns, (name,))) is not None}
    root = images or file.parent
    layout.without_images = path is None and pixels is None
    seen: set[str] = set()
    places, ids, groups, cells = (_each(columns, one) for one in (path, given_id, group, pixels))
    texts = {name: _each(columns, found) for name, found in attributes.items()}
    for row in range(rows):
        place, given, of_group, cell = str(next(places)).replace("\\", "/"), next(ids), next(groups), next(cells)
        own = {name: _text(next(one)) for name, one in texts.items()}
        sample_id = _text(given) or "" if given_id else SUFFIX.sub("", place).removeprefix("./")
        if path is None and given_id is None:
            sample_id = f"fer{row:07d}"
        if sample_id in seen:
            layout.skipped.append((sample_id, f"row {row + 1}: another row has this id"))
            continue
        seen.add(sample_id)
        image = _image(root, place) if place else None
        if place and image is None:
            layout.skipped.append((sample_id, f"there is no image {place}; kept without one"))
        encoded = _pixels(sample_id, cell, layout) if pixels and image is None else None
        entry = Entry(
            sample_id=sample_id,
            split=splits[row],
            file=image,
            expression=None if classes[row] < 0 else int(classes[row]),
            valence=float(va[0][row]),
            arousal=float(va[1][row]),
            group=_text(of_group) if group else None,
            attributes={name: text for name, text in own.items() if text},
            encoded=encoded,
        )
        layout.take(entry, about)
    read = [one for one in (path, given_id, pixels, group, *attributes.values()) if one]
    layout.notes.append(f"columns {', '.join(read)}" + ("" if group else "; no group"))
    return layout


def _each(columns: Columns, name: str | None) -> Iterator[Any]:
    """The values of a column as the file has them; empty ones where there is no such column."""
    return repeat("") if name is None else each_text(columns, name)


def _text(value: object) -> str | None:
    """A word or whole number as text; None where there is none."""
    text = str(value).strip()
    if text.lower() in MISSING_WORDS:
        return None
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def _pixels(sample_id: str, value: object, layout: Layout) -> bytes | None:
    """The image of a cell; without one, it is said why."""
    try:
        return encoded_pixels(value)
    except ValueError as error:
        layout.skipped.append((sample_id, f"pixels: {error}; kept without an image"))
        return None


def _image(root: Path, place: str) -> Path | None:
    """The file of a path, with any suffix of an image where the table has none."""
    for suffix in ("", *sorted(IMAGE_SUFFIXES)) if not Path(place).suffix else ("",):
        file = root / f"{place}{suffix}"
        if file.is_file():
            return file
    return None


def _classes(what: str, columns: Columns, about: Dataset, layout: Layout) -> np.ndarray:
    """`[N]` classes, -1 where there is none."""
    rows = row_count(columns)
    name = find_column(columns, LABELS)
    if not about.width:
        return np.full(rows, -1, np.int64)
    if name is not None:
        classes, missing = classes_of(what, name, columns[name], about)
        layout.notes.append(f"column {name} is the class; {missing} samples have none")
        return classes
    soft = {index: one for one in columns if (index := about.index(one)) is not None}
    if len(soft) == about.width:
        return _majority(what, columns, [soft[index] for index in range(about.width)], layout)
    if about.has_va:
        return np.full(rows, -1, np.int64)
    raise Ig3dError(
        f"{what}: no column of classes: label, or one column per class (there are: {listed(columns)}); classes of"
        f" {about.name}: {', '.join(about.class_names[:12])}"
    )


def _majority(what: str, columns: Columns, names: Sequence[str], layout: Layout) -> np.ndarray:
    """The class with the most votes; none where two have as many."""
    votes = np.stack([np.nan_to_num(numbers(what, name, columns[name])) for name in names], axis=1)
    best = votes.argmax(axis=1)
    alone = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    for name in (one for one in columns if normalized(one) in NO_CLASS):
        # FER+ has votes for "unknown" and "no face", too.
        alone &= votes.max(axis=1) > np.nan_to_num(numbers(what, name, columns[name]))
    ties = int((~alone).sum())
    layout.notes.append(f"a column per class: the class with the most votes counts; {ties} samples have no such class")
    return np.where(alone, best, -1)


def _va(what: str, columns: Columns, names: tuple[str, ...], about: Dataset, layout: Layout) -> np.ndarray:
    """`[N]` labels in [-1, 1], NaN where there is none."""
    name = find_column(columns, names)
    if name is None or about.va is None:
        return np.full(row_count(columns), NAN)
    values = numbers(what, name, columns[name])
    missing = np.isin(values, about.va.missing_values) | np.isnan(values)
    values[missing] = NAN
    low, high = about.va.range
    scaled = f", rescaled from [{low:g}, {high:g}]" if about.va.is_rescaled else ""
    layout.notes.append(f"column {name}{scaled}; {int(missing.sum())} samples are not annotated")
    return about.va.rescaled(values)


def _splits(what: str, columns: Columns, rows: int) -> list[Split | None]:
    name = find_column(columns, SPLITS)
    if name is None:
        return [None] * rows
    words = [str(one).strip() for one in each(columns, name)]
    unknown = next((one for one in words if one and one.lower() not in SPLIT_FOLDERS), None)
    if unknown is not None:
        raise Ig3dError(f"{what}: column {name}: {unknown[:40]!r} is no split; known: train, dev (val), test")
    return [SPLIT_FOLDERS[one.lower()] if one else None for one in words]
