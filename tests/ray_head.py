"""A head node of its own ports, folders and token, as `ray start` makes one, and nothing left of it afterwards."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import ray

BIN = Path(sys.executable).parent
SECONDS = 60


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def head(
    home: Path, cpus: int = 2, scales: Callable[[str], Path] | None = None, **more: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """Start one with token authentication: the dashboard's URL, and the environment that its clients need.

    Args:
        scales: given the head's address, writes the autoscaler's file.
    """
    token = home / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)} | more
    dashboard, port = free_port(), free_port()
    # A socket's path has room for about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="ray") as place:
        ports = {"--port": port, "--dashboard-port": dashboard, "--ray-client-server-port": free_port()}
        ports |= {"--dashboard-agent-listen-port": free_port(), "--dashboard-agent-grpc-port": free_port()}
        words = [f"{name}={port}" for name, port in ports.items()]
        words += ["--min-worker-port=21000", "--max-worker-port=21999", f"--num-cpus={cpus}", f"--temp-dir={place}"]
        if scales is not None:
            # Machines that join must not take 127.0.0.1 for the head's address.
            environment["RAY_ADDRESS"] = f"{ray.util.get_node_ip_address()}:{port}"
            words.append(f"--autoscaling-config={scales(environment['RAY_ADDRESS'])}")
        daemon = subprocess.Popen(
            [str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats", *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{dashboard}"
            _wait_until_it_takes_jobs(url, token.read_text(), daemon)
            yield url, environment
        finally:
            daemon.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=5)
            end_session(daemon.pid)


def _wait_until_it_takes_jobs(url: str, token: str, daemon: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS
    request = urllib.request.Request(f"{url}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    while True:
        assert daemon.poll() is None, "ray start failed"
        assert time.monotonic() < deadline, "the head takes no jobs"
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.3)


def end_session(session: int) -> None:
    """Kill what is left of a session's processes."""
    listed = subprocess.run(["ps", "-eo", "pid=,sid="], capture_output=True, text=True, check=True).stdout
    for pid, sid in (line.split() for line in listed.splitlines()):
        if int(sid) == session:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
