"""The files that travel with a job: this package, the search space, and what the space refers to by path."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ig3d_ray.config.load import dataset_file
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.user_code import working_directory_on_path

PACKAGE = Path(__file__).resolve().parents[1]


@contextmanager
def job_folder(space_file: Path, space: SearchSpace, overrides: Sequence[str] = ()) -> Iterator[Path]:
    """A folder with what a job needs and nothing else: no data, no virtual environment, no secrets.

    It holds this package, the search space, the data set's declaration where the space names its file, and the modules
    of the working directory whose functions make networks of the pool.

    Args:
        space_file: the search space's file.
        space: what it holds.
        overrides: of single fields, as given.

    Raises:
        Ig3dError: the declaration lies outside the search space's folder.
    """
    declaration = dataset_file(space_file, tuple(overrides))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(space_file, folder / space_file.name)
        if declaration is not None:
            _copy_beside(declaration, space_file.parent, folder)
        for module in own_modules(space):
            _copy_beside(module, Path.cwd(), folder)
        # So that the package has its version there, whatever is installed.
        about = folder / f"ig3d_ray-{version('ig3d-ray')}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ig3d-ray\nVersion: {version('ig3d-ray')}\n")
        yield folder


def own_modules(space: SearchSpace) -> list[Path]:
    """The modules and packages of the working directory that networks of the pool are made by.

    Args:
        space: whose pool.
    """
    working_directory_on_path()
    found = set()
    for package in {name for spec in space.trainable() for name in spec.packages}:
        module = find_spec(package)
        places = [module.origin, *(module.submodule_search_locations or ())] if module else []
        found |= {Path(place) for place in places if place and Path(place).parent == Path.cwd()}
    return sorted(found)


def _copy_beside(path: Path, root: Path, folder: Path) -> None:
    """Copy a file or folder to where it lies relative to the root."""
    try:
        target = folder / Path(os.path.abspath(path)).relative_to(os.path.abspath(root))
    except ValueError as error:
        raise Ig3dError(
            f"{path}: lies outside {root}, which is what the job gets; move it there, or `ig3d data create` it in the"
            " storage and give its name as the dataset"
        ) from error
    if path.is_dir():
        shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)
