"""Fixtures: stores on a folder and on a real S3 API, a small world, one Ray for the session."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Two test processes on two cores: with a thread for each core in both, they would wait for each other's all the time.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

from ig3d_ray.data.samples import Samples
from ig3d_ray.importing.predictions import import_predictions
from ig3d_ray.models.spec import ImportedSpec
from ig3d_ray.storage.store import Store

if TYPE_CHECKING:
    from trained import World

# No test is timed: another process on the machine may make any of them slow.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

SHARED = Path(__file__).resolve().parents[2] / "shared"
SMALL_SPACE = Path(__file__).parent / "small.yaml"


# The longest first, so that the test processes end at about the same time.
LONGEST = (
    "test_on_ray_training",
    "test_docs",
    "test_run",
    "test_jobs",
    "test_extraction",
    "test_serve",
    "test_report",
    "test_local_cluster",
    "test_on_ray_search",
    "test_honest",
    "test_trainer",
    "test_bundle",
    "test_registry",
    "test_cluster",
    "test_ray_up",
    "test_without_torch",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray writes a token into the home folder, and S3 clients read credentials from it: give them another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        for name in [n for n in os.environ if n.startswith("AWS_") and n != "AWS_EC2_METADATA_DISABLED"]:
            patch.delenv(name)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="session")
def s3_server(own_home: None) -> Iterator[str]:
    """A real S3 API on a free loopback port, and an environment that leads there."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str) -> str:
    """The URI of a new bucket."""
    import boto3

    name = f"ig3d-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=s3_server).create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Every store behaves the same."""
    if request.param == "folder":
        return Store(str(tmp_path / "store"))
    return Store(request.getfixturevalue("bucket") + "/prefix")


@pytest.fixture(scope="session")
def small_faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Samples]:
    """240 drawn faces."""
    from ig3d_ray.data.synthetic.faces import make_faces

    store = Store(str(tmp_path_factory.mktemp("faces")))
    return store, make_faces(store, samples=240, seed=3)


@pytest.fixture
def faces(tmp_path: Path, small_faces: tuple[Store, Samples]) -> tuple[Store, Samples]:
    """A store of one's own with the small faces."""
    drawn, samples = small_faces
    return copy_of(drawn, tmp_path / "store"), samples


@pytest.fixture
def made(tmp_path: Path) -> tuple[Store, Samples, Path]:
    """AffectNet in a store, its parameters not there yet, and the folder of its files."""
    from publisher_files import AFFECTNET, affectnet

    from ig3d_ray.data.ingest.affectnet import read_affectnet
    from ig3d_ray.data.ingest.build import Shares, ingest

    store = Store(str(tmp_path / "store"))
    root = tmp_path / "files"
    root.mkdir()
    files = affectnet(root, class_folders=True)
    return (
        store,
        ingest(store, "affectnet8", read_affectnet(root, files, AFFECTNET), Shares(0.34), 0, False).samples,
        root,
    )


def copy_of(store: Store, folder: Path) -> Store:
    """Another store with the same content."""
    copy = Store(str(folder))
    for name in store.names():
        copy.write(name, store.read(name))
    return copy


@pytest.fixture(scope="session")
def local_ray(own_home: None) -> Iterator[None]:
    """The one Ray of the test session: two CPUs on this machine."""
    from ig3d_ray.on_ray import cluster

    for name, value in cluster.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # As for every run on one machine, which is not preempted.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def descendants(of: int) -> Iterator[tuple[int, str]]:
    """The processes below one, with their command lines."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    for pid in parents:
        above = pid
        while above in parents and above != of:
            above = parents[above]
        if above == of and pid != of:
            try:
                yield pid, Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240826)


def bring_published(folder: Path) -> tuple[Store, Path]:
    """A new store with the predictions that the paper's authors published, and the folder of their files."""
    files = SHARED / "data" / "ig3d_va"
    if not files.is_dir():
        pytest.skip("the published predictions are not here; README says where to get them")
    store = Store(str(folder))
    for name, view in (("cage", "2d"), ("emoca3d", "3d")):
        spec = ImportedSpec(name=name, view=view)  # type: ignore[arg-type]
        import_predictions(store, files / f"{name}.csv", "affectnet_va", spec, "test", row_order_is_id=True)
    return store, files


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> "World":
    """Drawn faces, four members and an ensemble of them; tests only read it."""
    from filelock import FileLock
    from trained import make_world, open_world

    own = tmp_path_factory.getbasetemp()
    # Test processes share the trained members, and each has a copy: the first that needs them trains them.
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "world"
    with FileLock(f"{shared}.lock"):
        if not (shared / "made").exists():
            make_world(shared)
            (shared / "made").touch()
        shutil.copytree(shared / "store", own / "world-of-this-process" / "store")
    return open_world(own / "world-of-this-process")
