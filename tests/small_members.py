"""Small members that train in seconds."""

from typing import Any

from ig3d_ray.models.checkpoint import to_bytes
from ig3d_ray.models.cnn.spec import CnnSpec
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.models.recipe import LossSpec, TrainingRecipe
from ig3d_ray.training.state import Epoch
from ig3d_ray.training.trainer import Trainer

RECIPE = TrainingRecipe(batch_size=16, epochs=4, patience=4, base_lr=1e-4, max_lr=5e-3)


MLP = Mlp3dSpec(representation="emoca", subset="short", width=16, loss=LossSpec(va_terms="random"), recipe=RECIPE)


CNN = CnnSpec(width=4, image_size=32, loss=LossSpec(va_terms="fixed"), recipe=RECIPE)


def ignore(epoch: Epoch, state: Any) -> None:
    pass


def some_states_inside_epochs(training: Trainer) -> list[bytes]:
    """The state that a training publishes when its machine is preempted, at every seventh step."""
    states: list[bytes] = []
    steps: list[int] = []

    def on_step(current: Any) -> None:
        steps.append(1)
        if len(steps) % 7 == 3:
            states.append(to_bytes(current()))

    training.run(ignore, on_step=on_step)
    return states
