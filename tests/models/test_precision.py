"""In which precision networks train."""

import pytest
import torch

from ig3d_ray.data import datasets
from ig3d_ray.models.build import build_network
from ig3d_ray.models.cnn.spec import CnnSpec
from ig3d_ray.models.ddamfn.spec import DdamfnSpec
from ig3d_ray.models.precision import is_faster_in_bf16
from ig3d_ray.models.spec import TrainedSpec

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("spec", "has", "expected"),
    [
        (CnnSpec(width=8), {"avx512_bf16": True}, True),
        (CnnSpec(width=8), {"amx_bf16": True}, True),
        (CnnSpec(width=8), {"avx512_f": True, "avx512_bf16": False}, False),
        (CnnSpec(width=8), {}, False),
        # Its depthwise convolutions are slower in bf16.
        (DdamfnSpec(), {"avx512_bf16": True}, False),
    ],
)
def test_bf16_is_for_processors_that_have_it_and_networks_that_gain(
    spec: TrainedSpec, has: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network(spec, datasets.dataset("faces")).network
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert is_faster_in_bf16(network, CPU) is expected
