"""Mistakes in the machines of a file for `ray up`: GPUs that Ray doesn't see, spot machines without a fallback."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ig3d_ray.launch.faults import Fault, at, count, items, mapping

_RAYS_RESOURCES = ("CPU", "GPU", "TPU", "memory", "object_store_memory")
# Families whose machines have GPUs: Amazon's g and p, Google's a and g2/g4, Microsoft's N.
_WITH_GPU = {
    "aws": re.compile(r"^(g\d|p\d)"),
    "gcp": re.compile(r"^(a\d+|g2|g4)-"),
    "azure": re.compile(r"^Standard_N[CDGV]"),
}


def headed(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """The head runs the driver and Ray's services; a training on it can exhaust its memory and stop all of them."""
    name = file.get("head_node_type")
    resources = mapping(at(_kinds(file), str(name), "resources"))
    where = f"available_node_types.{name}.resources"
    if resources.get("CPU") != 0:
        yield Fault(
            "head", where, f"CPU {resources.get('CPU', 'not given')}: members would train on the head; use CPU: 0"
        )
    if resources.get("GPU", 0):
        yield Fault("head", where, "a GPU on the head costs as long as the cluster is up; give it to workers")


def with_gpus(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """A GPU that is not a resource is paid for and never used."""
    found = False
    for name, kind in _kinds(file).items():
        resources = mapping(at(kind, "resources"))
        where = f"available_node_types.{name}.resources"
        for key in resources:
            right = next((r for r in _RAYS_RESOURCES if r.lower() == str(key).lower()), key)
            if right != key:
                yield Fault("resource-name", where, f"{key}: Ray's own is {right}; this would be another resource")
        found = found or bool(resources.get("GPU"))
        if _has_gpu(file, kind) and not resources.get("GPU"):
            yield Fault(
                "gpu", where, f"{_machine(kind)} has GPUs and the file doesn't list them: add GPU: 1, or their number"
            )
        if resources.get("GPU") and _machine(kind) and not _has_gpu(file, kind):
            yield Fault("gpu", where, f"{_machine(kind)} has no GPU, and the file lists {resources['GPU']}")
    if not found:
        yield Fault(
            "gpu", "available_node_types", "no kind of machine has GPU in its resources: nothing would train on one"
        )


def counted(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """The limits on the number of machines of a kind."""
    most = file.get("max_workers")
    for name, kind in _kinds(file).items():
        if name == file.get("head_node_type"):
            continue
        low, high = count(at(kind, "min_workers")), at(kind, "max_workers")
        where = f"available_node_types.{name}"
        if not isinstance(high, int):
            yield Fault("count", f"{where}.max_workers", "missing: limit the number of machines, which limits the bill")
        elif high < max(low, 1):
            yield Fault("count", f"{where}.max_workers", f"{high}: less than min_workers ({low}), or none at all")
        elif isinstance(most, int) and high > most:
            yield Fault("count", f"{where}.max_workers", f"{high}: more than the cluster's max_workers, {most}")
        if low > 0:
            yield Fault("count", f"{where}.min_workers", f"{low}: these never go, used or not; use 0")


def spot(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """Spot machines are requested by keys of each cloud that are not checked."""
    for name, kind in _kinds(file).items():
        where = f"available_node_types.{name}.node_config"
        market = at(kind, "node_config", "InstanceMarketOptions", "MarketType")
        if market not in (None, "spot", "capacity-block"):
            yield Fault("spot", f"{where}.InstanceMarketOptions.MarketType", f"{market}: Amazon's word is spot")
        priority = at(kind, "node_config", "azure_arm_parameters", "priority")
        if priority not in (None, "Spot", "Regular", "Low"):
            yield Fault("spot", f"{where}.azure_arm_parameters.priority", f"{priority}: Microsoft's word is Spot")
        model = at(_scheduling(kind), "provisioningModel")
        if model not in (None, "SPOT", "STANDARD"):
            yield Fault("spot", f"{where}.scheduling.provisioningModel", f"{model}: Google's word is SPOT")
        if name == file.get("head_node_type") and _is_spot(kind):
            yield Fault("spot", where, "a head on a spot machine takes the whole cluster with it; use an on-demand one")


def falls_back(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """When no spot machine is available, a run must not wait indefinitely."""
    kinds = {n: k for n, k in _kinds(file).items() if n != file.get("head_node_type") and at(k, "resources", "GPU")}
    on_demand = {n: k for n, k in kinds.items() if not _is_spot(k)}
    for name, kind in kinds.items():
        if not _is_spot(kind):
            continue
        mine = count(at(kind, "priority"))
        if not on_demand:
            message = "no on-demand kind with GPUs as a fallback: when no spot machine is available, the run waits"
            yield Fault("fallback", f"available_node_types.{name}", message)
        for other, fallback in on_demand.items():
            if mine <= count(at(fallback, "priority")):
                message = f"{mine} is not above {other}'s: the dearer machines would be started first"
                yield Fault("fallback", f"available_node_types.{name}.priority", message)


def keyless(file: dict[str, Any], _: Path) -> Iterator[Fault]:
    """Machines reach the storage by their role; without one, keys would be copied to them."""
    cloud = at(file, "provider", "type")
    for name, kind in _kinds(file).items():
        where = f"available_node_types.{name}.node_config"
        if cloud == "aws" and not at(kind, "node_config", "IamInstanceProfile"):
            yield Fault("role", where, "no IamInstanceProfile: the machine could not use the bucket without keys")
        if cloud == "gcp" and not at(kind, "node_config", "serviceAccounts"):
            yield Fault("role", where, "no serviceAccounts: the machine could not use the bucket without keys")
    if cloud == "azure" and not at(file, "provider", "msi_name"):
        yield Fault(
            "role", "provider", "no msi_name and msi_resource_group: the identity that Ray makes may not read it"
        )
    if at(file, "provider", "aws_credentials") or at(file, "provider", "gcp_credentials"):
        yield Fault("secret", "provider", "credentials in the file are copied to every machine; use their role")


def _kinds(file: dict[str, Any]) -> dict[str, Any]:
    return mapping(file.get("available_node_types"))


def _machine(kind: object) -> str:
    config = at(kind, "node_config")
    name = at(config, "InstanceType") or at(config, "machineType") or at(config, "azure_arm_parameters", "vmSize")
    return str(name or "")


def _has_gpu(file: dict[str, Any], kind: object) -> bool:
    pattern = _WITH_GPU.get(at(file, "provider", "type"))
    brings = pattern is not None and pattern.match(_machine(kind)) is not None
    return brings or bool(at(kind, "node_config", "guestAccelerators"))


def _scheduling(kind: object) -> object:
    # Google's is a mapping; Ray's own examples write it as a list of one.
    found = at(kind, "node_config", "scheduling")
    return items(found)[0] if items(found) else found


def _is_spot(kind: object) -> bool:
    google = _scheduling(kind)
    return (
        at(kind, "node_config", "InstanceMarketOptions", "MarketType") is not None
        or at(kind, "node_config", "azure_arm_parameters", "priority") in ("Spot", "Low")
        or at(google, "provisioningModel") not in (None, "STANDARD")
        or bool(at(google, "preemptible"))
    )


MACHINE_RULES = (headed, with_gpus, counted, spot, falls_back, keyless)
