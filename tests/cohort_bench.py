"""Members trained alone and as a cohort."""

from typing import Any

import torch
from small_members import MLP, RECIPE

from ig3d_ray.data import datasets
from ig3d_ray.data.samples import Samples
from ig3d_ray.models.build import build_network
from ig3d_ray.models.inputs import member_inputs, member_samples
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.models.recipe import LossSpec, Stage
from ig3d_ray.storage.store import Store
from ig3d_ray.training.trainer import Labeled, Trainer

LOSSES = [
    LossSpec(va_terms="random"),
    LossSpec(va_terms="random", class_weights="inverse_frequency"),
    LossSpec(va_terms="fixed", alpha=3, beta=1, gamma=0),
    LossSpec(va_terms="mse"),
]


def specs(**recipe: Any) -> list[Mlp3dSpec]:
    """Members that differ in inputs, loss weights and seeds."""
    changed = MLP.model_copy(update={"recipe": RECIPE.model_copy(update={"epochs": 6, "patience": 2} | recipe)})
    inputs = [("emoca", "short"), ("smirk", "full"), ("emoca", "full"), ("smirk", "short")]
    return [
        changed.model_copy(update={"representation": r, "subset": s, "loss": loss, "seed": seed})
        for seed, ((r, s), loss) in enumerate(zip(inputs, LOSSES, strict=True))
    ]


class Bench:
    """Trainers of members on the small faces, sharing data as a run does."""

    def __init__(self, faces: tuple[Store, Samples]) -> None:
        self.store, samples = faces
        # Both encoders find a face in the same images here, so that their epochs have as many steps.
        self.samples = samples.with_feature("emoca").with_feature("smirk")
        self.read: dict[Any, Labeled] = {}

    def labeled(self, spec: Mlp3dSpec, split: str) -> Labeled:
        key = (spec.representation, spec.subset, split)
        if key not in self.read:
            chosen = member_samples(spec, self.samples, split)
            inputs = member_inputs(spec, chosen, self.store)
            self.read[key] = Labeled(inputs, torch.from_numpy(chosen.expression), torch.from_numpy(chosen.va))
        return self.read[key]

    def trainer(self, spec: Mlp3dSpec) -> Trainer:
        torch.manual_seed(spec.seed)
        network = build_network(spec, datasets.dataset("faces"))
        data = (self.labeled(spec, "train"), self.labeled(spec, "dev"))
        return Trainer(network, *data, Stage(loss=spec.loss, recipe=spec.recipe), spec.seed, 7, spec.monitor)
