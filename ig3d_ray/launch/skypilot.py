"""Errors in a task of SkyPilot that its schema accepts."""

import difflib
import re
from collections.abc import Iterator
from typing import Any

from ig3d_ray.launch.faults import Fault, at, items, mapping, unpinned_packages

# Of SkyPilot 0.14.
TASK_KEYS = {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "file_mounts", "volumes", "setup", "run"}
TASK_KEYS |= {"service", "pool", "config", "event_callback", "inputs", "outputs", "api_server_access"}
RESOURCE_KEYS = {"infra", "cloud", "region", "zone", "accelerators", "accelerator_args", "cpus", "memory", "image_id"}
RESOURCE_KEYS |= {"instance_type", "use_spot", "disk_size", "disk_tier", "network_tier", "ports", "labels", "autostop"}
RESOURCE_KEYS |= {"any_of", "ordered", "job_recovery", "priority", "volumes", "local_disk", "ephemeral_storage"}
RESOURCE_KEYS |= {"max_hourly_cost", "priority_class"}
INTERNAL_PORT = "6380"


def check_task(task: dict[str, Any]) -> Iterator[Fault]:
    """Everything that is wrong with a task of SkyPilot that trains: keys, costs, access, and SkyPilot's own Ray.

    Args:
        task: the file's content.
    """
    yield from _known(task, TASK_KEYS, "")
    resources = mapping(task.get("resources"))
    yield from _known(resources, RESOURCE_KEYS, "resources.")
    choices = [resources, *items(resources.get("any_of")), *items(resources.get("ordered"))]
    if not any(at(choice, "accelerators") or at(choice, "instance_type") for choice in choices):
        yield Fault("gpu", "resources.accelerators", "missing: nothing would train on a GPU")
    if not resources.get("autostop"):
        message = "missing: machines that idle would stay and cost; use {idle_minutes: 10, down: true}"
        yield Fault("idle", "resources.autostop", message)
    if resources.get("ports"):
        yield Fault("open-port", "resources.ports", "these are open to the world; use `ssh -L` to reach the dashboard")
    yield from _commands(task)


def _known(content: dict[str, Any], known: set[str], prefix: str) -> Iterator[Fault]:
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            yield Fault("schema", f"{prefix}{key}", f"SkyPilot has no such key{meant}")


def _commands(task: dict[str, Any]) -> Iterator[Fault]:
    given = mapping(task.get("envs")) | mapping(task.get("secrets"))
    text = "\n".join(str(task.get(key) or "") for key in ("setup", "run"))
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in lines:
        yield from unpinned_packages("setup", line)
        if re.search(r"\bray stop\b", line):
            message = "`ray stop` stops SkyPilot's own Ray, too; stop what the file started by its process id"
            yield Fault("internal-ray", "run", message)
        if re.search(rf"\bray start\b.*--port[= ]{INTERNAL_PORT}\b", line):
            yield Fault("internal-ray", "run", f"port {INTERNAL_PORT} is that of SkyPilot's own Ray; use 6379")
        if re.search(r"--address[= ][\"']?auto\b", line):
            message = "`auto` finds SkyPilot's own Ray; give the address of the one that the file starts"
            yield Fault("internal-ray", "run", message)
        if re.search(r"--dashboard-host[= ](0\.0\.0\.0|::)", line):
            message = "the dashboard listens to the network; use --dashboard-host=127.0.0.1 and `ssh -L`"
            yield Fault("open-port", "run", message)
    if any("ray start" in line for line in lines) and given.get("RAY_AUTH_MODE") != "token":
        yield Fault("token", "envs.RAY_AUTH_MODE", "not token: everyone who reaches a port can run anything")
