"""Reads many small files of 3D parameters in several processes: the content of each file, or why it is unusable.

The functions here run in those processes, so this module imports little.
"""

import errno
import io
import json
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_all_start_methods, get_context
from typing import Any

import numpy as np
import orjson

from ig3d_ray.data.representations import ALL_ZERO, Declaration, Group, Representation, width_of
from ig3d_ray.data.representations import representation as declaration

CHUNK = 512
WORTH_PROCESSES = 2000


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
        np.concatenate([p.vectors for p in parts]) if parts else np.zeros((0, width_of(representation)), np.float32),
        np.concatenate([p.rows + start for p, start in zip(parts, starts, strict=True)]) if parts else np.zeros(0, int),
        [(row + start, why) for p, start in zip(parts, starts, strict=True) for row, why in p.broken],
    )


def _read_chunk(job: tuple[Sequence[str], Representation, bool]) -> Read:
    paths, representation, folders = job
    width = width_of(representation)
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
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
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
        try:
            content = json.loads(data)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
    about = declaration(representation)
    whole = _whole(content, about)
    if whole is not None:
        return whole
    if not isinstance(content, dict):
        raise ValueError("not a JSON object of parameter groups")
    values: list[float] = []
    for name, group in about.groups.items():
        values += _group(content, name, group)
    return values


def _whole(content: Any, about: Declaration) -> list[float] | None:
    """A vector that stands in one list, bare or below the representation's name; None if the groups are apart."""
    if isinstance(content, dict):
        content = next(
            (content[n] for n in (about.name, *about.aliases) if n in content and n not in about.groups), None
        )
    content = _squeezed(content)
    if not isinstance(content, list) or not content or isinstance(content[0], dict):
        return None
    if isinstance(content[0], list):
        content = _rows(content, about)
    if len(content) != about.width:
        raise ValueError(f"has {len(content)} numbers, not {about.width}")
    return list(map(_float, content))


def _rows(content: list[Any], about: Declaration) -> list[Any]:
    """A list of lists as one vector: a list per group, or for points [[x, y], ...] every x first."""
    sizes = [size for _, size in about.sizes]
    lengths = [len(row) if isinstance(row, list) else 0 for row in content]
    if lengths == sizes:
        return [value for row in content for value in row]
    if set(sizes) == {len(content)} and set(lengths) == {len(sizes)}:
        return [value for column in zip(*content, strict=True) for value in column]
    raise ValueError(f"is {len(content)} lists of {lengths[0]} numbers; give one list of {about.width}")


def _group(content: dict[str, Any], name: str, group: Group) -> list[float]:
    key = next((k for k in (group.key, name, f"{name}_params") if k is not None and k in content), None)
    found = _squeezed(content[key]) if key is not None else None
    if group.names:
        by_name = found if isinstance(found, dict | list) else content
        return _named(by_name, group.names)
    wanted = group.key or name
    if not isinstance(found, list):
        raise ValueError(f"has no list {wanted}")
    if found and isinstance(found[0], list):
        raise ValueError(f"{wanted} is a list of lists, not of {group.size} numbers")
    if len(found) != group.size:
        raise ValueError(f"{wanted} has {len(found)} numbers, not {group.size}")
    return list(map(_float, found))


def _squeezed(value: Any) -> Any:
    """Without dimensions of one around a list: a batch of one face."""
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    return value


def _named(content: Any, names: Sequence[str]) -> list[float]:
    """Values by name: of an object, or of a list of objects with a category's name and score, as MediaPipe has it."""
    if isinstance(content, list):
        if len(content) == len(names) and not any(isinstance(one, dict | list) for one in content):
            return list(map(_float, content))
        keys = ("categoryName", "category_name", "name")
        pairs = [(next((one[k] for k in keys if k in one), None), one) for one in content if isinstance(one, dict)]
        content = {str(name): one.get("score", one.get("value")) for name, one in pairs}
    missing = [name for name in names if name not in content]
    if missing:
        raise ValueError(f"has no value {missing[0]}")
    return [_float(content[name]) for name in names]


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("holds something that is no number")
    return float(value)


def _read_folder(path: str, representation: Representation, into: np.ndarray) -> None:
    """A folder of .npy files, one per group, or a .npy file of the whole vector."""
    about = declaration(representation)
    if path.endswith(".npy"):
        _put(_bytes(path), os.path.basename(path), about.width, into, about)
        return
    start = 0
    for name, size in about.sizes:
        _put(_bytes(f"{path}/{name}.npy"), f"{name}.npy", size, into[start : start + size])
        start += size


def _put(data: bytes, what: str, size: int, into: np.ndarray, about: Declaration | None = None) -> None:
    dtype, offset, shape, by_columns = _header(data[:128])
    count = int(np.prod(shape, dtype=int))
    if count != size:
        raise ValueError(f"{what} has {count} numbers, not {size}")
    values = np.frombuffer(data, dtype, count, offset).reshape(shape, order="F" if by_columns else "C")
    into[:] = (values if about is None else as_vectors(values.reshape(1, *shape), about)).reshape(-1)


def as_vectors(values: np.ndarray, about: Declaration) -> np.ndarray:
    """Arrays of faces as vectors, `[N, W]`: dimensions of one are dropped, and points get every x first.

    Args:
        values: `[N, W]`, `[N, 1, W]`, or for points `[N, n, 2]`.
        about: the representation.
    """
    shape = tuple(size for size in values.shape[1:] if size != 1)
    sizes = {size for _, size in about.sizes}
    if len(shape) == 2 and sizes == {shape[0]} and shape[1] == len(about.groups) != shape[0]:
        values = values.reshape(len(values), *shape).transpose(0, 2, 1)
    return values.reshape(len(values), -1)


@lru_cache(64)
def _header(head: bytes) -> tuple[str, int, tuple[int, ...], bool]:
    """The type, offset and shape of a .npy file's numbers, and whether they lie by columns, by its first bytes."""
    file = io.BytesIO(head)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    except ValueError as error:
        raise ValueError("not a .npy file of numbers") from error
    if dtype.kind not in "fi":
        raise ValueError("not a .npy file of numbers")
    return dtype.str, file.tell(), shape, by_columns
