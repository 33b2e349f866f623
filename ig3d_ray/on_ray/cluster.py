"""Connecting to Ray, and querying its resources."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ig3d_ray.config.resources import Resources, places
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.user_code import working_directory_on_path
from ig3d_ray.on_ray.local import start_here, use_own_token

# Minus the startup time of this program, so that the result is available within 10 s.
ANSWER_SECONDS = 8.0
# In a job, whose cluster is known to be there, however busy.
JOB_ANSWER_SECONDS = 60.0
ARRIVAL_SECONDS = 20.0
# What Ray Train's controller, cleaner and synchronizer of one training hold on the driver's machine: measured in
# docs/scale.md, 456 MiB.
CONTROLLER_BYTES = 2**29
ENVIRONMENT = {
    # An epoch of a small member is shorter than the default poll of 2 s, and each report waits for one.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # A cloud gives 30 s of notice, so a training must be notified within a few seconds.
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Tune's loggers cost more than a batch of candidates.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}
# Ray sets it in the process of a job's command.
RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# SkyPilot starts a Ray of its own on each machine, for its own jobs.
SKYPILOT_PORT = "6380"
_PROBE = """
import ray, sys
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
print(ray.get_runtime_context().gcs_address)
ray.shutdown()
"""


@contextlib.contextmanager
def connected(address: str | None, training: Resources | None) -> Iterator[None]:
    """Context in which Ray is connected to a cluster, or started on this machine and stopped at the end.

    Args:
        address: `host:port` or `auto` for a cluster; None for this machine, except inside a Ray job, which runs
            on the cluster that it was submitted to.
        training: what one training needs; checked before anything is started. None if nothing is trained.

    Raises:
        Ig3dError: the address doesn't answer within 10 s (60 s in a job), or `auto` finds the Ray that SkyPilot keeps
            for itself; one training needs more than is available.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    named_by = "--address" if address else "RAY_ADDRESS"
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None:
        _probe(address, named_by)
    else:
        use_own_token()
    import ray  # after the environment, which Ray reads while importing

    # Before Ray starts: its workers import from where this process does.
    working_directory_on_path()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    if address is None:
        # The local machine is not preempted; the watcher would add one process per run.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        gpus = _local_gpus() if training is not None and training.gpus_per_worker else 0
        there = [{"CPU": float(os.cpu_count() or 1), "GPU": float(gpus)}]
        _check_fits(there, training, "this machine")
        start_here()
    else:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    if threading.current_thread() is threading.main_thread():
        # Ray replaces the handler of this signal.
        signal.signal(signal.SIGTERM, on_sigterm)
    try:
        _check_will_fit(training, address)
        yield
    finally:
        ray.shutdown()


def _machines() -> list[dict[str, float]]:
    """The resources of each live machine of the connected cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def workers_that_fit(machines: list[dict[str, float]], needs: Resources) -> int:
    """How many workers fit at once; a worker can't span machines."""
    fit = 0
    for there in machines:
        by_cpu = places(there.get("CPU", 0.0), needs.cpus_per_worker)
        by_gpu = places(there.get("GPU", 0.0), needs.gpus_per_worker) if needs.gpus_per_worker else by_cpu
        fit += min(by_cpu, by_gpu)
    return fit


@dataclass(frozen=True)
class Slots:
    """How many trainings to run in parallel.

    Attributes:
        wanted: those that fit side by side, and where machines are started for those that wait, some more.
        by_memory: those whose controllers this process's machine has memory for, where Ray Train keeps them.
    """

    wanted: int
    by_memory: int

    @property
    def count(self) -> int:
        """How many trainings to run side by side, at least one."""
        return max(1, min(self.wanted, self.by_memory))

    def __str__(self) -> str:
        each = f"each takes {CONTROLLER_BYTES / 2**30:.1f} GiB of the driver's machine"
        return f"{self.count} of {self.wanted} trainings side by side: {each}; a larger one lets more"


