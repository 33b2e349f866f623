"""AffectNet and RAF-DB as their publishers lay them out."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ig3d_ray.data import datasets
from ig3d_ray.storage.store import Store

AFFECTNET, RAFDB = datasets.dataset("affectnet8"), datasets.dataset("rafdb")


def image(path: Path, value: int) -> None:
    """A small image that differs by value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = (np.arange(24 * 24 * 3).reshape(24, 24, 3) * (1 + value) + value) % 256
    Image.fromarray(ramp.astype(np.uint8)).save(path)


def annotations(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    path.write_text("number,exp,val,aro\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def affectnet(root: Path, class_folders: bool = False) -> dict[str, Path]:
    """24 train and 16 val images of eight classes: the annotation files."""
    files = {}
    for part, word, count in (("train_set", "train", 24), ("val_set", "val", 16)):
        rows = []
        for number in range(count):
            label = number % 8
            folder = root / word / str(label) if class_folders else root / part / "images"
            image(folder / f"{number}.jpg", number + 100 * (word == "val"))
            rows.append((number, label, round(-0.9 + 0.05 * number, 3), 0.25))
        files[word] = annotations(root / f"{word}_set_annotation_without_lnd.csv", rows)
    return files


def rafdb(root: Path, as_folders: int | None = None) -> Path:
    """21 train and 14 test images of seven classes, in one folder or in folders that count from `as_folders`."""
    lines = []
    for word, count in (("train", 21), ("test", 14)):
        for number in range(count):
            name, label = f"{word}_{number:04d}", 1 + number % 7
            lines.append(f"{name}.jpg {label}")
            where = root if as_folders is None else root / word / str(label - 1 + as_folders)
            image(where / f"{name}_aligned.jpg", number + 100 * (word == "test"))
    labels = root / "list_patition_label.txt"
    labels.write_text("\n".join(lines) + "\n")
    return labels


def skipped_rows(store: Store, dataset: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(store.read(f"datasets/{dataset}/skipped.csv").decode())))[1:]
