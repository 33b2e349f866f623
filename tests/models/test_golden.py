"""The networks against the published ones: names, shapes, sizes and outputs."""

import subprocess
import sys
from typing import Any

import golden_rules
import numpy as np
import pytest
import torch
from torch import nn

from ig3d_ray.data.datasets import dataset
from ig3d_ray.models.build import build_network
from ig3d_ray.models.cage.network import cage_network
from ig3d_ray.models.cage.spec import CageSpec
from ig3d_ray.models.ddamfn.network import Attended, Ddamfn, mixed_feature_net
from ig3d_ray.models.intermediate.network import DdamfnWithParams, MaxvitWithParams
from ig3d_ray.models.intermediate.spec import IntermediateSpec
from ig3d_ray.models.mlp3d.network import Mlp3d, ResidualMlp3d
from ig3d_ray.training.losses import attention_loss

FACES = dataset("faces")
OURS = ("mlp3d", "ddamfn", "intermediate", "cage")


def golden_cases() -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in golden_rules.cases() if case["name"].startswith(OURS)]


def network_of(name: str, shapes: dict[str, list[int]]) -> nn.Module:
    if name.startswith("mlp3d"):
        return Mlp3d(shapes["fc1.weight"][1], shapes["output.weight"][0])
    if name.startswith("ddamfn"):
        return Ddamfn(shapes["fc.weight"][0])
    if name.startswith("cage"):
        return cage_network("maxvit_t", shapes["classifier.5.weight"][0])
    heads = 1 + any(key.startswith("cat_head1") for key in shapes)
    return DdamfnWithParams(shapes["Wash_Linear1.weight"][1], shapes["out.weight"][0], shapes["fc.weight"][0], heads)


def test_there_are_golden_cases_of_every_network() -> None:
    names = [case.id for case in golden_cases()]
    assert len(names) >= 12
    for kind in OURS:
        assert any(name.startswith(kind) for name in names)


@pytest.mark.parametrize("case", golden_cases())
def test_a_network_agrees_with_the_published_one(case: dict[str, Any]) -> None:
    shapes = dict(case["state_dict"])
    network = network_of(case["name"], shapes)
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == shapes
    network.load_state_dict(golden_rules.fill(network.state_dict(), case["seed"]), strict=True)
    inputs = [golden_rules.inputs(name, tuple(shape), case["seed"]) for name, shape in case["inputs"].items()]
    with torch.inference_mode():
        found = network.eval()(*inputs).numpy()
    output = case["output"]
    expected = np.array(output["output"] if "output" in output else output["logits"])
    width = expected.shape[1]
    assert np.abs(found[:, :width] - expected).max() <= 1e-4 * np.abs(expected).max()
    # Upstream's 3D networks give arousal first, its intermediate fusion valence.
    for names in (("arousal_as_named_upstream", "valence_as_named_upstream"), ("valence", "arousal")):
        if names[0] in output:
            va = np.array([output[name] for name in names]).T
            assert np.abs(found[:, width : width + 2] - va).max() <= 1e-4 * np.abs(found).max()
    if case["name"].startswith("ddamfn"):
        with torch.inference_mode():
            _, features, maps = network.attend(inputs[0])  # type: ignore[operator]
        means = features.mean((2, 3))[:, :8].numpy()
        assert np.abs(means - np.array(output["feature_map_mean"])).max() <= 1e-4 * np.abs(means).max()
        heads = torch.stack([m.mean((1, 2, 3)) for m in maps], dim=1).numpy()
        wanted = np.array(output["head_means"])
        assert np.abs(heads - (wanted if heads.shape == wanted.shape else wanted.T)).max() <= 1e-4


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_sizes_are_the_published_ones() -> None:
    assert parameters(mixed_feature_net()) == 4_035_752
    assert (parameters(Ddamfn(8)), parameters(Ddamfn(7))) == (4_187_936, 4_187_421)
    assert len(Ddamfn(8).state_dict()) == 1190
    assert parameters(ResidualMlp3d(353, 10)) == 1_761_802
    assert parameters(cage_network("maxvit_t", 10)) == 30_412_744
    assert len(cage_network("maxvit_t", 10).state_dict()) == 582
    assert set(ResidualMlp3d(353, 10).state_dict()) == {
        f"{layer}.{part}"
        for layer in [
            "Smirk_Linear",
            *(f"residual_block{b}.{i}" for b in (1, 2) for i in (0, 3)),
            "fc",
        ]
        for part in ("weight", "bias")
    }


def test_the_valence_arousal_head_has_its_dropout_and_so_another_number() -> None:
    state = cage_network("maxvit_t", 2, dropout=0.3).state_dict()
    assert state["classifier.6.weight"].shape == (2, 512)
    assert "classifier.5.weight" not in state


@pytest.mark.parametrize("backbone", ["efficientnet_v2_s", "swin_v2_t"])
def test_the_other_backbones_give_what_they_should(backbone: Any) -> None:
    network = cage_network(backbone, 9).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 9)


