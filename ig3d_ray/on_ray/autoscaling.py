"""Clusters that start machines when they are asked for: whether this is one, and whether it could serve a training.

A cluster from zero has room for nothing, and must not be refused for it. What its autoscaler may start, only the
autoscaler knows: it is asked by asking for room, and says when no kind of machine has it.
"""

import functools
import time
from typing import Any

import ray
from ray.util import placement_group, remove_placement_group

from ig3d_ray.space import Resources

VERDICT_SECONDS = 8.0
# How many trainings wait for machines beside those that have one: each is a small process on the head, and
# those that wait are what makes the autoscaler start machines.
AHEAD = 8


def has_autoscaler() -> bool:
    """Whether machines come when they are asked for."""
    return bool(_state().autoscaler_state_version)


def ahead() -> int:
    """How many trainings to start beyond what finds room now: none where nothing would come for them."""
    return AHEAD if has_autoscaler() else 0


def will_come(needs: Resources) -> bool:
    """Whether machines with room for one training are there, or would be started for it, by the autoscaler."""
    bundle = {"CPU": float(needs.cpus_per_worker)}
    if needs.gpus_per_worker:
        bundle["GPU"] = needs.gpus_per_worker
    asked = placement_group([bundle] * needs.workers)
    deadline = time.monotonic() + VERDICT_SECONDS
    try:
        while time.monotonic() < deadline:
            state = _state()
            if state.infeasible_gang_resource_requests:
                return False
            if asked.wait(0) or state.pending_instances or state.pending_instance_requests:
                return True
            time.sleep(0.2)
    finally:
        remove_placement_group(asked)
    # Neither refused nor begun: perhaps the cloud has none at the moment. A training can wait for that.
    return True


def _state() -> Any:
    """What the autoscaler last told the cluster; version 0 if there is none."""
    # Ray's public status leaves out what could not be served.
    from ray.core.generated import autoscaler_pb2

    reply = _client(ray.get_runtime_context().gcs_address).get_cluster_status()
    return autoscaler_pb2.GetClusterStatusReply.FromString(reply).autoscaling_state


@functools.lru_cache(maxsize=1)
def _client(address: str) -> Any:
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    return GcsClient(address=address)
