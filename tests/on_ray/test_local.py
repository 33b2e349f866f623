"""Starting Ray on this machine when a start fails."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
import ray

from ig3d_ray.errors import Ig3dError, Terminated
from ig3d_ray.on_ray import cluster, local


class Starts:
    """`ray.init` that fails a number of times."""

    def __init__(self, failures: int, error: BaseException) -> None:
        self.failures, self.error, self.calls, self.shutdowns = failures, error, 0, 0

    def init(self, **_: object) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error

    def shutdown(self) -> None:
        self.shutdowns += 1


def starts(patch: pytest.MonkeyPatch, failures: int, error: BaseException) -> Starts:
    found = Starts(failures, error)
    patch.setattr(ray, "init", found.init)
    patch.setattr(ray, "shutdown", found.shutdown)
    patch.setattr(local, "use_own_token", lambda: None)
    return found


def test_a_start_that_fails_is_repeated_and_its_rest_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = starts(monkeypatch, 2, RuntimeError("port is taken\nmore"))
    local.start_here()
    assert (found.calls, found.shutdowns) == (3, 2)


def test_a_machine_where_ray_never_starts_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    starts(monkeypatch, 9, RuntimeError("\nport is taken\nmore"))
    with pytest.raises(Ig3dError, match=r"Ray could not be started on this machine \(port is taken\)") as refused:
        local.start_here()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) <= 300


def test_a_terminated_start_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    error = SystemError("error return without exception set")
    error.__cause__ = Terminated()
    found = starts(monkeypatch, 1, error)
    with pytest.raises(SystemError):
        local.start_here()
    assert found.calls == 1


LISTENING = """
import json, os, sys
import psutil
from ig3d_ray.on_ray.cluster import connected

with connected(None, None):
    import ray
    assert ray.get(ray.remote(lambda: 2).remote()) == 2
    us = [psutil.Process(), *psutil.Process().children(recursive=True)]
    ports = [c.laddr.ip for p in us for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    token = os.environ["RAY_AUTH_TOKEN_PATH"]
    about = {"ips": ports, "mode": os.stat(token).st_mode & 0o777, "auth": os.environ["RAY_AUTH_MODE"], "token": token}
print(json.dumps(about))
"""


@pytest.mark.slow
def test_a_run_on_one_machine_is_reached_from_that_machine_only_and_with_a_token(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    # A user who had turned it off, and a TMPDIR below which no socket can be made.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled", "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", LISTENING], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    about = json.loads(done.stdout.splitlines()[-1])
    assert len(about["ips"]) > 5
    assert {ip.removeprefix("::ffff:") for ip in about["ips"]} == {"127.0.0.1"}
    assert (about["mode"], about["auth"]) == (0o600, "token")
    assert not Path(about["token"]).exists()
    assert not (tmp_path / ".ray" / "auth_token").exists()


def test_rays_folder_is_where_asked_for_if_its_path_is_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 25)))
    assert len(local.ray_folder()) <= local.LONGEST_FOLDER
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("TMPDIR", short)
        assert local.ray_folder() == f"{short}/ray"
        monkeypatch.setenv("TMPDIR", f"{short}/none")
        assert local.ray_folder() != f"{short}/none/ray", "it can't be written to"


def test_the_ray_that_skypilot_keeps_for_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for port, refused in (("6380", True), ("6379", False)):
        monkeypatch.setattr(cluster, "_PROBE", f"print('10.0.0.1:{port}')")
        if refused:
            with pytest.raises(
                Ig3dError, match=r"SkyPilot's internal Ray.*give its address: --address HOST:6379"
            ) as one:
                cluster._probe("auto", "--address")
            assert len(str(one.value)) <= 300
        else:
            cluster._probe("auto", "--address")


def test_ray_imported_too_early_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(Ig3dError, match="set RAY_AUTH_MODE=token in the environment before `import ray`"):
        local.use_own_token()
    assert "RAY_AUTH_MODE" not in os.environ
    # Whoever has chosen a mode keeps it.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    local.use_own_token()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