@pytest.mark.parametrize("backbone", ["maxvit_t", "efficientnet_v2_s", "swin_v2_t"])
def test_stochastic_depth_is_scaled_in_every_block(backbone: Any) -> None:
    def rates(network: nn.Module) -> list[float]:
        return [float(module.p) for module in network.modules() if type(module).__name__ == "StochasticDepth"]

    own, half = rates(cage_network(backbone, 2)), rates(cage_network(backbone, 2, stochastic_depth=0.1))
    assert len(own) > 10
    assert own[0] == 0, "the first block is never skipped"
    assert max(own) == pytest.approx(0.2, rel=0.05)
    np.testing.assert_allclose(half, np.array(own) / 2)
    assert set(rates(cage_network(backbone, 2, stochastic_depth=0))) == {0.0}


@pytest.mark.parametrize(("backbone", "size", "blocks"), [("swin_v2_t", 64, 12), ("maxvit_t", 224, 22)])
def test_from_random_weights_a_block_hands_on_what_it_gets(backbone: Any, size: int, blocks: int) -> None:
    """With random branches these networks say the same of every image before they have learned anything."""
    network = build_network(CageSpec(backbone=backbone, image_size=size), FACES).eval()
    handed_on = []
    for module in network.modules():
        if type(module).__name__ in ("SwinTransformerBlockV2", "PartitionAttentionLayer"):
            module.register_forward_hook(lambda _, inputs, output: handed_on.append(torch.equal(inputs[0], output)))
    with torch.inference_mode():
        network(torch.rand(1, 3, size, size) * 255)
    assert handed_on == [True] * blocks
    assert {m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)} <= {0.1}


@pytest.mark.parametrize(
    "spec",
    [
        CageSpec(backbone="swin_v2_t"),
        CageSpec(),
        IntermediateSpec(backbone="maxvit_t", representation="emoca", subset="full"),
    ],
    ids=lambda spec: spec.name,
)
def test_with_weights_brought_a_network_stays_as_torchvision_makes_it(spec: Any) -> None:
    def branches(network: nn.Module) -> list[torch.Tensor]:
        ends = (".norm1.weight", ".norm2.weight", ".merge.weight", ".mlp_layer.3.weight")
        found = [value for name, value in network.state_dict().items() if name.endswith(ends)]
        assert len(found) in (24, 44), "two of each of Swin's 12 blocks, or of MaxViT's 22 attention layers"
        return found

    def rates(network: nn.Module) -> set[float | None]:
        return {module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)}

    brought = build_network(spec.model_copy(update={"start_from": "imagenet"}), FACES)
    assert all(bool(weight.any()) for weight in branches(brought))
    assert rates(brought) <= {0.01}
    fresh = build_network(spec, FACES)
    assert not any(bool(weight.any()) for weight in branches(fresh))
    assert rates(fresh) <= {0.1}


def test_torchvision_is_usable_whatever_was_imported_first() -> None:
    code = (
        "from ig3d_ray.models.cage.network import torchvision_models; torchvision_models(); torchvision_models()\n"
        "import torchvision; print(torchvision.models.swin_v2_t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def gradients_of(network: nn.Module, *inputs: torch.Tensor) -> dict[str, bool]:
    """Parameter -> whether the loss moves it."""
    network.train()
    out = network(*inputs)
    if isinstance(out, Attended):
        loss = out.scores.square().sum() + 0.1 * attention_loss(out.heads, "together")
    else:
        loss = out.square().sum()
    loss.backward()
    return {name: p.grad is not None and bool(p.grad.abs().sum() > 0) for name, p in network.named_parameters()}


def test_every_parameter_of_the_3d_branch_and_the_fusion_is_trained() -> None:
    moved = gradients_of(DdamfnWithParams(156, 9, 7, heads=2), torch.randn(4, 3, 112, 112), torch.randn(4, 156))
    for name, has_gradient in moved.items():
        unused = ".conv_dw.bn" in name or ".conv_dw.prelu" in name or ".CoordAtt.Linear." in name
        unused = unused or name.startswith(("fc.", "bn."))
        assert has_gradient != unused, name
    assert moved["Wash_Linear1.weight"]


@pytest.mark.slow
def test_every_parameter_of_maxvit_with_params_is_trained() -> None:
    # Stochastic depth drops whole branches of an image at random, and with them their gradient.
    network = MaxvitWithParams(156, 9, stochastic_depth=0)
    moved = gradients_of(network, torch.randn(2, 3, 224, 224), torch.randn(2, 156))
    assert [name for name, has_gradient in moved.items() if not has_gradient] == []


def test_unused_parameters_do_not_wait_for_a_gradient() -> None:
    waiting = [name for name, p in Ddamfn(8).named_parameters() if p.requires_grad]
    assert not any(".conv_dw.bn" in name or name.startswith("bn.") for name in waiting)
    assert "fc.weight" in waiting


def test_attention_loss_has_both_signs() -> None:
    alike, apart = [torch.zeros(2, 4), torch.zeros(2, 4) + 0.1], [torch.zeros(2, 4), torch.ones(2, 4)]
    # MSE 0.01 and 1 for the one pair there is.
    assert float(attention_loss(alike, "apart")) == pytest.approx(100, rel=1e-5)
    assert float(attention_loss(apart, "apart")) == pytest.approx(1)
    assert float(attention_loss(alike, "together")) == pytest.approx(0.01)
    three = [torch.zeros(1), torch.ones(1), 2 * torch.ones(1)]
    assert float(attention_loss(three, "apart")) == pytest.approx(3 / 6)
    assert float(attention_loss(three, "together")) == pytest.approx(2)
    assert float(attention_loss(apart[:1], "apart")) == 0
    assert float(attention_loss(apart, "none")) == 0
