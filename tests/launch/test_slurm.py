"""The Slurm script, with stand-ins for Slurm's and Ray's commands: what they are asked for, and how it ends."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "clusters" / "slurm.sbatch"
SCONTROL = "#!/bin/bash\nprintf 'node1\\nnode2\\n'\n"
SRUN = """#!/bin/bash
if [[ "$*" == *hostname* ]]; then echo 10.1.2.3; exit; fi
while [[ "$1" == --* ]]; do shift; done
exec "$@"
"""
# As Ray does: its own exit code is the command's, and 0 where it could not start.
RAY = """#!/bin/bash
printf '%s\\n' "$RAY_AUTH_MODE" "$RAY_ADDRESS" "$(stat -c %a "$RAY_AUTH_TOKEN_PATH")" "$(umask)" >> {log}
printf '%s\\n' "$RAY_TMPDIR" "$*" >> {log}
[ -n "${{RAY_FAILS:-}}" ] && exit 0
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
PYTHON = """#!/bin/bash
echo "run: $*"
trap 'echo terminated; exit 143' TERM
if [ -n "${RUN_WAITS:-}" ]; then for _ in $(seq 100); do sleep 0.1; done; fi
exit "${RUN_ENDS:-0}"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "env" / "bin"
    folder.mkdir(parents=True)
    ray = RAY.format(log=tmp_path / "ray.log")
    for name, text in {"scontrol": SCONTROL, "srun": SRUN, "ray": ray, "python": PYTHON}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[1-2]"}
    slurm |= {"SLURM_CPUS_PER_TASK": "16", "SLURM_GPUS_ON_NODE": "4"}
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "IG3D_ENV": str(folder.parent)} | slurm


def sbatch(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    words = ["bash", str(SCRIPT), "space.yaml", "--storage", "/shared/a folder"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, umask=0o022)


def left_behind(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / ".ray").iterdir()]


@pytest.mark.parametrize("code", [0, 1, 2])
def test_it_ends_as_the_run_does(environment: dict[str, str], tmp_path: Path, code: int) -> None:
    done = sbatch(environment | {"RUN_ENDS": str(code)})
    assert done.returncode == code, done.stderr
    assert "run: -m ig3d_ray run space.yaml --storage /shared/a folder" in done.stdout
    mode, address, permissions, umask, temporary, words = (tmp_path / "ray.log").read_text().split("\n", 5)
    assert (mode, address, permissions) == ("token", "10.1.2.3:24711", "600")
    assert umask == "0022", "what a run writes to a shared storage would be unreadable to others"
    assert temporary == "/tmp/ig3d-4711", "sockets below a long TMPDIR can't be made"
    assert words.startswith("symmetric-run --address 10.1.2.3:24711 --min-nodes 2 --num-cpus 16 --num-gpus 4")
    assert left_behind(tmp_path) == []


def test_a_ray_that_could_not_start_is_a_failure(environment: dict[str, str], tmp_path: Path) -> None:
    done = sbatch(environment | {"RAY_FAILS": "yes"})
    assert done.returncode == 1
    assert "the run did not end by itself" in done.stderr
    assert left_behind(tmp_path) == []


def test_slurms_signal_reaches_the_run_and_is_waited_for(environment: dict[str, str], tmp_path: Path) -> None:
    words = ["bash", str(SCRIPT), "space.yaml", "--storage", "/shared"]
    going = subprocess.Popen(
        words, env=environment | {"RUN_WAITS": "yes"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert going.stdout is not None
    assert going.stdout.readline().startswith("run:")
    time.sleep(0.3)
    going.send_signal(signal.SIGTERM)
    out, _ = going.communicate(timeout=30)
    assert "terminated" in out
    assert going.returncode == 143
    assert left_behind(tmp_path) == []
