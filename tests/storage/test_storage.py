"""One behavior on every store: whole or not at all, nothing seen of a half-written file, clear refusals."""

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty_s3 import FAULTS, FaultyProxy

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import retry
from ig3d_ray.storage.local_files import PARTIAL_SUFFIX
from ig3d_ray.storage.store import Store


def test_what_is_written_is_read(store: Store) -> None:
    store.prepare()
    assert not store.exists("a/b.bin")
    store.write("a/b.bin", b"one")
    store.write("a/b.bin", b"two")
    assert store.exists("a/b.bin")
    assert store.read("a/b.bin") == b"two"


def test_names_are_sorted_and_below_the_prefix(store: Store) -> None:
    for name in ("x/2", "x/1", "x/y/3", "xx/4"):
        store.write(name, b"")
    assert store.names("x") == ["x/1", "x/2", "x/y/3"]
    assert store.names() == ["x/1", "x/2", "x/y/3", "xx/4"]
    assert store.names("nothing") == []


def test_remove_takes_all_below_and_forgives_absence(store: Store) -> None:
    store.write("x/y/1", b"")
    store.write("z", b"")
    store.remove("x")
    store.remove("x")
    assert store.names() == ["z"]


def test_what_another_process_removed_is_not_there(store: Store) -> None:
    assert store.read_if_there("x/1") is None
    store.write("x/1", b"1")
    assert store.read_if_there("x/1") == b"1"


def test_what_is_removed_while_it_is_created_is_created_after_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.create("leases/one", b"theirs")
    read = Store.read_if_there

    def remove_and_read(self: Store, name: str) -> bytes | None:
        self.remove(name)
        return read(self, name)

    monkeypatch.setattr(Store, "read_if_there", remove_and_read)
    assert store.create("leases/one", b"mine")
    assert store.read("leases/one") == b"mine"


def test_a_storage_whose_paths_are_not_what_its_uri_says() -> None:
    # As Azure's, whose URI names the account and whose paths don't; this one's begin with a slash.
    store = Store("memory://box/runs")
    store.write("members/faces/a/spec.json", b"x")
    assert store.names("members/faces") == ["members/faces/a/spec.json"]
    assert store.read("members/faces/a/spec.json") == b"x"
    store.remove("members")
    assert store.names() == []


def test_writers_and_deleters_of_one_folder_do_not_trip_over_each_other(tmp_path: Path) -> None:
    store, until = Store(str(tmp_path)), time.monotonic() + 2

    def write(number: int) -> int:
        count = 0
        while time.monotonic() < until:
            store.write(f"leases/{count % 5}/{number}", b"x")
            store.create(f"leases/{count % 5}/new", str(number).encode())
            count += 1
        return count

    def delete(_: int) -> int:
        count = 0
        while time.monotonic() < until:
            store.remove(f"leases/{count % 5}")
            store.prepare()
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(write, 1), pool.submit(write, 2), pool.submit(delete, 0), pool.submit(delete, 0)]
        assert all(future.result(timeout=60) > 5 for future in done)


def test_another_store_on_the_same_uri_sees_new_names(store: Store) -> None:
    other = Store(store.uri)
    assert other.names("x") == []
    store.write("x/1", b"1")
    assert other.exists("x/1")
    assert other.names("x") == ["x/1"]


def test_reading_nothing_names_the_uri(store: Store) -> None:
    with pytest.raises(Ig3dError, match=r"cannot read .*/gone: .*(no such file|does not exist)"):
        store.read("gone")


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    versions = [bytes([i]) * 300_000 for i in range(4)]
    store.write("f", versions[0])
    stop = threading.Event()
    torn: list[int] = []

    def read() -> None:
        while not stop.is_set():
            data = store.read("f")
            if data not in versions:
                torn.append(len(data))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        for version in versions:
            store.write("f", version)
    stop.set()
    reader.join()
    assert torn == []


