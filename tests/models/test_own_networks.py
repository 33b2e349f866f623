"""Networks of timm, and a user's own: they train, go on where they stopped, and are saved like the rest."""

import io
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from small_members import RECIPE, ignore, some_states_inside_epochs
from trained import quickly_trained, trainer_of

from ig3d_ray.data import datasets
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.build import build_network
from ig3d_ray.models.checkpoint import load_checkpoint
from ig3d_ray.models.inference import logit_table
from ig3d_ray.models.inputs import Feeding
from ig3d_ray.models.module.spec import ModuleSpec
from ig3d_ray.models.recipe import LossSpec
from ig3d_ray.models.spec import TrainedSpec, fingerprint
from ig3d_ray.models.timm.spec import TimmSpec
from ig3d_ray.storage.store import Store
from ig3d_ray.training.optim import make_optimizer
from ig3d_ray.training.publish import publish

FACES = datasets.dataset("faces")
SHORT = RECIPE.model_copy(update={"epochs": 2})
OWN = """
from torch import nn

class Both(nn.Module):
    def __init__(self, outputs, width):
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Linear(width + 156, outputs)

    def forward(self, image, parameters):
        import torch
        return self.last(torch.cat([self.image(image), parameters], dim=1))

def both(outputs, width=4):
    return Both(outputs, width)

def nothing(outputs):
    return None

def broken(outputs):
    raise KeyError("weights")
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    return name


def timm(**changes: object) -> TimmSpec:
    fields: dict = {"model": "test_resnet", "image_size": 32, "recipe": SHORT, "loss": LossSpec(va_terms="fixed")}
    return TimmSpec(**(fields | changes))


def check_train_resume_and_publish(store: Store, samples: Samples, spec: TrainedSpec) -> None:
    whole = trainer_of(store, samples, spec)
    states = some_states_inside_epochs(whole)
    wanted = {name: value.clone() for name, value in whole.network.state_dict().items()}
    for state in (states[0], states[-1]):
        again = trainer_of(store, samples, spec)
        again.run(ignore, torch.load(io.BytesIO(state), weights_only=True))
        assert all(torch.equal(wanted[name], value) for name, value in again.network.state_dict().items())
    mark = fingerprint("faces", samples.fingerprint, spec)
    network, history = quickly_trained(store, samples, spec)
    publish(store, samples, mark, spec, network, history, Feeding())
    table = logit_table(load_checkpoint(store, "faces", mark), spec, mark, samples, "test", store, Feeding())
    assert table.logits is not None
    assert table.logits.shape[1] == 7


@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
def test_a_network_of_timm_trains_and_goes_on_bit_for_bit(faces: tuple[Store, Samples], layer_decay: float) -> None:
    check_train_resume_and_publish(*faces, timm(layer_decay=layer_decay))


def test_layers_before_the_last_learn_more_slowly() -> None:
    network = build_network(timm(layer_decay=0.5), FACES).network
    scales = network.learning_rate_scales()
    assert set(scales) == set(network.parameters())
    last = [value for name, value in network.named_parameters() if name.startswith("image.fc")]
    first = [value for name, value in network.named_parameters() if name.startswith("image.conv1")]
    assert {scales[one] for one in last} == {1.0}
    assert max(scales[one] for one in first) < 0.3
    optimizer = make_optimizer(SHORT, network.parameters(), scales)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert optimizer.param_groups[0]["lr"] == SHORT.base_lr
    assert all(rates[id(one)] == pytest.approx(SHORT.base_lr * scales[one]) for one in scales)
    assert build_network(timm(), FACES).network.learning_rate_scales() == {}


@pytest.mark.parametrize(("va_terms", "outputs"), [("fixed", 9), ("ccc", 2)])
def test_the_last_layer_is_for_classes_and_valence_and_arousal(va_terms: str, outputs: int) -> None:
    loss = LossSpec.model_validate({"va_terms": va_terms})
    network = build_network(timm(loss=loss), FACES)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, outputs)


def test_images_are_standardized_as_timms_weights_expect() -> None:
    vit = build_network(timm(model="vit_tiny_patch16_224"), FACES)
    assert vit.scalings[0].mean.flatten().tolist() == pytest.approx([127.5] * 3)
    assert vit(torch.zeros(1, 3, 32, 32)).shape == (1, 9)


def test_a_network_that_timm_lacks_is_one_line_with_its_neighbors() -> None:
    with pytest.raises(Ig3dError, match=r"model: 'resnet18x': timm .* has no such network; near: .*resnet18"):
        build_network(timm(model="resnet18x"), FACES)
    with pytest.raises(ValidationError):
        timm(model="hf_hub:someone/model")


def test_an_own_network_of_image_and_parameters_trains(faces: tuple[Store, Samples], own_module: str) -> None:
    spec = ModuleSpec(
        factory=f"{own_module}:both",
        arguments={"width": 3},
        image_size=32,
        representation="emoca",
        subset="short",
        recipe=SHORT,
    )
    assert (spec.view, spec.features) == ("2d+3d", ("image", "emoca"))
    assert spec.name.startswith("both-width3-i32-emoca-short-")
    check_train_resume_and_publish(*faces, spec)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "returned NoneType; it must return a torch.nn.Module"),
        ("broken", "KeyError: 'weights'"),
        ("absent", "AttributeError: module"),
    ],
)
def test_a_factory_that_fails_is_one_line(own_module: str, function: str, message: str) -> None:
    with pytest.raises(Ig3dError, match=f"factory: {own_module}:{function}: .*{message}") as refused:
        build_network(ModuleSpec(factory=f"{own_module}:{function}", image_size=32), FACES)
    assert "\n" not in str(refused.value)


def test_an_own_network_must_take_something() -> None:
    with pytest.raises(ValidationError, match="name what the network takes as input"):
        ModuleSpec(factory="a:b")
    with pytest.raises(ValidationError, match="factory"):
        ModuleSpec(factory="os.system('ls')", image_size=32)
