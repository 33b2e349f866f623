"""The tables of benchmarks/scale.md."""

from collections.abc import Sequence
from typing import Any

POLICIES = {
    "ours": "this package: long trainings alone, longest first, checkpoints",
    "fifo": "the same, in the order of the search space",
    "eights": "eight members per run, in the order of the search space",
    "trials": "one run per member, no checkpoints",
}

WASTE = ("checkpoint every", "with notice", "repeated training", "starts and checkpoints", "sum", "total hours")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def page(found: dict[str, Any]) -> str:
    """The whole page, with the assumptions of the simulation."""
    pool, over, real = found["pool"], found["overhead"], found["real"]
    parts, inside, head = over["parts"], over["inside"], over["head"]
    seconds = over["seconds"]
    by_size = [
        [
            str(size),
            f"{seconds[f'plain-{size}']:.1f} s",
            f"{seconds[f'ray-{size}']:.1f} s",
            f"{(seconds[f'ray-{size}'] - seconds[f'plain-{size}']) / size:.2f} s",
        ]
        for size in over["sizes"]
    ]
    names = {"run": "training", "publish": "weights and logits", "trainer": "networks", "_write": "checkpoints"}
    spent = [[name, f"{value:.1f} s"] for name, value in parts.items()]
    spent += [[f"within it: {names.get(name, name)}", f"{value:.2f} s"] for name, value in inside.items()]
    spent += [[f"{name}: CPU time, memory", f"{s:.1f} s, {m:.0f} MiB"] for name, (s, m) in over["processes"].items()]
    bound = [f"{row['bound']:.1f}" for row in found["policies"]]
    gpus = [str(row["gpus"]) for row in found["policies"]]
    policies = [["lower bound", *bound]]
    policies += [
        [message, *(f"{row[name]['hours']:.1f}" for row in found["policies"])] for name, message in POLICIES.items()
    ]
    lost = [[message, *(f"{row[name]['lost']:.1f}" for row in found["policies"])] for name, message in POLICIES.items()]
    waste = [
        [
            ("none" if row["interval"] is None else f"{row['interval']:.0f} s")
            + (f", {row['share']:.0%} of the time at most" if row["share"] < 1 else ""),
            f"{row['notice']:.0%}",
            f"{row['lost']:.1f}",
            f"{row['overhead']:.1f}",
            f"{row['lost'] + row['overhead']:.1f}",
            f"{row['hours']:.2f}",
        ]
        for row in found["waste"]
    ]
    return f"""# Scale

Written by `python -m benchmarks.scale`. The results are discussed in [docs/scale.md](../docs/scale.md).

## Overhead of Ray beyond the training, measured on {found["machine"]["cores"]} cores

Small 3D classifiers, in a plain loop and in one Ray Train worker group, with Ray already running:

{table(["members", "plain loop", "Ray Train", "overhead per member"], by_size)}
The overhead is {over["start"]:.1f} s per group and {over["each"]:.2f} s per member in it. Starting Ray took
{over["ray_up"]:.1f} s. A group of {over["sizes"][-1]}, under Python's profiler:

{table(["where", "time"], spent)}
So a run takes {head["seconds"]:.1f} s of CPU time and {head["mib"]:.0f} MiB on the driver's machine.

**A small real cluster.** {real["members"]} members in {real["runs"]} runs on {real["places"]} raylets with one
CPU each and a head node, all on one machine: {real["wall"]:.0f} s, {real["more"]:.1f} s per member beyond its training.
The simulation, in which the head node has its own CPUs, gives {real["expected"]:.0f} s.

## {pool["members"]:,} members, simulated

`affectnet8_all.yaml` with other seeds: {pool["work"]:,.0f} hours of training under `ig3d plan`'s assumptions for an
A10G, the longest {pool["longest"]:.1f} h, in {pool["runs"]:,} runs of up to {pool["pack"] / 60:.0f} minutes or one
member. Machines with one GPU are each preempted {found["rate"]} times per hour, {found["notice"]:.0%} of them with
notice, and replaced after {found["replacement"] / 60:.0f} minutes on average. Values are means over several seeds.

Total hours, by number of GPUs:

{table(["", *gpus], policies)}
GPU hours of repeated training:

{table(["", *gpus], lost)}
On 100 GPUs, by checkpoint interval, with 4 s to write each checkpoint, in GPU hours:

{table(WASTE, waste)}"""
