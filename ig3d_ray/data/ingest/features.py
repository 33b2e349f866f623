"""Imports 3D parameters into a samples table: read from any supported format, matched to samples, never imputed."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ig3d_ray.data.encoder_record import write_encoder_record
from ig3d_ray.data.ids import part_of_id
from ig3d_ray.data.ingest.build import Skips, write_skipped
from ig3d_ray.data.ingest.feature_files import read_many
from ig3d_ray.data.ingest.feature_tables import read_table
from ig3d_ray.data.ingest.layouts import ALIGNED
from ig3d_ray.data.representations import Representation
from ig3d_ray.data.representations import representation as declaration
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.leases import Fence
from ig3d_ray.storage.store import Store

# EMOCA's demo calls the folder of an image's first face <stem>00.
FIRST_FACE = "00"
SHOWN = 10


@dataclass(frozen=True)
class FeatureImport:
    """The result of an import of parameters.

    Attributes:
        samples: the new table.
        added: how many samples have parameters from these files.
        skipped: (what, why). seconds and files are informational.
    """

    samples: Samples
    added: int
    skipped: Skips
    files: int


def import_features(
    store: Store,
    samples: Samples,
    representation: Representation,
    source: Path,
    split: str | None = None,
    columns: dict[str, tuple[int, int]] | None = None,
    fence: Fence | None = None,
) -> FeatureImport:
    """Read parameters from a folder or a merged file and publish the samples table that has them.

    Args:
        source: a folder of JSON files or of EMOCA's output folders; or a file of delimited text (.csv, .tsv, .txt, also
            with .gz), .npz or .parquet.
        split: match samples of this split only (train means train and dev), if names occur in several.
        columns: of a CSV: group -> (first, one past the last) column, counted from 0.
        fence: looked at before anything is written; the table is then published over what it saw.

    Raises:
        Ig3dError: the source can't be read, or nothing in it belongs to a sample.
    """
    places, vectors, skipped = read_parameters(source, representation, columns)
    match = _Matcher(samples, split)
    found, files = np.full(len(samples), -1), len(places) + len(skipped)
    for row, place in enumerate(places):
        index, why = match(place)
        if index is None:
            skipped.append((place, why))
        elif found[index] >= 0:
            skipped.append((place, f"a second one for sample {samples.ids[index]}"))
        else:
            found[index] = row
    if (found < 0).all():
        first = f"; the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise Ig3dError(f"{source}: nothing in it belongs to a sample of {samples.dataset}{first}")
    skipped += [(str(samples.ids[i]), "no parameters found") for i in match.wanted if found[i] < 0]
    new = samples.with_parameters(representation, vectors, found)
    # The parameters then have two sources, and no single encoder can reproduce them for a new image.
    if fence is not None:
        fence.verify()
    # The table last: once it is there, the parameters are complete, and the command is not repeated.
    write_skipped(store, samples.dataset, representation, skipped)
    write_encoder_record(store, samples.dataset, representation, None)
    new.save(store, None if fence is None else fence.over)
    return FeatureImport(new, int((found >= 0).sum()), skipped, files)


def read_parameters(
    source: Path, representation: Representation, columns: dict[str, tuple[int, int]] | None
) -> tuple[list[str], np.ndarray, Skips]:
    """The places (relative paths without suffix, or ids), vectors and skips of a folder or a merged file.

    Raises:
        Ig3dError: it is neither, or it can't be read.
    """
    if source.is_dir():
        return _from_folder(source, representation)
    if source.is_file():
        return read_table(source, representation, columns)
    raise Ig3dError(f"{representation}: {source}: no such file or folder")


def _from_folder(folder: Path, representation: Representation) -> tuple[list[str], np.ndarray, Skips]:
    """The places (relative paths without suffix), vectors and skips of a folder."""
    demo, jsons, arrays = _walk(str(folder), representation)
    kinds = {"folders of .npy files": demo, "JSON files": jsons, ".npy files": arrays}
    there = [kind for kind, found in kinds.items() if found]
    if len(there) > 1:
        raise Ig3dError(f"{folder}: holds both {there[0]} and {there[1]}; give the folder of one kind")
    if not there:
        about = declaration(representation)
        keys = ", ".join(group.key or name for name, group in list(about.groups.items())[:SHOWN])
        first = next(iter(about.groups))
        raise Ig3dError(
            f"{folder}: holds no JSON files (with {keys}), no .npy files of {about.width} numbers, and no folders with"
            f" {first}.npy ..."
        )
    paths = sorted(demo or jsons or arrays)
    read = read_many(paths, representation, folders=not jsons)
    start = len(str(folder)) + 1
    names = [path[start:].removesuffix(".json").removesuffix(".npy") for path in paths]
    skipped = [(path[start:], why) for path, why in ((paths[row], why) for row, why in read.broken)]
    # Encoders number the faces of an image: 00 or _000 is the first. EMOCA writes a folder without a number where it
    # found no face, under the first letter of the image's name. Other programs' files have no numbers at all.
    suffix = _numbering(names)
    kept = [at for at, row in enumerate(read.rows) if names[row].endswith(suffix)]
    others = sorted(set(range(len(read.rows))) - set(kept))
    skipped += [
        (names[read.rows[at]], f"not <name>{suffix}: no face was found, or it is another face") for at in others
    ]
    return [names[read.rows[at]].removesuffix(suffix) for at in kept], read.vectors[kept], skipped


def _numbering(names: Sequence[str]) -> str:
    """How names mark the first face of their image; empty if they don't number faces.

    `_000`, `_00` and, after a letter, `00` do where a third of all names are first faces, and most images have one; 00
    after a digit, which may be the end of any number, where most names end so.
    """
    for suffix, pattern in (("_000", r"_\d{3}$"), ("_00", r"_\d{2}$"), (FIRST_FACE, r"(?<!\d)\d{2}$")):
        bases = [re.sub(pattern, "", name) for name in names if re.search(pattern, name)]
        firsts = {name.removesuffix(suffix) for name in names if name.endswith(suffix)} & set(bases)
        if 3 * len(firsts) >= len(names) and 2 * len(firsts) > len(set(bases)):
            return suffix
    return FIRST_FACE if 2 * sum(name.endswith(FIRST_FACE) for name in names) > len(names) else ""


def _walk(folder: str, representation: Representation) -> tuple[list[str], list[str], list[str]]:
    """Folders with a .npy file per group, JSON files, and other .npy files, anywhere below a folder."""
    first = f"{next(iter(declaration(representation).groups))}.npy"
    groups = {f"{name}.npy" for name in declaration(representation).groups}
    demo, jsons, arrays, left = [], [], [], [folder]
    while left:
        here = left.pop()
        found: list[str] = []
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    jsons.append(entry.path)
                elif entry.name.endswith(".npy"):
                    found.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
        if first in found or (found and groups & set(found)):
            demo.append(here)
        else:
            arrays += [f"{here}/{name}" for name in found]
    return demo, jsons, arrays


class _Matcher:
    """Which sample a place belongs to: by its full id, or by the last two parts of its path."""

    def __init__(self, samples: Samples, split: str | None) -> None:
        splits = samples.table["split"].to_pylist()
        allowed = {"train": ("train", "dev")}.get(split or "", (split,))
        self.wanted = [i for i, name in enumerate(splits) if split is None or name in allowed]
        if not self.wanted:
            raise Ig3dError(f"{samples.dataset}: has no {split} samples")
        ids = samples.ids.tolist()
        self.whole = {ids[i]: i for i in self.wanted}
        self.ids = ids
        parts = {part for name in ids if (part := part_of_id(name))}
        # Where parts number their images alike, a bare number is ambiguous, even if one part has no such image here.
        self.parts = sorted(parts) if split is None and len(parts) > 1 else []
        self.by_stem: dict[str, list[int]] = {}
        for i in self.wanted:
            self.by_stem.setdefault(ids[i].rsplit("/", 1)[-1].removesuffix(ALIGNED), []).append(i)
        self.folders = {folder for name in ids if (folder := _last_folder(name))}

    def __call__(self, place: str) -> tuple[int | None, str]:
        """The sample's index, or None and why."""
        if place in self.whole:
            return self.whole[place], ""
        stem = place.rsplit("/", 1)[-1]
        there = self.by_stem.get(stem.removesuffix(ALIGNED), [])
        part, last = part_of_id(place), _last_folder(place)
        if part:
            # A file in a train folder never belongs to a val sample, even if it is the only one of this name.
            there = [i for i in there if part_of_id(self.ids[i]) in {"", part}]
        if last in self.folders:
            # Nor one in a person's folder to a sample of another's.
            there = [i for i in there if _last_folder(self.ids[i]) in {"", last}]
        if len(there) == 1 and self.parts and not part and part_of_id(self.ids[there[0]]):
            return None, f"of {' or '.join(self.parts)}? give --split"
        if len(there) == 1:
            return there[0], ""
        if not there:
            return None, f"no sample {stem.removesuffix(ALIGNED)!r}, nor one whose id ends so"
        return None, f"could be {self.ids[there[0]]} or {self.ids[there[1]]}; give --split"


def _last_folder(name: str) -> str:
    """The last folder of a path that names no split; empty if there is none."""
    folders = name.split("/")[:-1]
    return next((folder for folder in reversed(folders) if not part_of_id(f"{folder}/x")), "")


def missing_by_split(samples: Samples, representation: str) -> Counter[str]:
    """Split -> samples without these parameters (or images)."""
    nulls = samples.missing(representation).tolist()
    return Counter(s for s, missing in zip(samples.table["split"].to_pylist(), nulls, strict=True) if missing)


def parse_columns(text: Sequence[str]) -> dict[str, tuple[int, int]]:
    """`exp=4:54` ... to group -> positions.

    Raises:
        Ig3dError: the string does not have this form.
    """
    found = {}
    for item in text:
        name, equals, places = item.partition("=")
        first, colon, last = places.partition(":")
        if not equals or not colon or not first.isdecimal() or not last.isdecimal():
            raise Ig3dError(f"--columns {item}: write it as group=first:end, such as exp=4:54")
        found[name] = (int(first), int(last))
    return found
