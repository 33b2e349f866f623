"""Errors in a KubeRay manifest that neither its schema nor the operator reports."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from ig3d_ray.launch.faults import Fault, at, count, items, mapping, unpinned_image

SUBMISSION_MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
GPU = "nvidia.com/gpu"
# The time to write checkpoints after Ray has been notified.
SHORTEST_GRACE_SECONDS = 30
_SECRET_NAMES = re.compile(r"(SECRET|TOKEN|PASSWORD|ACCESS_KEY)", re.IGNORECASE)


def check_manifest(manifest: dict[str, Any]) -> Iterator[Fault]:
    """Everything that is wrong with a RayJob, RayCluster or RayService, beyond its schema."""
    spec = mapping(manifest.get("spec"))
    if manifest.get("kind") == "RayService":
        yield from _service(spec)
        return
    if manifest.get("kind") == "RayJob":
        yield from _job(spec)
        cluster, path = mapping(spec.get("rayClusterSpec")), "spec.rayClusterSpec"
        if not cluster and not spec.get("clusterSelector"):
            yield Fault("cluster", path, "missing: a job needs a cluster, or a clusterSelector")
            return
    else:
        cluster, path = spec, "spec"
    yield from _cluster(cluster, path)
    yield from _head(mapping(cluster.get("headGroupSpec")), f"{path}.headGroupSpec")
    groups = items(cluster.get("workerGroupSpecs"))
    for i, group in enumerate(groups):
        yield from _workers(mapping(group), f"{path}.workerGroupSpecs[{i}]")
    if not any(_gpus(group) for group in groups):
        yield Fault("gpu", f"{path}.workerGroupSpecs", f"no group asks for {GPU}: nothing would train on one")
    for where, group in [("headGroupSpec", cluster.get("headGroupSpec")), *_numbered(groups)]:
        yield from _pod(mapping(at(group, "template", "spec")), f"{path}.{where}.template.spec", cluster)


def _service(spec: dict[str, Any]) -> Iterator[Fault]:
    """A service trains nothing and keeps running, so only these checks of clusters apply."""
    where = "spec.serveConfigV2"
    try:
        config = yaml.safe_load(str(spec.get("serveConfigV2") or ""))
    except yaml.YAMLError:
        config = None
    applications = items(at(config, "applications"))
    if not applications:
        yield Fault("application", where, "holds no applications: nothing would be served")
    for i, application in enumerate(applications):
        place = f"{where}: applications[{i}]"
        if not at(application, "import_path"):
            yield Fault("application", f"{place}.import_path", "missing: what is to be served?")
        if not str(at(application, "args", "spec") or "").endswith(".json"):
            yield Fault("application", f"{place}.args.spec", "names no best_ensemble.json: give the ensemble's spec")
    cluster, path = mapping(spec.get("rayClusterConfig")), "spec.rayClusterConfig"
    if at(cluster, "authOptions", "mode") != "token":
        message = "not token: everyone in the Kubernetes network could run anything on the cluster"
        yield Fault("token", f"{path}.authOptions.mode", message)
    yield from _head(mapping(cluster.get("headGroupSpec")), f"{path}.headGroupSpec")
    groups = items(cluster.get("workerGroupSpecs"))
    for i, group in enumerate(groups):
        low, high = count(at(group, "minReplicas")), at(group, "maxReplicas")
        if not isinstance(high, int):
            message = "missing: Kubernetes would allow any number, it is your bill"
            yield Fault("count", f"{path}.workerGroupSpecs[{i}].maxReplicas", message)
        elif not 0 < count(at(group, "replicas")) <= high or not low:
            message = "a service needs one at least, and no more than maxReplicas"
            yield Fault("count", f"{path}.workerGroupSpecs[{i}]", message)
    for name, group in [("headGroupSpec", cluster.get("headGroupSpec")), *_numbered(groups)]:
        yield from _pod(mapping(at(group, "template", "spec")), f"{path}.{name}.template.spec", cluster)


def _numbered(groups: list[Any]) -> list[tuple[str, Any]]:
    return [(f"workerGroupSpecs[{i}]", group) for i, group in enumerate(groups)]


def _job(spec: dict[str, Any]) -> Iterator[Fault]:
    mode = spec.get("submissionMode", "K8sJobMode")
    if mode not in SUBMISSION_MODES:
        yield Fault("submission", "spec.submissionMode", f"{mode}: one of {', '.join(SUBMISSION_MODES)}")
    if not spec.get("entrypoint") and mode != "InteractiveMode":
        yield Fault("entrypoint", "spec.entrypoint", "missing: what is the job to run?")
    if not spec.get("shutdownAfterJobFinishes"):
        message = "not true: the cluster would stay and cost after the run"
        yield Fault("idle", "spec.shutdownAfterJobFinishes", message)
    if not spec.get("backoffLimit"):
        message = "0 or missing: a lost driver would not be started again; a new one goes on where it was"
        yield Fault("restart", "spec.backoffLimit", message)


def _cluster(cluster: dict[str, Any], path: str) -> Iterator[Fault]:
    if at(cluster, "authOptions", "mode") != "token":
        message = "not token: everyone in the Kubernetes network could run anything on the cluster"
        yield Fault("token", f"{path}.authOptions.mode", message)
    if not cluster.get("enableInTreeAutoscaling"):
        yield Fault("autoscaling", f"{path}.enableInTreeAutoscaling", "not true: no worker would come or go by itself")
    elif at(cluster, "autoscalerOptions", "version") != "v2":
        yield Fault("autoscaling", f"{path}.autoscalerOptions.version", "not v2: the older one forgets idle workers")


def _head(head: dict[str, Any], path: str) -> Iterator[Fault]:
    if at(head, "rayStartParams", "num-cpus") != "0":
        message = 'not "0": members would train on the head beside the driver, and a failure would stop everything'
        yield Fault("head", f"{path}.rayStartParams.num-cpus", message)
    if _gpus(head):
        yield Fault("head", path, f"asks for {GPU}, as long as the cluster is up; give it to workers")
    kind = head.get("serviceType", "ClusterIP")
    if kind != "ClusterIP":
        yield Fault(
            "open-port", f"{path}.serviceType", f"{kind} opens the dashboard; use ClusterIP, and kubectl port-forward"
        )


def _workers(group: dict[str, Any], path: str) -> Iterator[Fault]:
    low, high = count(group.get("minReplicas")), group.get("maxReplicas")
    now = count(group.get("replicas", low))
    if not isinstance(high, int):
        yield Fault("count", f"{path}.maxReplicas", "missing: Kubernetes would allow any number, it is your bill")
    elif not low <= now <= high or high == 0:
        yield Fault("count", path, f"replicas {now} is not within {low} and {high}")
    if low:
        yield Fault("count", f"{path}.minReplicas", f"{low}: these never go, used or not; use 0")
    spec = mapping(at(group, "template", "spec"))
    if _gpus(group) and GPU not in [at(t, "key") for t in items(spec.get("tolerations"))]:
        message = f"no toleration of {GPU}: nodes with GPUs take no pod without it"
        yield Fault("toleration", f"{path}.template.spec.tolerations", message)
    if (count(spec.get("terminationGracePeriodSeconds")) or 30) < SHORTEST_GRACE_SECONDS:
        message = f"below {SHORTEST_GRACE_SECONDS}: too short for checkpoints"
        yield Fault("notice", f"{path}.template.spec.terminationGracePeriodSeconds", message)
    for i, container in enumerate(items(spec.get("containers"))[:1]):
        if "notice" not in str(at(container, "lifecycle", "preStop")):
            message = "no preStop that calls ig3d_ray.on_ray.notice --now: trainings would get no notice of it"
            yield Fault("notice", f"{path}.template.spec.containers[{i}].lifecycle", message)


def _pod(spec: dict[str, Any], path: str, cluster: dict[str, Any]) -> Iterator[Fault]:
    if not spec.get("serviceAccountName"):
        message = "missing: the pod could not use the bucket without keys"
        yield Fault("role", f"{path}.serviceAccountName", message)
    volumes = {at(volume, "name") for volume in items(spec.get("volumes"))}
    for i, container in enumerate(items(spec.get("containers"))):
        where = f"{path}.containers[{i}]"
        yield from unpinned_image(f"{where}.image", at(container, "image"))
        yield from _same_version(where, str(at(container, "image")), str(cluster.get("rayVersion", "")))
        for name in ("cpu", "memory"):
            if at(container, "resources", "limits", name) is None:
                yield Fault("limits", f"{where}.resources.limits", f"no {name}: one pod could take its whole node")
        for mount in items(at(container, "volumeMounts")):
            if at(mount, "name") not in volumes:
                yield Fault("volume", f"{where}.volumeMounts", f"{at(mount, 'name')}: the pod has no such volume")
        for variable in items(at(container, "env")):
            name, value = str(at(variable, "name")), at(variable, "value")
            if value and _SECRET_NAMES.search(name) and not name.endswith("_PATH"):
                yield Fault("secret", f"{where}.env", f"{name} is written here; use valueFrom, or the service account")


def _same_version(where: str, image: str, version: str) -> Iterator[Fault]:
    found = re.match(r"rayproject/ray:(\d+\.\d+\.\d+)", image)
    if not version:
        yield Fault("version", "rayVersion", "missing: the operator decides by it how to start Ray")
    elif found and found[1] != version:
        yield Fault("version", f"{where}.image", f"{image} is not rayVersion {version}")


def _gpus(group: object) -> bool:
    containers = items(at(group, "template", "spec", "containers"))
    return any(at(c, "resources", "limits", GPU) not in (None, "0", 0) for c in containers)
