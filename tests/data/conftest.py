"""Fixtures of the tests of data sets."""

from pathlib import Path

import pytest
from publisher_files import AFFECTNET, affectnet

from ig3d_ray.data.ingest.build import ingest
from ig3d_ray.data.ingest.layouts import read_affectnet
from ig3d_ray.data.samples import Samples
from ig3d_ray.storage.store import Store


@pytest.fixture
def made(tmp_path: Path) -> tuple[Store, Samples, Path]:
    """AffectNet in a store, its parameters not there yet, and the folder of its files."""
    store = Store(str(tmp_path / "store"))
    root = tmp_path / "files"
    root.mkdir()
    files = affectnet(root, class_folders=True)
    return store, ingest(store, "affectnet8", read_affectnet(root, files, AFFECTNET), 0.34, 0, False).samples, root
