"""A uniform interface to any storage URI (a local folder, `s3://bucket/prefix`): exists, read, write, names, remove.

A name is published whole or not at all: locally by renaming a finished file, on an object store by one
put of finished bytes. Readers never see a partial file. Transient object store errors are retried.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.local_files import (
    PARTIAL_SUFFIX,
    locked_folder,
    remove_tree,
    replace_file,
    sweep_partials,
)
from ig3d_ray.storage.refusals import condition_failed, has_no_conditions, reason_of, takes_no_checksums, warn_unsafe
from ig3d_ray.storage.retry import PATIENCE_SECONDS, patiently

# Extras of this package that a protocol needs.
EXTRAS = {"gs": "gcs", "gcs": "gcs", "abfs": "azure", "abfss": "azure", "az": "azure", "adl": "azure"}
A = TypeVar("A")
T = TypeVar("T")

# A mistyped endpoint should be reported earlier than retries of a busy one end.
FIRST_PATIENCE_SECONDS = 8.0
REQUESTS_AT_ONCE = 16


def at_once(call: Callable[[A], T], items: Iterable[A]) -> list[T]:
    """The result of a call for each item, in order; calls run concurrently, for remote storage.

    Raises:
        Exception: the first exception that a call raised, after all started calls have finished.
    """
    pool = ThreadPoolExecutor(REQUESTS_AT_ONCE)
    try:
        return list(pool.map(call, items))
    finally:
        pool.shutdown(cancel_futures=True)


class Store:
    """Named byte strings under one URI.

    Args:
        uri: a local folder or an fsspec URI such as `s3://bucket/prefix`. S3 endpoint, region and credentials
            come from the usual environment variables or the machine's role.

    Raises:
        Ig3dError: the URI's protocol is unknown, or (from any method) the storage refuses.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or "/"
        protocol = uri.split("://", 1)[0] if "://" in uri else "file"
        if protocol not in fsspec.available_protocols():
            raise Ig3dError(f"storage {uri}: unknown protocol {protocol!r}; use a folder or s3://bucket/prefix")
        try:
            fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            extra = f"pip install 'ig3d-ray[{EXTRAS[protocol]}]'" if protocol in EXTRAS else str(error)
            raise Ig3dError(f"storage {uri}: {protocol}:// needs a package that is not installed: {extra}") from error
        self.is_local = protocol in ("file", "local")
        self._bucket_is_there = False
        if self.is_local:
            self.uri = str(Path(uri.removeprefix("file://").removeprefix("local://")).expanduser().absolute())

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.uri,)

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and its path for the URI: Azure's is without the account, which is in the URI."""
        # A cached listing would hide what another machine has just written.
        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if self.uri.startswith("s3://"):
            # All retries are made here: combined with the libraries' own retries they would multiply.
            options["config_kwargs"] = {"retries": {"mode": "standard", "total_max_attempts": 2}}
            options["config_kwargs"] |= {"connect_timeout": 5, "read_timeout": 30}
        elif self.is_local:
            options = {"auto_mkdir": False}
        fs, root = fsspec.core.url_to_fs(self.uri, **options)
        if self.uri.startswith("s3://"):
            fs.retries = 1
        return fs, str(root)

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return self.uri if self.is_local else self._opened[1]

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def locate(self, name: str) -> str:
        """The full URI of a name, for messages and for systems that read from it directly."""
        return f"{self.uri}/{name}"

    def _ask(self, doing: str, name: str, call: Callable[[], T], patience: float = PATIENCE_SECONDS) -> T:
        """The result of a file system call, which may be repeated."""
        try:
            return patiently(call, 0.0 if self.is_local else patience)
        except FileNotFoundError as error:
            missing = "the bucket or object does not exist" if not self.is_local else "no such file"
            raise Ig3dError(f"{doing} {self.locate(name)}: {missing}; check --storage") from error
        except Ig3dError:
            raise
        except Exception as error:
            raise Ig3dError(f"{doing} {self.locate(name)}: {reason_of(error)}") from error

    def exists(self, name: str) -> bool:
        """Whether this name exists."""
        return self._ask("cannot look up", name, lambda: bool(self._fs.exists(self._path(name))))

    def size(self, name: str) -> int | None:
        """The size in bytes of the file under a name; None if there is none, or if it is a folder."""

        def look() -> int | None:
            try:
                about = self._fs.info(self._path(name))
            except FileNotFoundError:
                return None
            return int(about["size"]) if about["type"] == "file" else None

        return self._ask("cannot look up", name, look)

    def modified(self, name: str) -> datetime | None:
        """When the file under a name was last written; None if there is none, or if the storage doesn't say."""

        def look() -> datetime | None:
            try:
                found = self._fs.modified(self._path(name))
            except (FileNotFoundError, NotImplementedError):
                return None
            return found if isinstance(found, datetime) else None

        return self._ask("cannot look up", name, look)

    def read(self, name: str) -> bytes:
        """The bytes published under a name.

        Raises:
            Ig3dError: nothing is there, or the storage refuses.
        """
        return self._ask("cannot read", name, lambda: bytes(self._fs.cat_file(self._path(name))))

    def read_if_there(self, name: str) -> bytes | None:
        """The bytes published under a name; None if it does not exist (another process may have just removed it)."""

        def look() -> bytes | None:
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

        return self._ask("cannot read", name, look)

    def write(self, name: str, data: bytes) -> None:
        """Publish bytes under a name atomically; an older version is replaced."""
        self._ask("cannot write", name, lambda: self._write(name, data))

    def _write(self, name: str, data: bytes) -> None:
        if self.is_local:
            replace_file(Path(self._path(name)), data)
        else:
            # One put of finished bytes: an exception inside an open s3fs file would publish half of it.
            self._fs.pipe_file(self._path(name), data)

    def seen(self, name: str) -> "Seen":
        """What is under a name now, to be replaced by `replace` unless it changes.

        Args:
            name: of a file.
        """

        def look() -> Seen:
            try:
                if self.is_local:
                    about = os.stat(self._path(name))
                    return Seen(f"{about.st_ino} {about.st_mtime_ns} {about.st_size}")
                about = self._fs.info(self._path(name))
                times = [str(about.get(key)) for key in ("mtime", "LastModified", "created", "size")]
                return Seen(_version(about) or " ".join(times))
            except FileNotFoundError:
                return Seen(None)

        return self._ask("cannot look up", name, look)

    def replace(self, name: str, data: bytes, over: "Seen") -> None:
        """Publish bytes under a name, unless what is there is no longer what was seen: another process, that began
        later, may have published meanwhile.

        On S3 the condition is the storage's own (`If-Match`), in a folder it holds under a lock; elsewhere it is looked
        up right before writing.

        Args:
            name: of a file.
            data: its new content.
            over: what was there when the work on the content began.

        Raises:
            Ig3dError: it has changed, and nothing was written; or the storage refuses.
        """
        if over.version is None:
            replaced = self.create(name, data)
        else:
            replaced = self._ask("cannot write", name, lambda: self._replaced(name, data, over))
        if not replaced:
            raise Ig3dError(
                f"{self.locate(name)}: another command published it meanwhile; nothing was written; start this one"
                " again"
            )

    def _replaced(self, name: str, data: bytes, over: "Seen") -> bool:
        """Write over what was seen; returns whether it was still there."""
        if self.uri.startswith("s3://"):
            return self._replaced_on_s3(name, data, over)
        folder = Path(self._path(name)).parent
        with locked_folder(folder) if self.is_local else contextlib.nullcontext():
            same = self.seen(name) == over
            if same:
                self._write(name, data)
        return same

    def _replaced_on_s3(self, name: str, data: bytes, over: "Seen") -> bool:
        try:
            # In one put: of an upload in parts s3fs drops the condition.
            self._fs.pipe_file(self._path(name), data, chunksize=len(data) + 1, IfMatch=over.version)
        except Exception as error:
            if has_no_conditions(error):
                warn_unsafe(self.uri, "takes no conditional writes")
                self._write(name, data)
                return True
            if not condition_failed(error):
                raise
            # A write whose response was lost is its own.
            return self.read_if_there(name) == data
        return True

    def create(self, name: str, data: bytes) -> bool:
        """Publish bytes under a name that does not exist yet; if several processes try, only one succeeds.

        Args:
            data: must be unique to its writer, so that a write whose response was lost can be recognized.

        Returns:
            Whether this caller succeeded.
        """

        def put() -> bool:
            try:
                if self.is_local:
                    replace_file(Path(self._path(name)), data, only_new=True)
                else:
                    self._fs.pipe_file(self._path(name), data, mode="create")
            except FileExistsError:
                there = self.read_if_there(name)
                # Removed in the meantime: the name is available again.
                return put() if there is None else there == data
            except Exception as error:
                if self.is_local or not has_no_conditions(error):
                    raise
                warn_unsafe(self.uri, "takes no conditional writes")
                there = self.read_if_there(name)
                if there is None:
                    self._fs.pipe_file(self._path(name), data)
                return there is None or there == data
            return True

        return self._ask("cannot write", name, put)

    def names(self, prefix: str = "") -> list[str]:
        """Every name below a folder, sorted; empty when there is no such folder."""
        return list(self.versions(prefix))

    def versions(self, prefix: str = "") -> dict[str, str | None]:
        """Every name below a folder, sorted, with the storage's version of its content, which changes when the content
        does: an object's ETag. None if the storage has no versions, such as a local folder."""

        def find() -> dict[str, str | None]:
            try:
                found = self._fs.find(self._path(prefix) if prefix else self._root, detail=True)
            except FileNotFoundError:
                found = {}
            if not found:
                self._check_bucket()
            start = len(self._root) + 1
            named = ((str(path)[start:], _version(about)) for path, about in found.items())
            # s3fs returns the folder itself if its first file is created during the listing.
            return dict(sorted((n, v) for n, v in named if n != prefix and not n.endswith((PARTIAL_SUFFIX, "/"))))

        return self._ask("cannot list", prefix, find)

    def remove(self, prefix: str) -> None:
        """Delete a name or everything below a folder; nothing to delete is not an error."""

        def delete() -> None:
            if self.is_local:
                remove_tree(Path(self._path(prefix)))
                return
            with contextlib.suppress(FileNotFoundError):
                try:
                    self._fs.rm(self._path(prefix), recursive=True)
                except OSError as error:
                    if not takes_no_checksums(error):
                        raise
                    # A deletion of many objects has a checksum by S3's definition; one of one object has none.
                    for path in self._fs.find(self._path(prefix)):
                        self._fs.rm_file(path)

        self._ask("cannot delete", prefix, delete)

    def check_there(self) -> None:
        """Check that this storage exists, for commands that only make sense on one that something was put into.

        Raises:
            Ig3dError: there is no such folder or bucket.
        """
        if self.is_local and not Path(self._root).is_dir():
            raise Ig3dError(f"{self.uri}: no such folder; check --storage")
        if not self.is_local:
            self._ask("cannot look up", "", self._check_bucket)

    def prepare(self) -> None:
        """Check that this storage is writable, and delete unpublished files left by killed writers.

        Raises:
            Ig3dError: it can't be written: no permission, no such bucket, no credentials.
        """
        # Named like a partial file, so that one left by a killed process is deleted too.
        probe = f".probe.{socket.gethostname()}.{os.getpid()}.{PARTIAL_SUFFIX}"
        try:
            self._ask("cannot write", probe, lambda: self._write(probe, b""), FIRST_PATIENCE_SECONDS)
            self.remove(probe)
        except Ig3dError as error:
            # The name of the probe file would confuse users.
            raise Ig3dError(str(error).replace(f"/{probe}", "")) from error
        if self.is_local:
            sweep_partials(Path(self._root))
        else:
            self._try_conditions(probe)

    def _try_conditions(self, probe: str) -> None:
        """Warn if a name that exists can be created once more: leases and claims rest on that being refused."""
        try:
            if self.create(probe, b"1") and self.create(probe, b"2"):
                warn_unsafe(self.uri, "ignores the condition of conditional writes")
        finally:
            self.remove(probe)

    def _check_bucket(self) -> None:
        """Check, once, that what nothing is listed in exists at all.

        Raises:
            Ig3dError: there is no such bucket.
        """
        if self.is_local or self._bucket_is_there:
            return
        bucket = self._root.split("/", 1)[0]
        if bucket and not self._fs.exists(bucket):
            raise Ig3dError(f"{self.uri}: the bucket does not exist; create it or check --storage")
        self._bucket_is_there = True


@dataclass(frozen=True)
class Seen:
    """What was under a name at a time.

    Attributes:
        version: as the storage distinguishes contents: an ETag, a file's identity; None for nothing.
    """

    version: str | None


def _version(about: dict[str, Any]) -> str | None:
    """The version in an entry of a listing; S3 and Google call it ETag and etag, Azure etag too."""
    found = about.get("ETag") or about.get("etag")
    return str(found) if found else None
