"""The tables of benchmarks/scale.md."""

from collections.abc import Sequence
from typing import Any

POLICIES = {
    "ours": "ours: long ones alone, longest first, checkpoints",
    "fifo": "the same in the space's order",
    "eights": "eight in a run, in the space's order",
    "trials": "a run each, no checkpoints",
}

WASTE = ("checkpoint every", "noticed", "trained again", "starts and checkpoints", "both", "hours to the end")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One of Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def page(found: dict[str, Any]) -> str:
    """All of it, with what was assumed."""
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
    spent += [[f"{name}: processor, memory", f"{s:.1f} s, {m:.0f} MiB"] for name, (s, m) in over["processes"].items()]
    bound = [f"{row['bound']:.1f}" for row in found["policies"]]
    gpus = [str(row["gpus"]) for row in found["policies"]]
    policies = [["nothing can be faster", *bound]]
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

Written by `python -m benchmarks.scale`. What to make of it is in [docs/scale.md](../docs/scale.md).

## What Ray costs beyond the training, measured on {found["machine"]["cores"]} cores

Small 3D classifiers, as a plain loop and in one worker group of Ray Train, Ray itself being up already:

{table(["members", "plain loop", "Ray Train", "more, per member"], by_size)}
That is {over["start"]:.1f} s for a group and {over["each"]:.2f} s for each member in it. Starting Ray took
{over["ray_up"]:.1f} s. A group of {over["sizes"][-1]}, under Python's profiler:

{table(["where", "time"], spent)}
So a run takes {head["seconds"]:.1f} s of a processor and {head["mib"]:.0f} MiB on the driver's machine.

**The real thing at small size.** {real["members"]} members in {real["runs"]} runs on {real["places"]} raylets of one
CPU beside a head, all on this machine: {real["wall"]:.0f} s, {real["more"]:.1f} s for each member beyond its training.
The simulation, in which the head has processors of its own, says {real["expected"]:.0f} s.

## {pool["members"]:,} members, simulated

`affectnet8_all.yaml` with other seeds: {pool["work"]:,.0f} hours of training by `ig3d plan`'s assumptions for an
A10G, the longest {pool["longest"]:.1f} h, in {pool["runs"]:,} runs of up to {pool["pack"] / 60:.0f} minutes or one
member. Machines of one GPU are taken away {found["rate"]} times per hour each, {found["notice"]:.0%} of them with
notice, and others come after {found["replacement"] / 60:.0f} minutes in the mean. Means of several seeds.

Hours from first to last, by GPUs:

{table(["", *gpus], policies)}
GPU hours that were trained more than once:

{table(["", *gpus], lost)}
On 100 GPUs, by seconds between checkpoints that take 4 s each to write, in GPU hours:

{table(WASTE, waste)}"""
