"""What was based on an older state isn't written over a newer one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ig3d_ray.data.ingest.features import import_features
from ig3d_ray.data.samples import load_samples
from ig3d_ray.data.synthetic.faces import make_faces
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.leases import Leases
from ig3d_ray.storage.store import Store


def test_a_file_is_replaced_only_if_it_is_what_was_seen(store: Store) -> None:
    nothing = store.seen("a/x")
    store.replace("a/x", b"first", nothing)
    with pytest.raises(Ig3dError, match="a/x: another command published it meanwhile; nothing was written"):
        store.replace("a/x", b"second", nothing)
    seen = store.seen("a/x")
    store.replace("a/x", b"second", seen)
    with pytest.raises(Ig3dError, match="another command published it meanwhile"):
        store.replace("a/x", b"third", seen)
    assert store.read("a/x") == b"second"
    gone = store.seen("a/x")
    store.remove("a/x")
    with pytest.raises(Ig3dError, match="another command published it meanwhile"):
        store.replace("a/x", b"third", gone)
    assert store.names() == []


def test_of_many_at_once_one_replaces(store: Store) -> None:
    store.write("x", b"before")
    for turn in range(5):
        seen = store.seen("x")

        def replaced(writer: int, seen=seen, turn=turn) -> bool:  # type: ignore[no-untyped-def]
            try:
                Store(store.uri).replace("x", f"{turn} {writer}".encode(), seen)
            except Ig3dError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(replaced, range(8)))
        assert sum(won) == 1
        assert store.read("x") == f"{turn} {won.index(True)}".encode()


def test_features_read_before_another_table_came_are_not_published(store: Store, tmp_path: Path) -> None:
    samples = make_faces(store, samples=240, seed=3)
    vectors = np.random.default_rng(0).normal(size=(len(samples), 358)).astype(np.float32)
    np.savez(tmp_path / "smirk.npz", sample_id=samples.ids, smirk=vectors)
    with Leases(store) as leases:
        assert leases.acquire("samples/faces") is None
        fence = leases.fence("samples/faces", paths.samples_table("faces"))
        load_samples(store, "faces").without("emoca").save(store)
        with pytest.raises(Ig3dError, match="another command published it meanwhile"):
            import_features(store, samples, "smirk", tmp_path / "smirk.npz", fence=fence)
    assert load_samples(store, "faces", only=(), presence=True).representations == ["smirk"]
