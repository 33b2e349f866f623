"""A head node of its own ports, folders and token, as `ray start` makes one, and nothing left of it afterwards."""

import contextlib
import os
import random
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
PORTS = ("ray-client-server-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "node-manager-port")
PORTS += ("object-manager-port", "runtime-env-agent-port", "metrics-export-port")


def free_ports(*names: str) -> list[str]:
    """Ports for Ray's processes, as its options: from a range out of which no system gives ports to others meanwhile.

    Were one taken before Ray's agent binds it, the agent would die, and the machine with it.
    """
    with contextlib.ExitStack() as held:
        words = []
        for port in random.sample(range(22000, 32000), 1000):
            if len(words) == len(names):
                return words
            with contextlib.suppress(OSError):
                held.enter_context(socket.socket()).bind(("", port))
                words.append(f"--{names[len(words)]}={port}")
    raise OSError("no free ports from 22000 to 32000")


def port_of(words: list[str], name: str) -> int:
    """The port that an option names."""
    (value,) = (word.partition("=")[2] for word in words if word.startswith(f"--{name}="))
    return int(value)


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
    # A socket's path has room for about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="ray") as place:
        words = free_ports("port", "dashboard-port", *PORTS)
        urls = [
            f"http://127.0.0.1:{port_of(words, name)}" for name in ("dashboard-port", "dashboard-agent-listen-port")
        ]
        words += ["--min-worker-port=21000", "--max-worker-port=21999", f"--num-cpus={cpus}", f"--temp-dir={place}"]
        if scales is not None:
            # Machines that join must not take 127.0.0.1 for the head's address.
            environment["RAY_ADDRESS"] = f"{ray.util.get_node_ip_address()}:{port_of(words, 'port')}"
            words.append(f"--autoscaling-config={scales(environment['RAY_ADDRESS'])}")
        daemon = subprocess.Popen(
            [str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats", *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_until_it_takes_jobs(*urls, token.read_text(), daemon)
            yield urls[0], environment
        finally:
            daemon.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=5)
            end_session(daemon.pid)


def _wait_until_it_takes_jobs(dashboard: str, agent: str, token: str, daemon: "subprocess.Popen[bytes]") -> None:
    """The dashboard answers first; a job is taken by the agent, which comes seconds later."""
    deadline = time.monotonic() + SECONDS
    wanted = [f"{dashboard}/api/jobs/", f"{agent}/api/local_raylet_healthz"]
    while wanted:
        assert daemon.poll() is None, "ray start failed"
        assert time.monotonic() < deadline, f"the head takes no jobs: no answer from {wanted[0]}"
        request = urllib.request.Request(wanted[0], headers={"Authorization": f"Bearer {token}"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
            if answer.status == 200:
                wanted.pop(0)
                continue
        time.sleep(0.3)


def end_session(session: int) -> None:
    """Kill what is left of a session's processes."""
    listed = subprocess.run(["ps", "-eo", "pid=,sid="], capture_output=True, text=True, check=True).stdout
    for pid, sid in (line.split() for line in listed.splitlines()):
        if int(sid) == session:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
