"""`python -m benchmarks.train_gpu`: training throughput on a GPU; writes train_gpu.json and train_gpu.md.

Images per second of DDAMFN and MaxViT: eager fp32 (as the published scripts train), bf16 autocast with channels first
and last, and compiled; an epoch of the 3D classifier against the published way of feeding it; cohorts of 1, 8, 32 and
128; the share of the card's measured bf16 matrix rate. Each figure is written as soon as it is measured.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training import BATCH, cohort, one_epoch
from ig3d_ray.models.cage.network import cage_network
from ig3d_ray.models.ddamfn.network import Attended, Ddamfn

HERE = Path(__file__).parent
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "ddamfn": (lambda: Ddamfn(8), 112, 256),
    "maxvit_t": (lambda: cage_network("maxvit_t", 10), 224, 128),
}
# Name, bf16, channels last, compiled.
WAYS = [
    ("eager fp32", False, False, False),
    ("bf16", True, False, False),
    ("bf16, channels last", True, True, False),
    ("bf16, compiled", True, False, True),
]


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
    """Forward, backward and an optimizer step of one batch."""
    optimizer = torch.optim.AdamW((p for p in network.parameters() if p.requires_grad), lr=1e-4, fused=bf16)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            out = network(x)
        scores = out.scores if isinstance(out, Attended) else out
        nn.functional.cross_entropy(scores.float(), labels).backward()
        optimizer.step()

    return step


def images_per_second(name: str, bf16: bool, channels_last: bool, compiled: bool, steps: int = 20) -> float:
    """Training images per second, from images already in GPU memory."""
    make, size, batch = NETWORKS[name]
    network = make().cuda().train()
    x = torch.randn(batch, 3, size, size, device="cuda")
    if channels_last:
        network, x = network.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 8, (batch,), device="cuda")
    step = training_step(torch.compile(network) if compiled else network, x, labels, bf16)
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    torch.cuda.synchronize()
    return batch * steps / (time.perf_counter() - start)


def operations_per_image(name: str) -> float:
    """Floating-point operations of a training step on one image."""
    make, size, _ = NETWORKS[name]
    network = make().train()
    with FlopCounterMode(display=False) as counter:
        out = network(torch.randn(2, 3, size, size))
        (out.scores if isinstance(out, Attended) else out).sum().backward()
    return counter.get_total_flops() / 2


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Benchmarks of training on a GPU",
        "",
        "Written by `python -m benchmarks.train_gpu`. Images per second are for whole training steps (forward,",
        "backward, optimizer) on images already in GPU memory. Combinations not in the table were not measured.",
        "",
        f"This run: {found['card']}, Python {found['python']}, torch {found['torch']}; bf16 matrix products"
        f" {found['bf16 matrix rate'] / 1e12:,.0f} TFLOP/s.",
        "",
        "| network | mode | images/s | relative to eager fp32 | share of the matrix rate |",
        "|---|---|---|---|---|",
    ]
    for name in NETWORKS:
        rates, operations = found.get(name, {}), found.get("operations", {}).get(name, 0.0)
        for way, rate in rates.items():
            share = rate * operations / found["bf16 matrix rate"]
            lines.append(f"| {name} | {way} | {rate:,.0f} | {rate / rates['eager fp32']:.2f} | {share:.1%} |")
    lines += ["", "| measurement | this package | peer | ratio |", "|---|---|---|---|"]
    for epoch in found.get("epochs", []):
        rates = dict(epoch["epoch"])
        ours = rates.pop("ours")
        name, peer = max(rates.items(), key=lambda item: item[1])
        what = f"an `mlp3d` epoch, width {epoch['width']}, batch {BATCH}, samples"
        lines.append(f"| {what} | {ours:,.0f}/s | {name} {peer:,.0f}/s | {ours / peer:,.1f} |")
    for one in found.get("cohorts", []):
        what = f"{one['members']} 3D classifiers of width {one['width']}, an epoch of {one['samples']:,}"
        times = f"{one['cohort']:.2f} s as a cohort | {one['one after another']:.2f} s one after another"
        lines.append(f"| {what} | {times} | {one['ratio']:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=HERE, help="a folder for train_gpu.json and train_gpu.md")
    to: Path = parser.parse_args().to
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here: nothing to measure")
    found: dict[str, Any] = {"card": torch.cuda.get_device_name(), "torch": torch.__version__}
    found |= {"python": platform.python_version(), "bf16 matrix rate": matrix_rate()}
    found["operations"] = {name: operations_per_image(name) for name in NETWORKS}

    def keep() -> None:
        (to / "train_gpu.json").write_text(json.dumps(found, indent=2) + "\n")
        (to / "train_gpu.md").write_text(page(found))

    def images(compiled: bool) -> None:
        for name in NETWORKS:
            for way, *how in WAYS:
                if how[-1] == compiled:
                    found.setdefault(name, {})[way] = images_per_second(name, *how)
                    keep()

    found["cohorts"] = []
    for members, width, steps in ((1, 2048, 50), (8, 2048, 50), (32, 2048, 50), (32, 256, 50), (128, 2048, 20)):
        found["cohorts"].append(cohort(members, width, BATCH * steps, "cuda"))
        keep()
    images(compiled=False)
    found["epochs"] = [one_epoch(4096, width, "cuda") for width in (2048, 256)]
    keep()
    images(compiled=True)
    print(page(found))


if __name__ == "__main__":
    main()
