"""Files that a user names: a table, a page, a figure."""

from pathlib import Path

from ig3d_ray.storage.local_files import sweep_partials_of
from ig3d_ray.storage.store import Store


def write_file(path: Path, data: bytes) -> None:
    """Write a file that a user named, atomically; what killed writers left of it is deleted.

    Args:
        path: of the file; its folders are made.
        data: its content.

    Raises:
        Ig3dError: it can't be written.
    """
    sweep_partials_of(path.absolute())
    Store(str(path.absolute().parent)).write(path.name, data)
