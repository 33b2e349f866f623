"""Autoscaling clusters: whether this is one, and whether it can provide the resources of a training.

A cluster that starts with no workers has no resources yet, and must not be refused for it. Only the autoscaler
has the machine types: resources are requested, and it reports when no machine type provides them.
"""

import time

from ray.util import placement_group, remove_placement_group

from ig3d_ray.config.resources import Resources
from ig3d_ray.on_ray import compat

VERDICT_SECONDS = 8.0
# How many trainings wait for machines beside those that have one: each is a small process on the head, and
# the waiting ones cause the autoscaler to start machines.
AHEAD = 8


def has_autoscaler() -> bool:
    """Whether machines are started on request."""
    return bool(compat.autoscaling_state().autoscaler_state_version)


def ahead() -> int:
    """How many trainings to start beyond the free resources: none if no machine would be started for them."""
    return AHEAD if has_autoscaler() else 0


def will_come(needs: Resources) -> bool:
    """Whether machines with the resources for one training exist, or would be started by the autoscaler."""
    bundle = {"CPU": float(needs.cpus_per_worker)}
    if needs.gpus_per_worker:
        bundle["GPU"] = needs.gpus_per_worker
    asked = placement_group([bundle] * needs.workers)
    deadline = time.monotonic() + VERDICT_SECONDS
    try:
        while time.monotonic() < deadline:
            state = compat.autoscaling_state()
            if state.infeasible_gang_resource_requests:
                return False
            if asked.wait(0) or state.pending_instances or state.pending_instance_requests:
                return True
            time.sleep(0.2)
    finally:
        remove_placement_group(asked)
    # Neither refused nor started: the cloud may have no capacity at the moment. A training can wait for that.
    return True
