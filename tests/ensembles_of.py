"""Pools of the outputs of an ensemble."""

from trained import World

from ig3d_ray.data.labels import find_labels
from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.evaluation.logits import LogitStore
from ig3d_ray.evaluation.pool import Pool, align
from ig3d_ray.types import Task


def pool_of(world: World, spec: EnsembleSpec, split: str = "test") -> Pool:
    """The cached outputs of an ensemble's members."""
    logits, labels = LogitStore(world.store), find_labels(world.store, "faces", split)
    assert labels is not None
    return align([logits.read("faces", m.fingerprint, split) for m in spec.members], labels, Task.EXPRESSION)
