"""The training loop with every kind of network, recipe and feeding, without Ray."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from small_members import CNN, MLP, RECIPE, ignore, some_states_inside_epochs

from ig3d_ray.data import datasets
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.build import build_network, carry_over, outputs_of
from ig3d_ray.models.cage.spec import CageSpec
from ig3d_ray.models.checkpoint import from_bytes, to_bytes
from ig3d_ray.models.cnn.spec import CnnSpec
from ig3d_ray.models.ddamfn.spec import DdamfnSpec
from ig3d_ray.models.inference import logit_table, network_scores
from ig3d_ray.models.initial_weights import MFN_LAYERS, start_from
from ig3d_ray.models.inputs import Decoded, Feeding, Inputs, member_inputs, member_samples
from ig3d_ray.models.intermediate.spec import IntermediateSpec
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.models.recipe import LossSpec, Stage, TrainingRecipe
from ig3d_ray.storage.store import Store
from ig3d_ray.training.state import Epoch, NonFiniteLoss
from ig3d_ray.training.trainer import Labeled, Trainer

FACES = datasets.dataset("faces")
ONCE = TrainingRecipe(batch_size=8, epochs=1, schedule="constant", max_lr=1e-3)


def trainer(spec: Any, faces: tuple[Store, Samples], feeding: Feeding | None = None, few: int | None = None) -> Trainer:
    """A member's first stage on the small faces, or on a few of them."""
    store, samples = faces
    torch.manual_seed(spec.seed)

    def labeled(split: str) -> Labeled:
        chosen = member_samples(spec, samples, split)
        if few is not None:
            chosen = Samples("faces", chosen.table.slice(0, few))
        inputs = member_inputs(spec, chosen, store, feeding)
        return Labeled(inputs, torch.from_numpy(chosen.expression), torch.from_numpy(chosen.va))

    network, data = build_network(spec, FACES, 0), (labeled("train"), labeled("dev"))
    own = {"attention": getattr(spec, "attention", "none"), "groups": spec.parameter_groups}
    return Trainer(network, *data, spec.stages[0], spec.seed, 7, spec.monitor, **own)


NETWORKS = [
    DdamfnSpec(recipe=ONCE.model_copy(update={"augment": "ddamfn"})),
    CageSpec(backbone="efficientnet_v2_s", image_size=32, recipe=ONCE, loss=LossSpec(va_terms="mse")),
    CageSpec(backbone="swin_v2_t", image_size=64, recipe=ONCE),
    IntermediateSpec(representation="smirk", subset="short", heads=2, recipe=ONCE, loss=LossSpec(va_terms="random")),
    IntermediateSpec(backbone="cnn", width=8, image_size=32, representation="emoca", subset="full", recipe=ONCE),
    Mlp3dSpec(representation="smirk", subset="short", variant="published_residual", recipe=ONCE),
    Mlp3dSpec(representation="emoca", subset="full", variant="published", width=32, recipe=ONCE),
]


@pytest.mark.slow
@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.name)
def test_every_network_takes_a_step_that_moves_all_that_is_used(spec: Any, small_faces: tuple[Store, Samples]) -> None:
    one = trainer(spec, small_faces, few=16)
    before = {name: value.detach().clone() for name, value in one.network.network.named_parameters()}
    (row,) = one.run(ignore)
    assert math.isfinite(row["loss"])
    still = [
        name
        for name, value in one.network.network.named_parameters()
        if value.requires_grad and torch.equal(value, before[name])
    ]
    # A relative position table's entry may have no gradient in a small image; whole tensors move.
    assert still == []
    scores = network_scores(one.network, one.dev.x)
    assert scores.shape == (len(one.dev.labels), outputs_of(spec.loss, FACES))


def test_images_decoded_ahead_train_to_the_same_weights(small_faces: tuple[Store, Samples]) -> None:
    spec = CNN.model_copy(update={"recipe": RECIPE.model_copy(update={"epochs": 2, "augment": "cage"})})
    kept = trainer(spec, small_faces)
    assert isinstance(kept.train.x.parts[0], torch.Tensor)
    history = kept.run(ignore)
    for decoders in (0, 2):
        ahead = trainer(spec, small_faces, Feeding(decoders=decoders, memory=0))
        assert isinstance(ahead.train.x.parts[0], Decoded)
        assert ahead.run(ignore) == history
        for name, value in kept.network.state_dict().items():
            assert torch.equal(value, ahead.network.state_dict()[name]), name


