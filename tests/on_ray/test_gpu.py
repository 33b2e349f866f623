"""What is different on a GPU: precision, cohorts, the device's memory. Skipped where there is none."""

from typing import Any

import numpy as np
import pytest
import torch
from cohort_bench import Bench, specs
from small_members import CNN, ignore
from trained import World

from ig3d_ray import load_ensemble
from ig3d_ray.data import datasets
from ig3d_ray.data.samples import Samples
from ig3d_ray.models.build import build_network
from ig3d_ray.models.cage.spec import CageSpec
from ig3d_ray.models.checkpoint import from_bytes, to_bytes
from ig3d_ray.models.ddamfn.spec import DdamfnSpec
from ig3d_ray.models.face3d.encoders import EmocaEncoder, SmirkEncoder
from ig3d_ray.models.inference import network_scores
from ig3d_ray.models.inputs import Feeding, member_inputs, member_samples
from ig3d_ray.models.intermediate.spec import IntermediateSpec
from ig3d_ray.models.precision import tf32
from ig3d_ray.models.recipe import LossSpec, Stage, TrainingRecipe
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import TrainedSpec
from ig3d_ray.storage.store import Store
from ig3d_ray.training.cohort import CohortTrainer
from ig3d_ray.training.trainer import Labeled, Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

QUICK = TrainingRecipe(batch_size=32, epochs=2, patience=None, schedule="exponential", max_lr=1e-3)
IMAGE_NETWORKS: list[TrainedSpec] = [
    CNN.model_copy(update={"recipe": QUICK}),
    DdamfnSpec(loss=LossSpec(class_weights="none"), recipe=QUICK),
    CageSpec(backbone="efficientnet_v2_s", image_size=112, loss=LossSpec(va_terms="mse"), recipe=QUICK),
    CageSpec(backbone="maxvit_t", loss=LossSpec(va_terms="mse"), recipe=QUICK),
    CageSpec(backbone="swin_v2_t", image_size=256, loss=LossSpec(va_terms="mse"), recipe=QUICK),
    IntermediateSpec(representation="emoca", subset="full", loss=LossSpec(va_terms="random"), recipe=QUICK),
]


class GpuBench(Bench):
    """Trainers whose network and data are on the GPU."""

    def labeled(self, spec: Any, split: str) -> Labeled:
        found = super().labeled(spec, split)
        key = (spec.representation, spec.subset, split)
        if not found.labels.is_cuda:
            chosen = member_samples(spec, self.samples, split)
            x = member_inputs(spec, chosen, self.store, Feeding(torch.device("cuda")))
            self.read[key] = Labeled(x, found.labels.cuda(), found.va.cuda())
        return self.read[key]

    def trainer(self, spec: Any) -> Trainer:
        trainer = super().trainer(spec)
        trainer.network.cuda()
        return trainer


def scores_on(device: str, network: Standardized, spec: TrainedSpec, faces: tuple[Store, Samples]) -> np.ndarray:
    store, samples = faces
    chosen = member_samples(spec, samples, "dev")
    inputs = member_inputs(spec, chosen, store, Feeding(torch.device(device)))
    return network_scores(network.to(device), inputs)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_member_has_in_a_cohort_the_curve_that_it_has_alone(
    small_faces: tuple[Store, Samples], precision: str
) -> None:
    bench = GpuBench(small_faces)
    members = specs(precision=precision)
    histories = [bench.trainer(spec).run(ignore) for spec in members]
    ended = CohortTrainer([bench.trainer(spec) for spec in members]).run(lambda epochs, current: None)
    # TF32 rounds to ten bits, and products of other shapes round elsewhere.
    close = 1e-4 if precision == "fp32" else 2e-2
    for spec, history, end in zip(members, histories, ended, strict=True):
        assert end.error is None
        for expected, row in zip(history, end.history, strict=False):
            assert row["loss"] == pytest.approx(expected["loss"], rel=close), spec.name
        if precision == "fp32":
            assert len(end.history) == len(history)


