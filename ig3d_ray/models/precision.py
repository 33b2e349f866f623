"""Precision of products: scoring uses full precision, training may round to TF32's ten bits or bf16's eight."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

SINCE_A100 = (8, 0)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Matrix products and convolutions of float32 in TF32 or not, in the whole process; no effect on CPUs."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = allowed
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def is_faster_in_bf16(network: nn.Module, device: torch.device) -> bool:
    """Whether an image network trains faster in bf16 autocast than in fp32.

    GPUs before the A100 have bf16, but slower convolutions in it than in fp32. Processors have products of bf16 with
    AVX-512 BF16 or AMX, but no fast depthwise convolutions: a DDAMFN takes an eighth longer than in fp32.

    Args:
        network: with its convolutions.
        device: that it trains on.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= SINCE_A100
    has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    grouped = any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in network.modules())
    return bool(has.get("avx512_bf16") or has.get("amx_bf16")) and not grouped