def test_a_image_that_breaks_in_a_loader_names_its_sample(faces: tuple[Store, Samples]) -> None:
    store, samples = faces
    store.write("datasets/faces/a.png", b"no image")
    table = samples.table.slice(0, 4)
    column = table.column_names.index("image")
    table = table.set_column(column, table.field(column), [["a.png", *table["image"].to_pylist()[1:]]])
    for decoders in (0, 1):
        inputs = member_inputs(CNN, Samples("faces", table), store, Feeding(decoders=decoders, memory=0))
        with pytest.raises(Ig3dError, match=r"a.png: not a readable image"):
            list(inputs.batches([torch.arange(4)]))


def test_two_shares_have_the_gradient_of_the_whole_batch(small_faces: tuple[Store, Samples]) -> None:
    """Data parallelism averages the workers' gradients: that must be the gradient of the global batch."""
    from ig3d_ray.training.trainer import Worker

    recipe = ONCE.model_copy(update={"epochs": 1, "batch_size": 16, "optimizer": "sgd", "augment": "cage"})
    recipe = recipe.model_copy(update={"precision": "fp32"})
    # Without dropout and batch statistics every share's gradient is exact.
    spec = CageSpec(backbone="swin_v2_t", image_size=32, recipe=recipe)

    def gradients(worker: Worker) -> dict[str, torch.Tensor]:
        one = trainer(spec, small_faces, few=16)
        one.worker = worker
        for module in one.network.modules():
            if module.__class__.__name__ in ("StochasticDepth", "Dropout"):
                module.p = 0.0  # type: ignore[assignment]
        found: dict[str, torch.Tensor] = {}
        step = one._step

        def listen(inputs: Any, target: Any, optimizer: Any) -> torch.Tensor:
            loss = step(inputs, target, optimizer)
            found.update({n: p.grad.clone() for n, p in one.network.named_parameters() if p.grad is not None})
            return loss

        one._step = listen  # type: ignore[method-assign]
        one.run(ignore)
        return found

    whole = gradients(Worker())
    shares = [gradients(Worker(rank, 2)) for rank in range(2)]
    for name, value in whole.items():
        mean = (shares[0][name] + shares[1][name]) / 2
        assert torch.allclose(mean, value, atol=1e-4 * float(value.abs().max()) + 1e-7), name


