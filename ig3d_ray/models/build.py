"""From a member's spec to its network, and from one stage of a training to the next."""

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.recipe import LossSpec
from ig3d_ray.models.registry import network_module
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import TrainedSpec

# Reinitialized by a second training: CAGE's whole head, or the last layer (with the batch norm that DDAMFN registers).
NEW_HEAD = "network.classifier."
NEW_LAYERS = 3


def outputs_of(loss: LossSpec, dataset: Dataset) -> int:
    """Columns of the output of a network trained with a loss: the classes, then valence and arousal."""
    return len(dataset.class_names) * loss.has_classes + 2 * loss.has_va


def build_network(spec: TrainedSpec, dataset: Dataset, stage: int = -1) -> Standardized:
    """The untrained network of a spec.

    Args:
        spec: the member's.
        dataset: whose classes it outputs.
        stage: which of its trainings the outputs are for; the last one by default.
    """
    outputs = outputs_of(spec.stages[stage].loss, dataset)
    network: Standardized = network_module(spec.kind).build(spec, outputs, len(dataset.class_names))
    return network


def carry_over(before: Standardized, after: Standardized) -> None:
    """Give a stage's network the weights of the stage before; layers with another shape or name stay new.

    Raises:
        Ig3dError: more than the last layer would stay new.
    """
    there = before.state_dict()
    state = after.state_dict()
    fits = [name for name in state if name in there and there[name].shape == state[name].shape]
    taken = {name: there[name] for name in fits if not name.startswith(NEW_HEAD)}
    new = {name.rsplit(".", 1)[0] for name in state if name not in taken}
    if len(new) > NEW_LAYERS:
        raise Ig3dError(f"the second training would begin with new layers {', '.join(sorted(new)[:4])} ...")
    after.load_state_dict(state | taken)
