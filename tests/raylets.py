"""Machines of one Ray cluster as raylets on this one, each with its own processes, to be taken away and replaced."""

import contextlib
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ray
from ray_head import BIN, PORTS, SECONDS, end_session, free_ports, port_of


@dataclass
class Raylets:
    """A head without CPUs, and machines of one CPU each.

    Attributes:
        address: of the head. environment: what drivers need. machines: those that are up.
    """

    address: str
    environment: dict[str, str]
    log: Path
    machines: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as lines:
            return subprocess.Popen(
                [str(BIN / "ray"), "start", "--block", "--disable-usage-stats", *words],
                env=self.environment,
                stdout=lines,
                stderr=lines,
                start_new_session=True,
            )

    def add(self) -> None:
        """Another machine comes."""
        ports = free_ports("dashboard-agent-listen-port")
        self.machines.append(self.start(f"--address={self.address}", "--num-cpus=1", *ports))

    def lose(self, index: int) -> None:
        """A machine is gone at once, with all that runs on it."""
        machine = self.machines.pop(index)
        end_session(machine.pid)
        machine.wait()


@contextlib.contextmanager
def raylets(home: Path, machines: int) -> Iterator[Raylets]:
    """A head and so many machines; nothing of them is left afterwards."""
    token = home / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    words = free_ports("port", "dashboard-port", *PORTS)
    address = f"{ray.util.get_node_ip_address()}:{port_of(words, 'port')}"
    made = Raylets(address, environment, home / "raylets.log")
    with tempfile.TemporaryDirectory(prefix="ray") as place:
        # With its dashboard: without one, what Ray Train leaves behind for a dead driver asks the head for ever, every
        # second, and ten dead drivers later the head has no time for anything else.
        head = made.start("--head", "--num-cpus=0", f"--temp-dir={place}", *words)
        try:
            # One after another: two that start in the same instant on one machine may wait for each other for ever.
            for count in range(machines + 1):
                _wait_until_up(made, head, count + 1)
                if count < machines:
                    made.add()
            yield made
        finally:
            while made.machines:
                made.lose(0)
            head.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                head.wait(timeout=5)
            end_session(head.pid)


def _wait_until_up(made: Raylets, head: "subprocess.Popen[bytes]", nodes: int) -> None:
    deadline = time.monotonic() + SECONDS
    ask = [str(BIN / "ray"), "status", "--address", made.address]
    while True:
        message = subprocess.run(ask, env=made.environment, capture_output=True, text=True, check=False).stdout
        if message.count(" node_") >= nodes:
            return
        assert head.poll() is None, made.log.read_text()[-2000:]
        assert time.monotonic() < deadline, f"fewer than {nodes} nodes: {message}"
        time.sleep(0.5)
