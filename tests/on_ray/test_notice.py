"""A machine's notice that it is about to be taken away, from services like the clouds' own on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

QUIET = {"gcp": "FALSE", "azure": '{"Events": []}', "aws": None}
NOTICE = {"gcp": "TRUE", "azure": '{"Events": [{"EventType": "Preempt"}]}', "aws": '{"action": "terminate"}'}
PATHS = {
    "gcp": ("/computeMetadata/v1/instance/preempted", "Metadata-Flavor", "Google"),
    "azure": ("/metadata/scheduledevents?api-version=2020-07-01", "Metadata", "true"),
    "aws": ("/latest/meta-data/spot/instance-action", "X-aws-ec2-metadata-token", "secret"),
}
RAY = '#!/bin/bash\necho "$*" >> {log}\nif [ -e {down} ]; then rm {down}; exit 1; fi\n'


class Cloud(BaseHTTPRequestHandler):
    """Says for the first two questions that nothing is planned, then that it takes the machine."""

    asked = 0
    kind = "aws"

    def do_PUT(self) -> None:
        assert self.path == "/latest/api/token"
        self._say("secret")

    def do_GET(self) -> None:
        path, header, value = PATHS[self.kind]
        if self.path != path or self.headers[header] != value:
            self.send_error(403)
            return
        type(self).asked += 1
        words = (NOTICE if self.asked > 2 else QUIET)[self.kind]
        self.send_error(404) if words is None else self._say(words)

    def _say(self, words: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(words.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=sorted(PATHS))
def cloud(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, type[Cloud]]]:
    handler = type("One", (Cloud,), {"kind": request.param, "asked": 0})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield request.param, f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def ray_of(folder: Path) -> Path:
    """A `ray` that writes down what it was asked for, beside a Python that only its folder is wanted of."""
    (folder / "bin").mkdir()
    ray = folder / "bin" / "ray"
    ray.write_text(RAY.format(log=folder / "ray.log", down=folder / "down"))
    ray.chmod(0o755)
    return folder / "bin" / "python"


SCRIPT = """
import sys
from ig3d_ray.on_ray import notice
sys.executable, notice.POLL_SECONDS = {python!r}, 0.05
sys.exit(notice.main())
"""


def watch(python: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", SCRIPT.format(python=str(python)), *words]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)


def test_the_clouds_notice_reaches_ray(cloud: tuple[str, str, type[Cloud]], tmp_path: Path) -> None:
    kind, url, handler = cloud
    done = watch(ray_of(tmp_path), "--cloud", kind, "--head", "10.0.0.1:6379", IG3D_METADATA=url)
    assert done.returncode == 0, done.stderr
    assert handler.asked == 3
    seconds = {"aws": 115, "gcp": 28, "azure": 28}[kind]
    (asked,) = (tmp_path / "ray.log").read_text().splitlines()
    assert asked.startswith("drain-node --reason DRAIN_NODE_REASON_PREEMPTION")
    assert asked.endswith(f"--deadline-remaining-seconds {seconds} --address 10.0.0.1:6379")


def test_a_head_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    handler = type("One", (Cloud,), {"kind": "gcp", "asked": 2})
    python = ray_of(tmp_path)
    (tmp_path / "down").touch()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        done = watch(python, "--cloud", "gcp", IG3D_METADATA=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "ray.log").read_text().splitlines()) == 2


def test_a_pods_end_is_told_at_once(tmp_path: Path) -> None:
    done = watch(ray_of(tmp_path), "--now", "--seconds", "25")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ray.log").read_text().strip().endswith("--deadline-remaining-seconds 25")