def test_a_writer_killed_halfway_leaves_nothing_to_see(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom ig3d_ray.storage import store as storage\n"
        "storage.os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        f"storage.Store({str(tmp_path)!r}).write('a/b', b'x' * 1000)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    store = Store(str(tmp_path))
    assert len(list((tmp_path / "a").iterdir())) == 1
    assert store.names() == []
    store.prepare()
    assert list((tmp_path / "a").iterdir()) == []


def test_another_writers_unfinished_file_is_left_alone(tmp_path: Path) -> None:
    partials = [
        tmp_path / f".f.{socket.gethostname()}.{os.getpid()}.abc{PARTIAL_SUFFIX}",
        tmp_path / f".f.another-host.1.abc{PARTIAL_SUFFIX}",
    ]
    for partial in partials:
        partial.write_bytes(b"")
    Store(str(tmp_path)).prepare()
    assert all(partial.exists() for partial in partials)


def test_storage_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Ig3dError, match=r"cannot write .*/file: .*choose a --storage that is a folder"):
        Store(str(tmp_path / "file")).prepare()


def test_unknown_protocol() -> None:
    with pytest.raises(Ig3dError, match="unknown protocol 'nfs'"):
        Store("nfs://host/path")


def test_a_bucket_that_does_not_exist(s3_server: str) -> None:
    with pytest.raises(
        Ig3dError, match=r"cannot write s3://no-such-bucket/x: the bucket or object does not exist; check --storage"
    ):
        Store("s3://no-such-bucket/x").prepare()


def test_missing_credentials(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Ig3dError, match="no S3 credentials; set AWS_ACCESS_KEY_ID"):
        Store("s3://bucket/x").prepare()


def test_of_many_who_create_a_name_one_succeeds(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: Store(store.uri).create("leases/one", f"writer {i}".encode()), range(8)))
    assert sum(won) == 1
    assert store.read("leases/one") == f"writer {won.index(True)}".encode()
    assert not store.create("leases/one", b"late")
    assert store.names() == ["leases/one"]


def test_sizes(store: Store) -> None:
    store.write("a/b", b"12345")
    assert (store.size("a/b"), store.size("a"), store.size("c")) == (5, None, None)


def test_a_storage_that_fails_now_and_then_is_as_good_as_another(
    s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FaultyProxy(s3_server, share=0.4, seed=5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    store = Store(bucket + "/faulty")
    content = {f"x/{i}": os.urandom(1000 * i) for i in range(5)}
    for name, data in content.items():
        store.write(name, data)
        assert store.create(f"claim/{name}", data + b"mine")
        assert store.read(name) == data
        assert store.size(name) == len(data)
        assert not store.create(f"claim/{name}", b"another's")
    assert store.names("x") == sorted(content)
    store.remove("x")
    assert store.names("x") == []
    assert all(proxy.done[fault] for fault in FAULTS), proxy.done
    proxy.close()


def test_a_storage_that_never_answers_is_given_up(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(Ig3dError, match=r"cannot write s3://.*connect"):
            Store(bucket).prepare()
        assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (FileNotFoundError("x"), False),
        (PermissionError("x"), False),
        (OSError(errno.EBUSY, "slow down"), True),
        (OSError(errno.ENOSPC, "full"), False),
        (TimeoutError(), True),
        (KeyError("a fault of ours"), False),
    ],
)
def test_what_is_tried_again(error: Exception, again: bool) -> None:
    calls = []

    def call() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise error
        return "done"

    if again:
        assert retry.patiently(call) == "done"
    else:
        with pytest.raises(type(error)):
            retry.patiently(call)
        assert len(calls) == 1


def test_files_have_the_users_umask_and_the_process_keeps_it(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from ig3d_ray.storage.store import Store\n"
        "def refuse(*_): raise AssertionError('the umask of all threads was changed')\n"
        "os.umask(0o027); os.umask = refuse\n"
        f"store = Store({str(tmp_path)!r})\n"
        "list(ThreadPoolExecutor(8).map(lambda i: store.write(f'a/{i}', b'x'), range(64)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()} == {0o640}