@pytest.mark.parametrize(
    "changed",
    [
        {"sam_rho": 0.05, "schedule": "exponential", "lr_factor": 0.9, "optimizer": "adam"},
        {"optimizer": "sgd", "schedule": "step", "max_lr": 0.05, "clip_norm": 1.0},
        {"schedule": "plateau", "lr_factor": 0.5},
        {"schedule": "cosine", "sampling": "inverse_frequency_once", "mask": 0.1},
        {"sampling": "inverse_frequency", "precision": "bf16"},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_every_recipe_learns_and_goes_on_bit_for_bit(
    changed: dict[str, Any], small_faces: tuple[Store, Samples]
) -> None:
    recipe = RECIPE.model_copy(update={"epochs": 10, "patience": None, "batch_size": 8} | changed)
    spec = MLP.model_copy(update={"width": 32, "recipe": recipe})
    states: dict[int, bytes] = {}
    whole = trainer(spec, small_faces)
    history = whole.run(lambda epoch, state: states.__setitem__(epoch.number, to_bytes(state())))
    assert len(history) == 10
    assert max(row["score"] for row in history) > 0.4
    inside = some_states_inside_epochs(trainer(spec, small_faces))[1]
    for state in (states[4], inside):
        resumed = trainer(spec, small_faces)
        assert resumed.run(ignore, from_bytes(state, "state")) == history
        for name, value in whole.network.state_dict().items():
            assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_masking_is_of_training_alone(small_faces: tuple[Store, Samples], monkeypatch: pytest.MonkeyPatch) -> None:
    from ig3d_ray.training import trainer as module

    masked: list[int] = []
    real = module.mask_params
    monkeypatch.setattr(module, "mask_params", lambda x, *rest: masked.append(len(x)) or real(x, *rest))
    spec = MLP.model_copy(update={"recipe": RECIPE.model_copy(update={"epochs": 2, "mask": 0.5})})
    one = trainer(spec, small_faces)
    one.run(ignore)
    assert sum(masked) == 2 * (len(one.train.labels) // 16) * 16


def test_a_loss_that_is_not_finite_leaves_the_best_epoch_so_far(small_faces: tuple[Store, Samples]) -> None:
    one = trainer(MLP, small_faces)
    kept: list[dict[str, torch.Tensor]] = []

    def poison(epoch: Epoch, state: Any) -> None:
        kept.append({name: value.clone() for name, value in state()["progress"]["best_state"].items()})
        if epoch.number == 2:
            one.train.va[:] = torch.nan

    with pytest.raises(NonFiniteLoss, match=r"the loss became nan in epoch 3, about step 1; lower recipe\.max_lr"):
        one.run(poison)
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, kept[1][name]), name


def test_the_second_training_begins_where_the_first_was_best(small_faces: tuple[Store, Samples]) -> None:
    then = Stage(loss=LossSpec(va_terms="ccc"), recipe=RECIPE)
    spec = MLP.model_copy(update={"loss": LossSpec(va_terms="mse"), "then": then, "monitor": "ccc_mean"})
    first = trainer(spec, small_faces)
    first.run(ignore)
    after = build_network(spec, FACES, 1)
    carry_over(first.network, after)
    for name, value in after.state_dict().items():
        if "output" not in name:
            assert torch.equal(value, first.network.state_dict()[name]), name
    assert after.state_dict()["network.output.weight"].shape == (2, 16)
    second = trainer(spec, small_faces)
    second.network, second.stage = after, spec.stages[1]
    history = second.run(ignore)
    assert max(row["score"] for row in history) > 0.3
    table = logit_table(after, spec, "m", small_faces[1], "dev", small_faces[0])
    assert table.logits is None
    assert table.va is not None
    assert spec.name == "mlp3d-emoca-short-eq2-eq3-w16-s0"


def test_a_network_that_shares_nothing_is_not_carried_over() -> None:
    other = build_network(Mlp3dSpec(representation="smirk", subset="full", width=24), FACES)
    with pytest.raises(Ig3dError, match="the second training would begin with new layers"):
        carry_over(build_network(MLP, FACES), other)


def test_weights_to_start_from_fill_the_image_part_and_nothing_else() -> None:
    spec = DdamfnSpec()
    source = {name: torch.full_like(v, 0.5) for name, v in build_network(spec, FACES).network.state_dict().items()}
    backbone = {name: value for name, value in source.items() if name.startswith("features.")}
    for kind in (spec, IntermediateSpec(representation="emoca", subset="short")):
        network = build_network(kind, FACES)
        before = {name: value.clone() for name, value in network.network.state_dict().items()}
        start_from(network, backbone, "weights mfn")
        for name, value in network.network.state_dict().items():
            assert torch.equal(value, backbone.get(name, before[name])), name
    # The published pretrained backbone names its layers, DDAMFN counts them.
    named = {f"{MFN_LAYERS[int(n.split('.')[1])]}.{n.split('.', 2)[2]}": value for n, value in backbone.items()}
    network = build_network(spec, FACES)
    start_from(network, named | {"conv_6_dw.conv.weight": torch.zeros(1)}, "weights mfn")
    assert torch.equal(
        network.network.state_dict()["features.3.model.0.CA.conv1.weight"], torch.full((8, 128, 1, 1), 0.5)
    )
    del backbone["features.8.conv.weight"]
    with pytest.raises(
        Ig3dError, match=r"weights mfn: .* features.8.conv.weight is \(512, 256, 1, 1\), the file has none"
    ):
        start_from(build_network(spec, FACES), backbone, "weights mfn")


def test_imagenets_weights_fit_maxvit_and_its_fusion() -> None:
    from ig3d_ray.models.cage.network import torchvision_models

    stock = torchvision_models().maxvit_t().state_dict()
    for spec in (CageSpec(), IntermediateSpec(backbone="maxvit_t", representation="emoca", subset="short")):
        network = build_network(spec, FACES)
        start_from(network, stock, "imagenet")
        part = network.network.image if isinstance(spec, IntermediateSpec) else network.network
        state = part.state_dict()  # type: ignore[union-attr, operator]
        for name, value in stock.items():
            if not name.startswith("classifier."):
                assert torch.equal(state[name], value), name


def test_rows_are_fed_in_the_order_asked_for() -> None:
    inputs = Inputs([torch.arange(10.0)[:, None], torch.arange(10)[:, None] * 10])
    batches = list(inputs.batches([torch.tensor([3, 1]), torch.tensor([9])]))
    assert [batch[0].flatten().tolist() for batch in batches] == [[3, 1], [9]]
    assert [batch[1].flatten().tolist() for batch in batches] == [[30, 10], [90]]
    assert np.isclose(Inputs([torch.arange(5.0)[:, None]]).some(0).mean(), 2)


def test_members_know_what_they_look_at() -> None:
    assert IntermediateSpec(representation="smirk", subset="full").features == ("image", "smirk")
    assert IntermediateSpec(representation="smirk", subset="full").view == "2d+3d"
    assert (DdamfnSpec().view, CnnSpec().features, MLP.features) == ("2d", ("image",), ("emoca",))
