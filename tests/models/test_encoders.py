"""The encoders of 3D parameters against the published ones, and their checkpoints in the forms that are given out."""

import os
from pathlib import Path
from typing import Any

import golden_rules
import numpy as np
import pytest
import torch

from ig3d_ray.data.representations import width_of
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.face3d.encoders import EmocaEncoder, ResnetCoder, SmirkEncoder
from ig3d_ray.models.face3d.files import load_encoder


def golden(name: str) -> dict[str, Any]:
    return next(case for case in golden_rules.cases() if case["name"] == name)


def run(network: torch.nn.Module, case: dict[str, Any], call: str = "forward") -> Any:
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == dict(case["state_dict"])
    network.load_state_dict(golden_rules.fill(network.state_dict(), case["seed"]), strict=True)
    # Images are in [0, 1].
    image = golden_rules.inputs("image", tuple(case["inputs"]["image"]), case["seed"]).sigmoid()
    with torch.inference_mode():
        return getattr(network.eval(), call)(image)


def agrees(found: torch.Tensor, expected: Any) -> bool:
    wanted = np.array(expected)
    return bool(np.abs(found.numpy() - wanted).max() <= 1e-4 * max(np.abs(wanted).max(), 1e-3))


def test_smirk_agrees_with_the_published_one() -> None:
    case = golden("smirk_encoder")
    groups = run(SmirkEncoder(), case, "groups")
    for name, expected in case["output"].items():
        assert agrees(groups[name.removesuffix("_params")], expected), name


@pytest.mark.parametrize(("name", "outputs"), [("flame", 236), ("expression", 50), ("detail", 128)])
def test_emoca_agrees_with_the_published_one(name: str, outputs: int) -> None:
    case = golden(f"emoca_{name}")
    assert agrees(run(ResnetCoder(outputs), case), case["output"]["output"])


@pytest.fixture(scope="module")
def smirk() -> SmirkEncoder:
    torch.manual_seed(0)
    return SmirkEncoder().eval()


@pytest.fixture(scope="module")
def emoca() -> EmocaEncoder:
    torch.manual_seed(0)
    return EmocaEncoder(53).eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_sizes_are_the_published_ones(smirk: SmirkEncoder) -> None:
    parts = (smirk.pose_encoder, smirk.shape_encoder, smirk.expression_encoder)
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == [432_350, 1_701_508, 1_466_063]
    assert [sum(p.numel() for p in ResnetCoder(n).parameters()) for n in (236, 50, 128)] == [
        25_848_108,
        25_657_458,
        25_737_408,
    ]


def test_parameters_come_in_the_order_of_the_samples_table(smirk: SmirkEncoder, image: torch.Tensor) -> None:
    with torch.inference_mode():
        groups, out = smirk.groups(image), smirk(image)
    assert out.shape == (2, width_of("smirk"))
    assert torch.equal(out[:, :3], groups["pose"])
    assert torch.equal(out[:, 353:355], groups["eyelid"])
    assert (groups["eyelid"].min() >= 0) & (groups["eyelid"].max() <= 1)
    assert (groups["jaw"][:, 0].min() >= 0) & (groups["jaw"][:, 1:].abs().max() <= 0.2)


def test_the_expression_encoder_of_later_models_gives_the_jaw(emoca: EmocaEncoder, image: torch.Tensor) -> None:
    with torch.inference_mode():
        groups, coarse, expression = emoca.groups(image), emoca.E_flame(image), emoca.E_expression(image)
        out = emoca(image)
    assert out.shape == (2, width_of("emoca"))
    assert torch.equal(out[:, :50], expression[:, :50])
    assert torch.equal(groups["pose"], torch.cat([coarse[:, 200:203], expression[:, 50:]], dim=1))


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_smirks_file_is_read_without_its_generator(tmp_path: Path, smirk: SmirkEncoder) -> None:
    weights = {f"smirk_encoder.{name}": value for name, value in smirk.state_dict().items()}
    torch.save(weights | {"smirk_generator.conv.weight": torch.zeros(3)}, tmp_path / "smirk.pt")
    found, _ = load_encoder("smirk", tmp_path / "smirk.pt")
    assert same(found, smirk)
    assert not found.training


class Settings:
    """As Lightning keeps them in a checkpoint: reading one must not need, or run, their class."""

    def __init__(self) -> None:
        self.lr = 1e-4


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, (str(BOMB),)


BOMB = Path("exploded")


def test_emocas_lightning_checkpoint_is_read_without_its_classes(tmp_path: Path, emoca: EmocaEncoder) -> None:
    weights = {f"deca.{name}": value for name, value in emoca.state_dict().items()}
    weights |= {"deca.D_detail.l1.0.weight": torch.zeros(2), "deca.render.faces": torch.zeros(1)}
    content = {"state_dict": weights, "hyper_parameters": Settings(), "epoch": 3}
    torch.save(content, tmp_path / "emoca.ckpt")
    found, digest = load_encoder("emoca", tmp_path / "emoca.ckpt")
    assert same(found, emoca)
    assert len(digest) == 64


def test_a_checkpoint_in_parts_is_read(tmp_path: Path, emoca: EmocaEncoder) -> None:
    parts = {name: getattr(emoca, name).state_dict() for name in ("E_flame", "E_expression", "E_detail")}
    torch.save(parts | {"D_detail": {"l1.weight": torch.zeros(2)}}, tmp_path / "parts.tar")
    assert same(load_encoder("emoca", tmp_path / "parts.tar")[0], emoca)


def test_nothing_that_a_checkpoint_names_is_run(
    tmp_path: Path, smirk: SmirkEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": smirk.state_dict(), "extra": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(Ig3dError, match=r"bomb\.pt: not a whole checkpoint"):
        load_encoder("smirk", tmp_path / "bomb.pt")
    assert not (tmp_path / BOMB).exists()


def test_another_models_file_is_told_in_a_line(tmp_path: Path, smirk: SmirkEncoder, emoca: EmocaEncoder) -> None:
    weights = smirk.state_dict()
    torch.save(weights, tmp_path / "smirk.pt")
    with pytest.raises(Ig3dError, match=r"smirk\.pt: not EMOCA's encoder: without E_detail\..* \(966 such\)"):
        load_encoder("emoca", tmp_path / "smirk.pt")
    torch.save(weights | {"pose_encoder.pose_cam_layers.0.bias": torch.zeros(7)}, tmp_path / "seven.pt")
    with pytest.raises(Ig3dError, match=r"in another shape pose_encoder.pose_cam_layers.0.bias \(1 such\)"):
        load_encoder("smirk", tmp_path / "seven.pt")
    (tmp_path / "torn.pt").write_bytes((tmp_path / "smirk.pt").read_bytes()[:5000])
    for name, message in (("torn.pt", "not a whole checkpoint"), ("none.pt", "cannot be read")):
        with pytest.raises(Ig3dError, match=message):
            load_encoder("smirk", tmp_path / name)
