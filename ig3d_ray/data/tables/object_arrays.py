"""NPZ arrays, those of Python strings included, without executing what pickle would.

NumPy stores an array of objects as a pickle, whose loading can run code. The one kind that people have is a list of
strings (sample ids of a pandas column); its strings are read from the opcodes, and any other object is refused.
"""

import math
import pickletools
import zipfile
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from ig3d_ray.errors import Ig3dError

# What NumPy writes around the strings; nothing of it is called.
_ALLOWED = {
    "numpy._core.multiarray _reconstruct",
    "numpy.core.multiarray _reconstruct",
    "numpy ndarray",
    "numpy dtype",
    "_codecs encode",
}
CONSTANTS = frozenset(
    (
        *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINBYTES", "BINBYTES"),
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    )
)
MAX_BYTES = 4 << 30
_MARK = object()
_MADE = object()


def load_arrays(file: BinaryIO, what: str) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file.

    Args:
        file: that can be searched.
        what: the file, for messages.

    Raises:
        Ig3dError: an array holds objects that are not strings, or the file expands to more than 4 GiB.
        ValueError, zipfile.BadZipFile: it is no NPZ file.
    """
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(file) as archive:
        if sum(one.file_size for one in archive.infolist()) > MAX_BYTES:
            raise Ig3dError(f"{what}: expands to more than {MAX_BYTES >> 30} GiB; split it")
        for entry in archive.infolist():
            if entry.filename.endswith(".npy"):
                name = entry.filename.removesuffix(".npy")
                arrays[name] = _read(archive, entry, f"{what}: array {name!r}")
    return arrays


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, what: str) -> np.ndarray:
    with archive.open(entry) as stream:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(stream)
        if dtype.hasobject:
            texts = _strings(stream.read(), what)
            if len(texts) != int(np.prod(shape)):
                raise Ig3dError(f"{what}: not an array of strings; save it with astype(str)")
            return np.asarray(texts, dtype=np.str_).reshape(shape)
    if math.prod(shape) * dtype.itemsize > entry.file_size:
        raise ValueError("its header promises more than it has")
    with archive.open(entry) as stream:
        return npy.read_array(stream, allow_pickle=False)


def _strings(pickled: bytes, what: str) -> list[str]:
    """The strings of a pickled array, by following its opcodes without importing or calling anything."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    lists: list[list[Any]] = []
    refused = Ig3dError(f"{what}: holds objects that are not strings, whose loading could run code; use astype(str)")
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            _step(opcode.name, argument, stack, memo, lists)
    except (ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise refused from error
    longest = max(lists, key=len, default=[])
    if not all(isinstance(value, str | int) for value in longest):
        raise refused
    return list(map(str, longest))


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any], lists: list[list[Any]]) -> None:
    """One opcode; raises ValueError for those that a list of strings doesn't need."""
    if name in ("PROTO", "FRAME", "STOP"):
        return
    if name in CONSTANTS:
        stack.append(argument)
    elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
        stack.append(None)
    elif name == "MARK":
        stack.append(_MARK)
    elif name == "EMPTY_LIST":
        lists.append([])
        stack.append(lists[-1])
    elif name == "EMPTY_TUPLE":
        stack.append(())
    elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
        count = int(name[5:]) if name[5:] else _since_mark(stack)
        parts = _popped(stack, count)
        if name == "TUPLE":
            stack.pop()
        stack.append(tuple(parts))
    elif name == "APPEND":
        stack[-2].append(stack.pop())
    elif name == "APPENDS":
        parts = _popped(stack, _since_mark(stack))
        stack.pop()
        stack[-1].extend(parts)
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
        memo[int(argument)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET", "GET"):
        stack.append(memo[int(argument)])
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        called = argument if name == "GLOBAL" else " ".join(map(str, _popped(stack, 2)))
        if called not in _ALLOWED:
            raise ValueError(called)
        stack.append(_MADE)
    elif name == "REDUCE":
        _popped(stack, 2)
        stack.append(_MADE)
    elif name == "BUILD":
        stack.pop()
    else:
        raise ValueError(name)


def _since_mark(stack: list[Any]) -> int:
    return next(i for i, value in enumerate(reversed(stack)) if value is _MARK)


def _popped(stack: list[Any], count: int) -> list[Any]:
    parts = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return parts