def slots(needs: Resources) -> Slots:
    """How many trainings to run in parallel now; the set of machines changes."""
    import ray

    from ig3d_ray.on_ray.autoscaling import ahead

    here = ray.get_runtime_context().get_node_id()
    memory = next((node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["NodeID"] == here), 0.0)
    wanted = workers_that_fit(_machines(), needs) // needs.workers + ahead()
    return Slots(wanted, int(memory // CONTROLLER_BYTES) if memory else wanted)


def _check_will_fit(needs: Resources | None, address: str | None) -> None:
    from ig3d_ray.on_ray.autoscaling import has_autoscaler, will_come

    if needs is None or workers_that_fit(_machines(), needs) >= needs.workers:
        return
    if address is None:
        _check_fits(_machines(), needs, "this machine")
    elif has_autoscaler():
        if not will_come(needs):
            _check_fits(_machines(), needs, f"the cluster at {address}")
    else:
        # A new head is available before its workers are, and a lost machine is replaced.
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while workers_that_fit(_machines(), needs) < needs.workers and time.monotonic() < deadline:
            time.sleep(0.5)
        _check_fits(_machines(), needs, f"the cluster at {address}, after {ARRIVAL_SECONDS:.0f} s of waiting,")


def _check_fits(machines: list[dict[str, float]], needs: Resources | None, where: str) -> None:
    if needs is None or workers_that_fit(machines, needs) >= needs.workers:
        return
    each = f"{needs.cpus_per_worker} CPUs" + (f" and {needs.gpus_per_worker:g} GPUs" if needs.gpus_per_worker else "")
    largest = max(machines, key=lambda there: (there.get("GPU", 0.0), there.get("CPU", 0.0)), default={})
    raise Ig3dError(
        f"one training asks for {needs.workers} workers of {each}, {where} has room for"
        f" {workers_that_fit(machines, needs)} (its largest machine: {largest.get('CPU', 0):g} CPUs,"
        f" {largest.get('GPU', 0):g} GPUs); lower resources.workers, cpus_per_worker or gpus_per_worker"
    )


def _local_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _probe(address: str, named_by: str) -> None:
    """Try the address in a separate process: Ray's connection attempt can't be canceled."""
    nobody = f"{named_by} {address}: no Ray cluster answers"
    seconds, at_most = (ANSWER_SECONDS, 10) if RAY_JOB not in os.environ else (JOB_ANSWER_SECONDS, JOB_ANSWER_SECONDS)
    deadline = time.monotonic() + seconds
    if address.startswith("ray://"):
        raise Ig3dError(
            f"{named_by} {address}: Ray client addresses are not supported; use host:port or `ray job submit`"
        )
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS / 2).close()
        except (OSError, ValueError) as error:
            raise Ig3dError(f"{nobody} ({error}); is it up, is the port right?") from error
    left = deadline - time.monotonic()
    words = [sys.executable, "-c", _PROBE, address]
    try:
        done = subprocess.run(words, capture_output=True, timeout=left, text=True)  # noqa: S603 (this package's code)
    except subprocess.TimeoutExpired as error:
        raise Ig3dError(f"{nobody} within {at_most:.0f} s; is it up, is the port right?") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no reason given"
        raise Ig3dError(f"{nobody} ({reason})")
    found = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
    if address == "auto" and found.endswith(f":{SKYPILOT_PORT}"):
        raise Ig3dError(
            f"{named_by} auto: found {found}, SkyPilot's internal Ray, not for runs; start your own (`ray start"
            " --head --port 6379`, as clusters/skypilot.yaml does) and give its address: --address HOST:6379"
        )


def gpus_there() -> float:
    """How many GPUs the connected cluster has now."""
    return float(sum(machine.get("GPU", 0.0) for machine in _machines()))


def encoders_that_fit(gpus: float, cpus: int) -> int:
    """How many encoders with the given GPUs and CPUs fit at once."""
    return workers_that_fit(_machines(), Resources(gpus_per_worker=gpus, cpus_per_worker=cpus))
