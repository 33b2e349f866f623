"""Errors in a file for `ray up` that Ray's schema accepts: region, access and cost."""

import difflib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ig3d_ray.launch.faults import Fault, at, items, mapping, unpinned_image, unpinned_packages
from ig3d_ray.launch.machines import MACHINE_RULES

Rule = Callable[[dict[str, Any], Path], Iterator[Fault]]
PLACES = {"aws": ("region",), "gcp": ("region", "project_id"), "azure": ("location", "resource_group")}
_EVERYWHERE = {"type", "module", "use_internal_ips", "disable_node_updaters", "disable_launch_config_check"}
_EVERYWHERE |= {"launch_multiple", "max_launch_batch", "max_concurrent_launches", "worker_liveness_check"}
_AWS = {"region", "availability_zone", "cache_stopped_nodes", "security_group", "cloudwatch", "aws_credentials"}
_GCP = {"region", "availability_zone", "project_id", "gcp_credentials", "use_external_head_ip"}
_AZURE = {"location", "resource_group", "subscription_id", "tags", "availability_zone", "cache_stopped_nodes"}
_AZURE |= {"msi_name", "msi_resource_group", "unique_id", "subnet_mask", "use_external_head_ip"}
PROVIDER_KEYS = {"aws": _EVERYWHERE | _AWS, "gcp": _EVERYWHERE | _GCP, "azure": _EVERYWHERE | _AZURE}
LONGEST_IDLE_MINUTES = 60
COMMANDS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


