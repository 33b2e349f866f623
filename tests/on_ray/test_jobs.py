"""Runs as jobs of a cluster: a real head with token and dashboard, real submissions."""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import SMALL_SPACE
from ray_head import BIN, head

from ig3d_ray.storage.store import Store

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
Head = tuple[str, dict[str, str]]
# However late a job's log is read, a member whose network waits for a file to go is still in training.
WAITING = """
import time
from pathlib import Path

from torch import nn

FILE = Path({file!r})


class Waiting(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.linear = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, outputs))

    def forward(self, image):
        if FILE.exists():
            time.sleep(0.4)
        return self.linear(image)


def waiting(outputs):
    return Waiting(outputs)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with head(tmp_path_factory.mktemp("head")) as found:
        yield found


def call(cluster: Head, *words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    _, environment = cluster
    return subprocess.run(words, capture_output=True, text=True, timeout=200, env=environment, cwd=cwd)


def ray_job_submit(cluster: Head, *words: str, folder: Path = REPOSITORY) -> "subprocess.CompletedProcess[str]":
    url, _ = cluster
    ray = [str(BIN / "ray"), "job", "submit", "--address", url, "--working-dir", str(folder), "--"]
    return call(cluster, *ray, "python", "-m", "ig3d_ray", *words)


def ig3d(cluster: Head, *words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return call(cluster, sys.executable, "-m", "ig3d_ray", *words, cwd=cwd)


def asked(cluster: Head, path: str) -> str:
    """What the dashboard answers, without starting a process to ask."""
    url, environment = cluster
    token = Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    request = urllib.request.Request(f"{url}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def specs(store: Store) -> list[str]:
    return [name for name in store.names("searches") if name.endswith("best_ensemble.json")]


def test_strangers_are_refused(cluster: Head) -> None:
    url, environment = cluster
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/api/jobs/", timeout=10)
    without = {name: value for name, value in environment.items() if not name.startswith("RAY_AUTH")}
    done = ig3d((url, without), "submit", str(SMALL_SPACE), "--dashboard", url, "--storage", "s3://bucket/x")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH" in done.stderr


def test_a_job_that_cannot_run_fails_with_its_one_line(cluster: Head, tmp_path: Path) -> None:
    done = ray_job_submit(cluster, "run", "tests/no.yaml", "--storage", str(tmp_path))
    assert done.returncode == 1
    assert re.search(r"^ig3d: tests/no\.yaml: .*", done.stdout, re.MULTILINE)
    assert "Traceback" not in done.stdout


def test_a_folder_of_this_machine_is_refused(cluster: Head) -> None:
    done = ig3d(cluster, "submit", str(SMALL_SPACE), "--dashboard", cluster[0], "--storage", "runs")
    assert done.returncode == 2
    assert "ig3d: --storage runs: a job runs on another machine" in done.stderr


def test_a_storage_with_a_password_is_refused_and_not_shown(cluster: Head) -> None:
    done = ig3d(cluster, "submit", str(SMALL_SPACE), "--dashboard", cluster[0], "--storage", "ftp://me:hunter2@host/x")
    assert done.returncode == 2
    assert "ftp://...@host/x: holds a password, which Ray shows to everyone" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_a_job_is_stopped_in_mid_training_and_a_second_one_goes_on(cluster: Head, tmp_path: Path) -> None:
    url, _ = cluster
    store = Store(str(tmp_path / "store"))
    there = tmp_path / "there"
    there.touch()
    project = tmp_path / "project"
    project.mkdir()
    (project / "networks_of_a_job.py").write_text(WAITING.format(file=str(there)))
    small = yaml.safe_load(SMALL_SPACE.read_text())
    small["search"]["budget"] = 10
    recipe = small["pool"][0]["recipe"] | {"epochs": 40, "patience": 40}
    small["pool"][0] = {"kind": "module", "factory": "networks_of_a_job:waiting", "image_size": 32, "recipe": recipe}
    small["pool"][1] |= {"representation": "emoca"}
    (project / "space.yaml").write_text(yaml.safe_dump(small))
    words = ["submit", "space.yaml", "--dashboard", url, "--storage", store.uri]
    submitted = ig3d(cluster, *words, cwd=project)
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.strip()
    deadline = time.monotonic() + 120
    while not re.search(r"train: waiting.* epoch", logs := asked(cluster, f"/api/jobs/{job}/logs")):
        assert time.monotonic() < deadline, logs
        time.sleep(0.5)
    started = time.monotonic()
    assert call(cluster, *ray_job("stop", job, url)).returncode == 0
    assert time.monotonic() - started < 25
    logs = call(cluster, *ray_job("logs", job, url)).stdout
    assert "terminated; finished work is stored" in logs
    written = re.findall(r"train: (.*): terminated; written at (epoch \d+, step \d+)", logs)
    assert written, logs
    assert specs(store) == []
    there.unlink()
    done = ig3d(cluster, *words, "--follow", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, where in written:
        assert f"{name} resumed at {where}" in done.stdout
    assert "spec: " in done.stdout
    (spec,) = specs(store)
    assert json.loads(store.read(spec))["dataset"] == "faces"
    assert store.names("train") == store.names("tune") == []
    # And the way that is Ray's own: nothing is left to do.
    again = ray_job_submit(cluster, "run", "space.yaml", "--storage", store.uri, folder=project)
    assert again.returncode == 0, again.stdout
    assert "nothing to do, 3 members cached" in again.stdout


def ray_job(verb: str, job: str, url: str) -> list[str]:
    return [str(BIN / "ray"), "job", verb, job, "--address", url]


def test_what_travels_and_what_ray_shows_of_it(cluster: Head) -> None:
    _, environment = cluster
    secret = {"AWS_ACCESS_KEY_ID": "AKIASECRET", "AWS_SECRET_ACCESS_KEY": "verysecret"}
    url = cluster[0]
    words = ["submit", str(SMALL_SPACE), "--dashboard", url, "--storage", "s3://no-such-bucket/x"]
    where = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    job = ig3d((url, environment | secret | where), *words).stdout.strip()
    token = Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    shown = asked(cluster, f"/api/jobs/{job}")
    assert json.loads(shown)["runtime_env"]["env_vars"]["AWS_ENDPOINT_URL"] == where["AWS_ENDPOINT_URL"]
    assert "SECRET" not in shown.upper()
    assert token not in shown
    call(cluster, *ray_job("stop", job, url))
