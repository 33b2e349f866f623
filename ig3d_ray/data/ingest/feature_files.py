"""Reads many small files of 3D parameters in several processes: the content of each file, or why it is unusable.

The functions here run in those processes, so this module imports little.
"""

import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_all_start_methods, get_context

import numpy as np
import orjson

from ig3d_ray.data.representations import ALL_ZERO, GROUPS, WIDTHS, Representation

CHUNK = 512
WORTH_PROCESSES = 2000
# Names of the groups in the JSON files that users of the encoders write.
JSON_KEYS: dict[Representation, dict[str, str]] = {
    "emoca": {name: name for name, _ in GROUPS["emoca"]},
    "smirk": {name: f"{name}_params" for name, _ in GROUPS["smirk"]},
}


@dataclass(frozen=True)
class Read:
    """The content of several files.

    Attributes:
        vectors: `[K, 334 | 358]` float32, finite.
        rows: `[K]` indices of the files that they were read from.
        broken: (which file, why).
    """

    vectors: np.ndarray
    rows: np.ndarray
    broken: list[tuple[int, str]]


def read_many(paths: Sequence[str], representation: Representation, folders: bool) -> Read:
    """Read parameters from JSON files, or from EMOCA's output folders of .npy files.

    Args:
        paths: files, or with `folders` the folders.
    """
    chunks = [(paths[i : i + CHUNK], representation, folders) for i in range(0, len(paths), CHUNK)]
    processes = min(os.cpu_count() or 1, len(chunks))
    if len(paths) < WORTH_PROCESSES or processes == 1:
        parts = [_read_chunk(chunk) for chunk in chunks]
    else:
        # The child processes only read and parse files; with fork they start immediately.
        method = "fork" if "fork" in get_all_start_methods() else "spawn"
        with ProcessPoolExecutor(processes, mp_context=get_context(method)) as pool:
            parts = list(pool.map(_read_chunk, chunks))
    starts = range(0, len(paths), CHUNK)
    return Read(
        np.concatenate([p.vectors for p in parts]) if parts else np.zeros((0, WIDTHS[representation]), np.float32),
        np.concatenate([p.rows + start for p, start in zip(parts, starts, strict=True)]) if parts else np.zeros(0, int),
        [(row + start, why) for p, start in zip(parts, starts, strict=True) for row, why in p.broken],
    )


def _read_chunk(job: tuple[Sequence[str], Representation, bool]) -> Read:
    paths, representation, folders = job
    width = WIDTHS[representation]
    vectors, broken = np.empty((len(paths), width), np.float32), []
    read = np.zeros(len(paths), bool)
    # A number too large for float32 becomes infinite, which is found below.
    with np.errstate(over="ignore"):
        for row, path in enumerate(paths):
            try:
                if folders:
                    _read_folder(path, representation, vectors[row])
                else:
                    vectors[row] = _json_values(path, representation)
                read[row] = True
            except (OSError, ValueError, TypeError) as error:
                broken.append((row, _why(error)))
    finite = np.isfinite(vectors).all(axis=1)
    broken += [(int(row), "holds NaN or infinity") for row in np.flatnonzero(read & ~finite)]
    usable = np.flatnonzero(read & finite)
    some = vectors[usable].any(axis=1)
    broken += [(int(row), ALL_ZERO) for row in usable[~some]]
    kept = usable[some]
    return Read(vectors[kept], kept, broken)


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{os.path.basename(error.filename)} is missing"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "not JSON"
    message = str(error).splitlines()[0]
    if message.startswith(("could not convert", "float() argument")):
        return "holds something that is no number"
    if message.startswith("buffer is smaller"):
        return "a .npy file is cut short"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return message


def _bytes(path: str) -> bytes:
    # A third of the cost of open() with its buffer, which matters for files of a few kilobytes.
    file = os.open(path, os.O_RDONLY)
    try:
        data = os.read(file, 1 << 17)
        if len(data) == 1 << 17:
            parts = [data]
            while part := os.read(file, 1 << 20):
                parts.append(part)
            data = b"".join(parts)
        return data
    finally:
        os.close(file)


def _json_values(path: str, representation: Representation) -> list[float]:
    data = _bytes(path)
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        # Python's JSON writer outputs NaN, which only Python's reader accepts.
        content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object of parameter groups")
    keys, values = JSON_KEYS[representation], []
    for name, size in GROUPS[representation]:
        group = content.get(keys[name])
        if not isinstance(group, list):
            raise ValueError(f"has no list {keys[name]}")
        if group and isinstance(group[0], list):
            raise ValueError(f"{keys[name]} is a list of lists, not of {size} numbers")
        if len(group) != size:
            raise ValueError(f"{keys[name]} has {len(group)} numbers, not {size}")
        values += group
    return values


def _read_folder(folder: str, representation: Representation, into: np.ndarray) -> None:
    start = 0
    for name, size in GROUPS[representation]:
        data = _bytes(f"{folder}/{name}.npy")
        dtype, offset, count = _header(data[:128])
        if count != size:
            raise ValueError(f"{name}.npy has {count} numbers, not {size}")
        into[start : start + size] = np.frombuffer(data, dtype, count, offset)
        start += size


@lru_cache(64)
def _header(head: bytes) -> tuple[str, int, int]:
    """The type, offset and count of a .npy file's numbers, by its first bytes."""
    file = io.BytesIO(head)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except ValueError as error:
        raise ValueError("not a .npy file of numbers") from error
    if dtype.kind not in "fi":
        raise ValueError("not a .npy file of numbers")
    return dtype.str, file.tell(), int(np.prod(shape, dtype=int))