def test_a_cohort_goes_on_from_any_epoch(small_faces: tuple[Store, Samples]) -> None:
    bench, states = GpuBench(small_faces), []
    members = specs(precision="fp32")
    ended = CohortTrainer([bench.trainer(spec) for spec in members]).run(
        lambda epochs, current: states.append(to_bytes(current()))
    )
    again = CohortTrainer([bench.trainer(spec) for spec in members]).run(
        lambda epochs, current: None, from_bytes(states[1], "state")
    )
    for one, other in zip(ended, again, strict=True):
        assert [row["loss"] for row in other.history] == pytest.approx([row["loss"] for row in one.history], rel=1e-4)


@pytest.mark.parametrize("spec", IMAGE_NETWORKS, ids=[f"{s.kind}-{i}" for i, s in enumerate(IMAGE_NETWORKS)])
def test_a_network_trains_in_bf16_and_scores_as_on_the_cpu(
    small_faces: tuple[Store, Samples], spec: TrainedSpec
) -> None:
    store, samples = small_faces
    device, data = torch.device("cuda"), []
    for split in ("train", "dev"):
        chosen = member_samples(spec, samples, split)
        x = member_inputs(spec, chosen, store, Feeding(device))
        labels, va = torch.from_numpy(chosen.expression).to(device), torch.from_numpy(chosen.va).to(device)
        data.append(Labeled(x, labels, va))
    torch.manual_seed(0)
    network = build_network(spec, datasets.dataset("faces")).to(device)
    stage = Stage(loss=spec.last_loss, recipe=spec.recipe)
    trainer = Trainer(network, data[0], data[1], stage, 0, 7, spec.monitor)
    history = trainer.run(ignore)
    assert trainer._autocast
    assert all(np.isfinite(row["loss"]) for row in history)
    on_gpu = scores_on("cuda", network, spec, small_faces)
    on_cpu = scores_on("cpu", network, spec, small_faces)
    assert np.abs(on_gpu - on_cpu).max() <= 1e-3 * np.abs(on_cpu).max()


def test_images_decoded_ahead_are_the_resident_ones(small_faces: tuple[Store, Samples]) -> None:
    store, samples = small_faces
    spec = IMAGE_NETWORKS[0]
    chosen = member_samples(spec, samples, "train")
    order = list(torch.randperm(len(chosen)).split(16))
    ahead = member_inputs(spec, chosen, store, Feeding(torch.device("cuda"), decoders=2, memory=0))
    resident = member_inputs(spec, chosen, store, Feeding(torch.device("cuda")))
    for one, other in zip(ahead.batches(order), resident.batches(order), strict=True):
        assert one[0].is_cuda
        assert torch.equal(one[0], other[0])


@pytest.mark.parametrize("representation", ["smirk", "emoca"])
def test_an_encoder_gives_on_the_gpu_what_it_gives_on_the_cpu(representation: Any) -> None:
    torch.manual_seed(0)
    network = (SmirkEncoder() if representation == "smirk" else EmocaEncoder()).eval()
    images = torch.rand(4, 3, 224, 224)
    with torch.inference_mode(), tf32(False):
        on_cpu = network(images)
        on_gpu = network.cuda()(images.cuda()).cpu()
    assert float((on_cpu - on_gpu).abs().max()) <= 1e-3 * float(on_cpu.abs().max())


def test_an_ensemble_predicts_on_the_gpu_what_its_members_scored(world: World) -> None:
    names, images = world.images()
    row = {name: i for i, name in enumerate(world.samples.ids)}
    chosen = world.samples.table.take([row[name] for name in names])
    emoca = Samples(world.samples.dataset, chosen).params("emoca")
    frames = [load_ensemble(world.uri, device=d).predict(images, parameters={"emoca": emoca}) for d in ("cpu", "cuda")]
    cpu, gpu = (frame.filter(like="probability").to_numpy() for frame in frames)
    assert len(names) == len(gpu) > 20
    assert np.abs(cpu - gpu).max() <= 1e-3
