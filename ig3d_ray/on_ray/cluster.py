"""Connecting to Ray, and asking what it has."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

from ig3d_ray.errors import Ig3dError
from ig3d_ray.space import Resources

ANSWER_SECONDS = 10.0
ENVIRONMENT = {
    # An epoch of a small member is shorter than the default poll of 2 s, and each report waits for one.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Tune's loggers cost more than a batch of candidates.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}
_PROBE = "import ray, sys; ray.init(address=sys.argv[1], logging_level='ERROR', log_to_driver=False); ray.shutdown()"


@contextlib.contextmanager
def connected(address: str | None, needs: Resources) -> Iterator[None]:
    """Inside, Ray is there: a cluster's, or one started on this machine for as long as this lasts.

    Args:
        address: `host:port` or `auto` for a cluster; None for this machine, except inside a Ray job,
            which runs on the cluster that it was submitted to.
        needs: of one training; checked before anything is started.

    Raises:
        Ig3dError: the address doesn't answer within 10 s; one training asks for more than there is.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray  # after the environment: Ray reads it while importing

    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        # Nobody takes this machine away; the watcher would be one more process for each run.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        _check_fits({"CPU": float(os.cpu_count() or 1), "GPU": float(_local_gpus())}, needs, "this machine")
        ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    else:
        _probe(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        _check_fits(ray.cluster_resources(), needs, f"the cluster at {address}" if address else "this machine")
        yield
    finally:
        ray.shutdown()


def slots(needs: Resources) -> int:
    """How many trainings fit side by side on the cluster that is connected."""
    import ray

    there = ray.cluster_resources()
    by_cpu = there.get("CPU", 0) // (needs.workers * needs.cpus_per_worker)
    by_gpu = there.get("GPU", 0) // (needs.workers * needs.gpus_per_worker) if needs.gpus_per_worker else by_cpu
    return max(1, int(min(by_cpu, by_gpu)))


def _check_fits(there: dict[str, float], needs: Resources, where: str) -> None:
    for kind, each, field in (
        ("CPU", needs.cpus_per_worker, "cpus_per_worker"),
        ("GPU", needs.gpus_per_worker, "gpus_per_worker"),
    ):
        wanted, have = needs.workers * each, there.get(kind, 0.0)
        if wanted > have:
            raise Ig3dError(
                f"one training asks for {wanted:g} {kind}s ({needs.workers} workers of {each:g}), {where} has"
                f" {have:g}; lower resources.workers or resources.{field}"
            )


def _local_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _probe(address: str) -> None:
    """Try the address in a process of its own: Ray's own connecting can't be given up."""
    if address.startswith("ray://"):
        raise Ig3dError(
            f"--address {address}: Ray client addresses are not supported; submit a job with `ray job submit`"
        )
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS / 2).close()
        except (OSError, ValueError) as error:
            raise Ig3dError(
                f"--address {address}: no Ray cluster answers ({error}); is it up, is the port right?"
            ) from error
    try:
        done = subprocess.run(  # noqa: S603 (our own interpreter and code)
            [sys.executable, "-c", _PROBE, address], capture_output=True, timeout=ANSWER_SECONDS, text=True
        )
    except subprocess.TimeoutExpired as error:
        raise Ig3dError(f"--address {address}: no Ray cluster answers within {ANSWER_SECONDS:g} s") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no reason given"
        raise Ig3dError(f"--address {address}: no Ray cluster answers ({reason})")
