"""Clusters that start machines when they are asked for: whether this is one, and whether it could serve a training.

A cluster from zero has room for nothing, and must not be refused for it. What its autoscaler may start, only the
autoscaler knows: so resources are requested, and it reports when no machine type has them.
"""

import time

from ray.util import placement_group, remove_placement_group

from ig3d_ray.config.resources import Resources
from ig3d_ray.on_ray import compat

VERDICT_SECONDS = 8.0
# How many trainings wait for machines beside those that have one: each is a small process on the head, and
# those that wait are what makes the autoscaler start machines.
AHEAD = 8


def has_autoscaler() -> bool:
    """Whether machines come when they are asked for."""
    return bool(compat.autoscaling_state().autoscaler_state_version)


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
            state = compat.autoscaling_state()
            if state.infeasible_gang_resource_requests:
                return False
            if asked.wait(0) or state.pending_instances or state.pending_instance_requests:
                return True
            time.sleep(0.2)
    finally:
        remove_placement_group(asked)
    # Neither refused nor begun: perhaps the cloud has none at the moment. A training can wait for that.
    return True
