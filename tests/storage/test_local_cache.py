"""Copies of a distant storage's tables on this machine: they save downloads and never change an answer."""

import time
from pathlib import Path

import pytest
from pools import make_pool

from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitStore, LogitTable
from ig3d_ray.storage import local_cache
from ig3d_ray.storage.local_cache import copies_folder, read_through
from ig3d_ray.storage.store import Store

MARK = "0123456789abcdef"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that are read from the storage itself."""
    found: list[str] = []
    read = Store.read

    def noted(self: Store, name: str) -> bytes:
        found.append(name)
        return read(self, name)

    monkeypatch.setattr(Store, "read", noted)
    return found


def bring(store: Store, seed: int = 0) -> LogitTable:
    pool = make_pool("test", seed=seed)
    table = LogitTable("rafdb", "test", MARK, "image", "2d", "{}", "", pool.ids, pool.outputs_MNC[0], None)
    LogitStore(store).write(table)
    return table


def read(store: Store) -> LogitTable:
    """As a new command would: list, then read."""
    logits = LogitStore(store)
    logits.look("rafdb")
    return logits.read("rafdb", MARK, "test")


def test_the_second_command_downloads_nothing(bucket: str, reads: list[str]) -> None:
    store = Store(bucket)
    table = bring(store)
    assert read(store).digest == table.digest
    assert len(reads) == 1
    assert read(Store(bucket)).digest == table.digest
    assert len(reads) == 1


def test_what_was_replaced_is_fetched_again(bucket: str) -> None:
    store = Store(bucket)
    old = bring(store)
    assert read(store).digest == old.digest
    new = bring(store, seed=1)
    assert read(store).digest == new.digest != old.digest


@pytest.mark.parametrize("damage", ["flipped", "short", "empty"])
def test_a_damaged_copy_is_fetched_again(bucket: str, reads: list[str], damage: str) -> None:
    store = Store(bucket)
    table = bring(store)
    read(store)
    (copy,) = copies_folder().iterdir()
    held = bytearray(copy.read_bytes())
    held[len(held) // 2] ^= 1
    copy.write_bytes({"flipped": bytes(held), "short": bytes(held[:100]), "empty": b""}[damage])
    assert read(store).digest == table.digest
    assert len(reads) == 2
    assert read(store).digest == table.digest
    assert len(reads) == 2


def test_what_was_deleted_there_is_missing_here(bucket: str) -> None:
    store = Store(bucket)
    bring(store)
    read(store)
    store.remove("logits")
    with pytest.raises(Ig3dError, match="the bucket or object does not exist"):
        read(store)


def test_a_local_storage_is_not_copied(tmp_path: Path, reads: list[str]) -> None:
    store = Store(str(tmp_path / "store"))
    bring(store)
    read(store)
    read(store)
    assert len(reads) == 2
    assert not copies_folder().exists()


def test_where_nothing_can_be_kept_all_is_read(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    store = Store(bucket)
    table = bring(store)
    assert read(store).digest == read(store).digest == table.digest


def test_the_longest_unused_copies_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    store = Store(bucket)
    monkeypatch.setattr(local_cache, "LIMIT_BYTES", 300)
    for name in ("a", "b", "a", "c"):
        store.write(name, name.encode() * 100)
        local_cache.read_through(store, name, "one")
        # A file's time moves on in steps of some milliseconds.
        time.sleep(0.05)
    held = {copy.read_bytes()[-1:] for copy in copies_folder().iterdir()}
    assert held == {b"a", b"c"}


def test_an_older_content_beside_a_fresh_listing_is_not_kept(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"{bucket}/x")
    store.write("a", b"old")
    store.write("a", b"new")
    version = store.versions()["a"]
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda self, name: b"old")
    assert read_through(store, "a", version) == b"old"
    monkeypatch.setattr(Store, "read", read)
    assert read_through(store, "a", version) == b"new"
    monkeypatch.setattr(Store, "read", lambda self, name: pytest.fail("it was kept"))
    assert read_through(store, "a", version) == b"new"
