"""`python -m benchmarks.train_gpu`: what a GPU makes of the trainings; writes train_gpu.json with the card's name.

Images per second of DDAMFN and MaxViT, eager fp32 against ours (bf16 autocast, channels-last, with and without
torch.compile); cohorts of 1, 8, 32 and 128 3D classifiers; the share of the card's measured bf16 matrix rate.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training import cohort
from ig3d_ray.members.cage import cage_network
from ig3d_ray.members.ddamfn import Attended, Ddamfn

HERE = Path(__file__).parent
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "ddamfn": (lambda: Ddamfn(8), 112, 256),
    "maxvit_t": (lambda: cage_network("maxvit_t", 10), 224, 128),
}


def matrix_rate(size: int = 8192, seconds: float = 2.0) -> float:
    """bf16 floating-point operations per second of a large matrix product."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        a @ b
    torch.cuda.synchronize()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()
        count += 10
    return 2 * size**3 * count / (time.perf_counter() - start)


def training_step(network: nn.Module, x: torch.Tensor, labels: torch.Tensor, bf16: bool) -> Callable[[], None]:
    """Forward, backward and an optimiser step of one batch."""
    optimiser = torch.optim.AdamW((p for p in network.parameters() if p.requires_grad), lr=1e-4, fused=bf16)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            out = network(x)
        scores = out.scores if isinstance(out, Attended) else out
        nn.functional.cross_entropy(scores.float(), labels).backward()
        optimiser.step()

    return step


def images_per_second(name: str, ours: bool, compiled: bool = False, steps: int = 20) -> float:
    """Training images per second, from pictures that are on the card."""
    make, size, batch = NETWORKS[name]
    network = make().cuda().train()
    x = torch.randn(batch, 3, size, size, device="cuda")
    if ours:
        network, x = network.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 8, (batch,), device="cuda")
    step = training_step(torch.compile(network) if compiled else network, x, labels, bf16=ours)
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    torch.cuda.synchronize()
    return batch * steps / (time.perf_counter() - start)


def operations_per_image(name: str) -> float:
    """Floating-point operations of a training step on one picture."""
    make, size, _ = NETWORKS[name]
    network = make().train()
    with FlopCounterMode(display=False) as counter:
        out = network(torch.randn(2, 3, size, size))
        (out.scores if isinstance(out, Attended) else out).sum().backward()
    return counter.get_total_flops() / 2


def main() -> None:
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here: nothing to measure")
    rate = matrix_rate()
    found: dict[str, Any] = {"card": torch.cuda.get_device_name(), "torch": torch.__version__, "bf16 matrix rate": rate}
    for name in NETWORKS:
        eager, ours = images_per_second(name, ours=False), images_per_second(name, ours=True)
        compiled = images_per_second(name, ours=True, compiled=True)
        share = max(ours, compiled) * operations_per_image(name) / rate
        found[name] = {"eager fp32": eager, "ours": ours, "ours, compiled": compiled, "share of matrix rate": share}
        found[name]["ratio"] = max(ours, compiled) / eager
        print(name, json.dumps(found[name]), flush=True)
    found["cohorts"] = [cohort(members, 2048, 64 * 200, "cuda") for members in (1, 8, 32, 128)]
    (HERE / "train_gpu.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
