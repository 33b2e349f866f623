"""Copies of a distant storage's logit tables on this machine, so that the second search over them downloads nothing.

A copy is known by the storage's own word for the content (an object's ETag or generation, which the listing gives for
nothing) and carries the SHA-256 of its bytes: one that was damaged is fetched again.
"""

import contextlib
import hashlib
import os
from pathlib import Path

from ig3d_ray.storage.local_files import replace_file
from ig3d_ray.storage.store import Store

LIMIT_BYTES = 4 * 2**30
DIGEST_BYTES = 32


def copies_folder() -> Path:
    """Where copies lie: `ig3d_ray/` in `XDG_CACHE_HOME`, by default `~/.cache`. It may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ig3d_ray"


def read_through(store: Store, name: str, version: str | None) -> bytes:
    """The bytes under a name: this machine's copy of that version, or the storage's, of which a copy is kept.

    Args:
        version: as `Store.versions` gives it; None, or a local storage: no copy is looked for or kept.

    Raises:
        Ig3dError: nothing is there, or the storage refuses.
    """
    if store.is_local or version is None:
        return store.read(name)
    copy = copies_folder() / hashlib.sha256(f"{store.locate(name)}\0{version}".encode()).hexdigest()
    found = _read(copy)
    if found is None:
        found = store.read(name)
        _keep(copy, found)
    return found


def _read(copy: Path) -> bytes | None:
    """A copy's content; None where there is none, or one that isn't what was written."""
    try:
        held = copy.read_bytes()
        os.utime(copy)
    except OSError:
        return None
    digest, content = held[:DIGEST_BYTES], held[DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None


def _keep(copy: Path, content: bytes) -> None:
    # A full disk or a home that can't be written costs time alone: what was asked for is there.
    with contextlib.suppress(OSError):
        replace_file(copy, hashlib.sha256(content).digest() + content)
        _make_room(copy.parent)


def _make_room(folder: Path) -> None:
    """Delete what was not used for longest, until the rest is within the limit."""
    found = [(about.st_mtime, about.st_size, copy) for copy in folder.iterdir() if (about := copy.stat())]
    total = sum(size for _, size, _ in found)
    for _, size, copy in sorted(found):
        if total <= LIMIT_BYTES:
            return
        copy.unlink(missing_ok=True)
        total -= size
