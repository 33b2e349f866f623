"""A run on a cluster without a machine of its own: they come for members, spot first, and go when all is done.

The machines are raylets that Ray's own stand-in for a cloud starts on this one.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import SMALL_SPACE
from ray_head import head

pytestmark = pytest.mark.long
HEAD = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1"}
# How the stand-in knows the head.
HEAD_ID = "f" * 55 + "1"
HEAD |= {"RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID}
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
WATCH = """
import json, sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False)
while True:
    kinds = [node["Labels"].get("market") for node in ray.nodes() if node["Alive"]]
    print("kinds", json.dumps([kind for kind in kinds if kind]), flush=True)
    time.sleep(0.3)
"""


def kind(market: str, priority: int) -> dict[str, object]:
    machine = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1}
    return machine | {"labels": {"market": market}, "priority": priority}


def scales(folder: Path, address: str) -> Path:
    provider = {"type": "external", "module": PROVIDER, "gcs_address": address}
    kinds = {"ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
    # By name the dearer kind would come first.
    kinds |= {"a_on_demand": kind("on-demand", 1), "z_spot": kind("spot", 10)}
    file = {
        "cluster_name": "small",
        "max_workers": 2,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 10,
        "provider": provider | {"launch_multiple": True, "head_node_id": HEAD_ID},
        "auth": {},
        "docker": {},
        "head_node_type": "ray.head.default",
        "available_node_types": kinds,
    }
    file |= {"file_mounts": {}, "cluster_synced_files": [], "file_mounts_sync_continuously": False}
    for commands in ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray"):
        file[f"{commands}_commands"] = []
    path = folder / "autoscaling.yaml"
    path.write_text(yaml.safe_dump(file | {"rsync_exclude": [], "rsync_filter": []}))
    return path


def run_small(environment: dict[str, str], place: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "ig3d_ray", "run", str(SMALL_SPACE), "--storage", str(place / "store"), *options]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200)


def test_machines_come_for_members_spot_first_and_go(tmp_path: Path) -> None:
    with head(tmp_path, 0, lambda address: scales(tmp_path, address), **HEAD) as (_, environment):
        words = [sys.executable, "-c", WATCH, environment["RAY_ADDRESS"]]
        watch = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert watch.stdout is not None
            assert watch.stdout.readline() == "kinds []\n", "a machine before anybody asked for one"
            too_much = run_small(environment, tmp_path, "--set", "resources.cpus_per_worker=7")
            assert too_much.returncode == 2
            assert "one training asks for 1 workers of 7 CPUs" in too_much.stderr.splitlines()[-1]
            done = run_small(environment, tmp_path)
            assert done.returncode == 0, done.stderr
            assert "spec: " in done.stdout
            ended = time.monotonic()
            seen = []
            for line in watch.stdout:
                if not line.startswith("kinds "):
                    continue  # Ray's own news
                seen.append(json.loads(line.removeprefix("kinds ")))
                if len(seen) > 3 and seen[-1] == [] and time.monotonic() > ended + 3:
                    break
                assert time.monotonic() < ended + 60, f"machines stay: {seen[-1]}"
        finally:
            watch.kill()
            watch.wait()
    first = next(kinds for kinds in seen if kinds)
    assert first == ["spot"]
    assert ["on-demand", "spot"] in map(sorted, seen)
