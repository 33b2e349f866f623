"""`clusters/local.sh`: the first job on a cluster that has just started, and what the script refuses."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SMALL_SPACE
from ray_head import BIN, end_session, free_ports, port_of

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "clusters" / "local.sh"


def environment_of(home: Path, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "IG3D_"))}
    return clean | {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0"} | more


@contextlib.contextmanager
def cluster(home: Path, *machines: str, **more: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The script's cluster, when it says that it is ready: the dashboard's URL, and what its clients need."""
    # Six ports in a row from the first.
    words = free_ports("port", "dashboard-port")
    ports = {"IG3D_PORT": str(port_of(words, "port")), "IG3D_DASHBOARD_PORT": str(port_of(words, "dashboard-port"))}
    environment = environment_of(home, **(ports | {"IG3D_READY_SECONDS": "240"} | more))
    script = subprocess.Popen(
        ["bash", str(SCRIPT), *machines],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in its background has them ignore Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert script.stdout is not None
    said: list[str] = []
    started: list[int] = []
    try:
        for line in script.stdout:
            said.append(line)
            if "Ctrl-C stops them" in line:
                break
        else:
            pytest.fail(f"never ready: {said}")
        started = descendants_of(script.pid)
        (token,) = re.findall(r"RAY_AUTH_TOKEN_PATH=(\S+)", said[0])
        (url,) = re.findall(r"--dashboard (\S+)", said[1])
        yield url, environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token}
    finally:
        script.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            script.wait(timeout=30)
        for pid in {script.pid, *started}:
            end_session(pid)
        script.stdout.close()
    assert not Path(token).exists(), "its token stays"


def descendants_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [int(child) for child, parent in (line.split() for line in listed.splitlines()) if int(parent) == pid]


def ray_submit(url: str, environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    line = [str(BIN / "ray"), "job", "submit", "--address", url, "--working-dir", str(REPOSITORY), "--", *words]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)


# What a run does first: tasks on every machine, for which each unpacks the job's files.
FIRST_THING = """
import os, time, ray
ray.init(log_to_driver=False)
folder = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(lambda: (time.sleep(3), os.getcwd())[1])
folders = set(ray.get([folder.remote() for _ in range(2)]))
print(len(folders), "folders;", "still there" if os.path.isfile(os.getcwd() + "/README.md") else "gone")
"""


@pytest.mark.slow
def test_the_first_job_of_a_new_cluster_keeps_its_folder(tmp_path: Path) -> None:
    with cluster(tmp_path, "2", "1") as (url, environment):
        done = ray_submit(url, environment, "python", "-c", FIRST_THING)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 folders; still there" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("attempt", [1, 2, 3])
@pytest.mark.parametrize("way", ["ig3d submit", "ray job submit"])
def test_the_first_run_of_a_new_cluster_ends_with_a_spec(way: str, attempt: int, tmp_path: Path) -> None:
    store = str(tmp_path / "runs")
    with cluster(tmp_path, "3", "2") as (url, environment):
        if way == "ig3d submit":
            words = ["submit", str(SMALL_SPACE), "--storage", store, "--dashboard", url, "--follow"]
            line = [sys.executable, "-m", "ig3d_ray", *words]
            done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=400)
        else:
            run = ["run", SMALL_SPACE.relative_to(REPOSITORY).as_posix(), "--storage", store]
            done = ray_submit(url, environment, "python", "-m", "ig3d_ray", *run)
        assert done.returncode == 0, done.stdout + done.stderr
    (spec,) = Path(store).rglob("best_ensemble.json")
    assert json.loads(spec.read_text())["dataset"] == "faces"


def refusal(home: Path, *words: str, **more: str) -> str:
    done = subprocess.run(
        ["bash", str(SCRIPT), *words], env=environment_of(home, **more), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert not list(home.iterdir()), "something was started"
    return line


def test_what_it_cannot_start_is_refused_in_a_line(tmp_path: Path) -> None:
    assert "two: give whole numbers above 0" in refusal(tmp_path, "two")
    assert "the cluster itself uses it" in refusal(tmp_path, IG3D_PORT="8263")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} is in use" in refusal(tmp_path, IG3D_DASHBOARD_PORT=port)


def test_the_workers_ports_keep_clear_of_the_dashboards(tmp_path: Path) -> None:
    # A `ray` that only writes down how it is started.
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ray").write_text(f'#!/bin/bash\necho "$@" >>{tmp_path}/words\nsleep 1\n')
    (folder / "ray").chmod(0o755)
    for dashboard in (18265, 8265, 21500):
        (tmp_path / "words").unlink(missing_ok=True)
        environment = environment_of(tmp_path, IG3D_DASHBOARD_PORT=str(dashboard), IG3D_PORT="29100")
        environment["PATH"] = f"{folder}:{os.environ['PATH']}"
        subprocess.run(["bash", str(SCRIPT), "1", "1"], env=environment, capture_output=True, timeout=60, check=False)
        deadline = time.monotonic() + 10
        while not (tmp_path / "words").is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        (words,) = [line for line in (tmp_path / "words").read_text().splitlines() if line.startswith("start")]
        low, high = (int(re.findall(rf"--{end}-worker-port (\d+)", words)[0]) for end in ("min", "max"))
        assert low + 7999 == high
        assert not any(low <= port <= high for port in (dashboard, 29100, 29101, 29102))
