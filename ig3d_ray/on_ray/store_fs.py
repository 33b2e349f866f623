"""A Store as the file system that Ray Train and Ray Tune write to: with one publish per file and the same retries.

So Ray's files are complete or absent, even if its process is killed while it writes them, and Ray can use every
store that this package can use.
"""

from typing import Any

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystemHandler, FileType, PyFileSystem

from ig3d_ray.storage.store import Store


def ray_filesystem(store: Store) -> PyFileSystem:
    """For `RunConfig(storage_filesystem=...)`; paths are names in the store."""
    return PyFileSystem(_StoreHandler(store))


class _StoreHandler(FileSystemHandler):  # type: ignore[misc]
    """The operations of a pyarrow file system, implemented with those of a Store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _StoreHandler) and other.store.uri == self.store.uri

    def __ne__(self, other: object) -> bool:
        return not self == other

    def get_type_name(self) -> str:
        return "ig3d-store"

    def normalize_path(self, path: str) -> str:
        return path.strip("/")

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        return [self._info(path.strip("/")) for path in paths]

    def _info(self, path: str) -> FileInfo:
        size = self.store.size(path)
        if size is not None:
            return FileInfo(path, FileType.File, size=size)
        return FileInfo(path, FileType.Directory if self.store.names(path) else FileType.NotFound)

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        base = selector.base_dir.strip("/")
        below = self.store.names(base)
        if not below and not selector.allow_not_found:
            raise FileNotFoundError(base)
        found: dict[str, FileInfo] = {}
        for name in below:
            parts = name[len(base) :].strip("/").split("/")
            deepest = len(parts) if selector.recursive else 1
            for depth in range(1, deepest + 1):
                path = "/".join([base, *parts[:depth]]).strip("/")
                if depth < len(parts):
                    found[path] = FileInfo(path, FileType.Directory)
                else:
                    found[path] = FileInfo(path, FileType.File, size=self.store.size(name))
        return list(found.values())

    def create_dir(self, path: str, recursive: bool) -> None:
        """Do nothing: a folder exists if it contains something."""

    def delete_dir(self, path: str) -> None:
        self.store.remove(path.strip("/"))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self.store.remove(path.strip("/"))

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("a whole storage is never deleted")

    def delete_file(self, path: str) -> None:
        self.store.remove(path.strip("/"))

    def move(self, src: str, dest: str) -> None:
        self.copy_file(src, dest)
        self.delete_file(src)

    def copy_file(self, src: str, dest: str) -> None:
        self.store.write(dest.strip("/"), self.store.read(src.strip("/")))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        if self.store.size(path.strip("/")) is None:
            raise FileNotFoundError(path)
        return pa.BufferReader(self.store.read(path.strip("/")))

    def open_input_file(self, path: str) -> pa.NativeFile:
        return self.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        return pa.PythonFile(_Publishing(self.store, path.strip("/")), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        raise NotImplementedError("appending to a published file is not supported")


class _Publishing:
    """A file that is published when it is closed. Not an io.IOBase, which closes itself when garbage-collected."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name
        self.parts: list[bytes] = []
        self.length = 0
        self.closed = False

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        self.length += len(self.parts[-1])
        return len(self.parts[-1])

    def tell(self) -> int:
        return self.length

    def flush(self) -> None:
        """Nothing is visible before the end."""

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.store.write(self.name, b"".join(self.parts))
