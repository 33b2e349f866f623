"""A local cache of a remote storage's logit tables, so that a second search over them downloads nothing.

A copy is identified by the storage's content version (an object's ETag or generation, which the listing includes at
no cost) and stores the SHA-256 of its bytes: a damaged copy is downloaded again.
"""

import contextlib
import hashlib
import os
import re
from pathlib import Path

from ig3d_ray.storage.local_files import replace_file
from ig3d_ray.storage.store import Store

LIMIT_BYTES = 4 * 2**30
DIGEST_BYTES = 32


def copies_folder() -> Path:
    """The cache folder: `ig3d_ray/` in `XDG_CACHE_HOME`, by default `~/.cache`. It may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ig3d_ray"


def read_through(store: Store, name: str, version: str | None) -> bytes:
    """The bytes under a name: from the local copy of that version, or else from the storage, and then cached.

    Args:
        version: from `Store.versions`; with None, or a local storage, the cache is not used.

    Raises:
        Ig3dError: the name does not exist, or the storage reports an error.
    """
    if store.is_local or version is None:
        return store.read(name)
    copy = copies_folder() / hashlib.sha256(f"{store.locate(name)}\0{version}".encode()).hexdigest()
    found = _read(copy)
    if found is None:
        found = store.read(name)
        # A proxy or a gateway may answer with an older content than the one that was listed: that is no copy to keep.
        if _may_be(found, version):
            _keep(copy, found)
    return found


def _may_be(content: bytes, version: str) -> bool:
    """Whether a content is that of a version, where that can be determined: the ETag of one S3 put is its MD5."""
    tag = version.strip('"').lower()
    if not re.fullmatch(r"[0-9a-f]{32}", tag):
        return True
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == tag


def _read(copy: Path) -> bytes | None:
    """The content of a copy; None if it is missing or damaged."""
    try:
        held = copy.read_bytes()
        os.utime(copy)
    except OSError:
        return None
    digest, content = held[:DIGEST_BYTES], held[DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None


def _keep(copy: Path, content: bytes) -> None:
    # A full disk or a read-only home folder only costs time: the requested data is available.
    with contextlib.suppress(OSError):
        replace_file(copy, hashlib.sha256(content).digest() + content)
        _make_room(copy.parent)


def _make_room(folder: Path) -> None:
    """Delete the least recently used copies until the rest is within the limit."""
    found = [(about.st_mtime, about.st_size, copy) for copy in folder.iterdir() if (about := copy.stat())]
    total = sum(size for _, size, _ in found)
    for _, size, copy in sorted(found):
        if total <= LIMIT_BYTES:
            return
        copy.unlink(missing_ok=True)
        total -= size