def named(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """Two clusters with the same name in one account use each other's machines."""
    name = file.get("cluster_name")
    if not name or name == "default":
        yield Fault("name", "cluster_name", "none of its own: give one, or it shares machines with every other default")
    elif not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", str(name)):
        yield Fault("name", "cluster_name", f"{name!r}: use lower-case letters, digits and hyphens")


def placed(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """Ray's default region is rarely the intended one."""
    kind = at(file, "provider", "type")
    for key in PLACES.get(kind, ()):
        value = at(file, "provider", key)
        if not value:
            yield Fault("place", f"provider.{key}", "missing: name one")
    known = PROVIDER_KEYS.get(kind, set())
    for key in mapping(file.get("provider")) if known else ():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            yield Fault(
                "provider-key", f"provider.{key}", f"Ray has no such key for {kind}, and would ignore it{meant}"
            )


def closed(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """Anyone who can reach a Ray port can run code on the cluster; strangers try out every open port 22."""
    for i, permission in enumerate(items(at(file, "provider", "security_group", "IpPermissions"))):
        ranges = [at(r, "CidrIp") for r in items(at(permission, "IpRanges"))]
        ranges += [at(r, "CidrIpv6") for r in items(at(permission, "Ipv6Ranges"))]
        if {"0.0.0.0/0", "::/0"} & {str(r) for r in ranges}:
            where = f"provider.security_group.IpPermissions[{i}]"
            ports = f"ports {at(permission, 'FromPort')} to {at(permission, 'ToPort')}"
            yield Fault(
                "open-port", where, f"{ports} are open to the world; use `ray dashboard` to reach the dashboard"
            )
    yield from _port_22(file)
    starts = _commands(file, "head_start_ray_commands")
    if not starts and at(file, "provider", "type") == "aws":
        yield Fault("open-port", "head_start_ray_commands", "missing: Ray's default opens the dashboard to the network")
    for command in starts:
        if re.search(r"--dashboard-host[= ](0\.0\.0\.0|::)", command):
            message = "the dashboard listens to the network; use --dashboard-host=127.0.0.1 and `ray dashboard`"
            yield Fault("open-port", "head_start_ray_commands", message)


# What a kind of machine names if its network is the user's own, and what Ray does otherwise.
_OWN_NETWORK = {
    "aws": (
        ("SecurityGroupIds", "NetworkInterfaces", "LaunchTemplate"),
        "missing: Ray's own group opens port 22 to the world; name a group that opens it to your addresses only",
    ),
    "gcp": (
        ("networkInterfaces",),
        "missing: the default network's firewall opens port 22 to the world; name a subnetwork of your own network",
    ),
}


def _port_22(file: dict[str, Any]) -> Iterator[Fault]:
    """Port 22 by the network that Ray makes or takes."""
    provider = at(file, "provider", "type")
    if at(file, "provider", "use_internal_ips") is True:
        return
    if provider == "azure":
        message = (
            "Ray's network opens port 22 to the world, and no key here changes it: run `az network nsg rule update"
        )
        yield Fault("open-port", "provider", f"{message} --source-address-prefixes` after `ray up`", in_file=False)
    keys, message = _OWN_NETWORK.get(str(provider), ((), ""))
    for name, kind in mapping(file.get("available_node_types")).items():
        if keys and not any(at(kind, "node_config", key) for key in keys):
            yield Fault("open-port", f"available_node_types.{name}.node_config.{keys[0]}", message)


def guarded(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """Without a token, everyone with network access can use the cluster."""
    options = " ".join(str(o) for o in items(at(file, "docker", "run_options")))
    for key in STARTS:
        text = options + " ".join(_commands(file, key))
        if "RAY_AUTH_MODE=token" not in text:
            message = (
                "no RAY_AUTH_MODE=token, there or in docker.run_options: everyone who reaches a port can run anything"
            )
            yield Fault("token", key, message)


def started(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """The options for autoscaling on the head and for connecting workers to it."""
    heads = " ".join(_commands(file, "head_start_ray_commands"))
    if heads and "--autoscaling-config" not in heads:
        message = "no --autoscaling-config=~/ray_bootstrap_config.yaml: no worker would be started"
        yield Fault("autoscaling", "head_start_ray_commands", message)
    workers = " ".join(_commands(file, "worker_start_ray_commands"))
    if workers and "$RAY_HEAD_IP" not in workers:
        message = "no --address=$RAY_HEAD_IP:6379: workers would not find the head"
        yield Fault("autoscaling", "worker_start_ray_commands", message)
    for key in ("setup_commands", *STARTS):
        if key not in file:
            yield Fault(
                "own-commands", key, "missing: Ray's default installs or starts a development build; give yours"
            )


def pinned(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """The same file must give the same cluster at any later time."""
    for key in ("image", "head_image", "worker_image"):
        if at(file, "docker", key):
            yield from unpinned_image(f"docker.{key}", at(file, "docker", key))
    for name, kind in mapping(file.get("available_node_types")).items():
        image = at(kind, "docker", "worker_image")
        if image:
            yield from unpinned_image(f"available_node_types.{name}.docker.worker_image", image)
    for key in COMMANDS:
        for command in _commands(file, key):
            yield from unpinned_packages(key, command)


def bounded(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """Idle machines must be terminated automatically."""
    minutes = file.get("idle_timeout_minutes")
    if not isinstance(minutes, int | float) or not 0 < minutes <= LONGEST_IDLE_MINUTES:
        message = f"{minutes}: idle machines would stay and cost; use 5 to 15"
        yield Fault("idle", "idle_timeout_minutes", message)


def mounted(file: dict[str, Any], folder: Path) -> Iterator[Fault]:
    """Files that are copied to the machines must exist here."""
    for target, source in mapping(file.get("file_mounts")).items():
        path = Path(str(source)).expanduser()
        if not (path if path.is_absolute() else folder / path).exists():
            message = f"{source}: no such file or folder here; call it from the folder that `ray up` is called from"
            yield Fault("file-mount", f"file_mounts.{target}", message)


def _commands(file: dict[str, Any], key: str) -> list[str]:
    return [str(command) for command in items(file.get(key))]


LAUNCHER_RULES: tuple[Rule, ...] = (named, placed, closed, guarded, started, pinned, bounded, mounted, *MACHINE_RULES)
