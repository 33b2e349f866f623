"""Local files published atomically: a reader sees either the complete file or no file."""

import contextlib
import errno
import glob
import os
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PARTIAL_SUFFIX = ".partial"
STALE_PARTIAL_SECONDS = 3600.0
FOLDER_TRIES = 10


def read_regular(path: Path) -> bytes:
    """The content of a regular file, as `open_regular` has it."""
    with open_regular(path) as file:
        return file.read()


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; a pipe or a device, which might never end, is not opened.

    Raises:
        OSError: it can't be read, or is something else.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes, only_new: bool = False) -> None:
    """Publish a local file atomically.

    Raises:
        OSError: it can't be written, or `only_new` is set and it already exists.
    """
    for _ in range(FOLDER_TRIES - 1):
        # Another process may delete the folder between any two steps.
        with contextlib.suppress(FileNotFoundError):
            return _replace_file(path, data, only_new)
    return _replace_file(path, data, only_new)


def _replace_file(path: Path, data: bytes, only_new: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        if path.parent.is_file():
            raise
        raise FileNotFoundError(str(path.parent)) from error  # it was deleted meanwhile
    partial = partial_of(path)
    try:
        # The system applies the user's umask to a new file.
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if only_new:
            # A link is refused where a name is taken; a rename would replace it.
            os.link(partial, path)
            os.unlink(partial)
        else:
            os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which other processes on it wait for; a process that ends gives it back.

    Args:
        folder: that is locked, if it is there.
    """
    with contextlib.ExitStack() as opened:
        # A file system without locks, such as some over a network, does without.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            opened.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def remove_tree(path: Path) -> None:
    """Delete a local file or folder, in which others may write and delete at the same time."""
    if path.is_symlink() or not path.is_dir():
        # A folder that was created in the meantime belongs to another writer.
        with contextlib.suppress(IsADirectoryError):
            path.unlink(missing_ok=True)
        return
    for folder, _, files in os.walk(path, topdown=False):
        for file in files:
            Path(folder, file).unlink(missing_ok=True)
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise


def partial_of(path: Path) -> Path:
    """A name for the unpublished form of a file or folder beside it, that no other writer has and nobody can guess.

    Args:
        path: of what is to be published.
    """
    writer = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{writer}{PARTIAL_SUFFIX}")


def sweep_partials_of(path: Path) -> None:
    """Delete what killed writers left of one file or folder.

    Args:
        path: of what they would have published.
    """
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL_SUFFIX}"):
        with contextlib.suppress(OSError, ValueError):
            if _writer_is_gone(partial):
                shutil.rmtree(partial) if partial.is_dir() and not partial.is_symlink() else partial.unlink()


def sweep_partials(root: Path) -> None:
    """Delete unpublished files of writers that were killed; folders that are deleted meanwhile are skipped."""
    for folder, _, files in os.walk(root):
        for name in files:
            if name.startswith(".") and name.endswith(PARTIAL_SUFFIX):
                partial = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    if _writer_is_gone(partial):
                        partial.unlink()


def _writer_is_gone(partial: Path) -> bool:
    *_, pid, _random, _suffix = partial.name.split(".")
    if f".{socket.gethostname()}.{pid}." in partial.name and pid.isdecimal():
        return not Path(f"/proc/{pid}").exists() if Path("/proc").exists() else _old(partial)
    return _old(partial)


def _old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > STALE_PARTIAL_SECONDS
