"""The results as one page of Markdown."""

from typing import Any

INTRODUCTION = """# Benchmarks

Written by `make bench` (about half an hour on two cores); `make bench-quick` prints a smaller round in under two
minutes. Every ratio is of two things measured one after the other in the same run, on the same arrays. The pools are
drawn by [pools.py](pools.py) from a seed; the peers live in `.peers`, an environment of their own, and read the same
arrays from a file. Milliseconds differ from machine to machine, ratios little.

What to know when reading them: in (a) a solved weight counts as the 101 weights of a 0.01 grid that it answers for.
In (b) errors are Gaussian and each member has its own temperature, which favors weighted sums of logits over mixtures
of probabilities; AutoGluon and CMA-ES work on probabilities, as they do in use. "automatic" is the choice among stack,
greedy and coordinate by cross-fitting, without pairs and without Optuna.
"""


def page(found: dict[str, Any]) -> str:
    """Markdown with one table: what was measured, ours, the peer's, the ratio."""
    machine = found["machine"]
    lines = [
        INTRODUCTION,
        f"This run: {machine['cores']} cores, Python {machine['python']}, NumPy {machine['numpy']},"
        f" commit {machine['commit']}.",
        "",
        "| what | ours | peer | ratio |",
        "|---|---|---|---|",
        *_pairs(found),
        *_many(found["b"]),
        *_rates(found),
        *_growth(found["d"]),
        *_resamples(found["e"]),
    ]
    return "\n".join(lines) + "\n"


def _row(what: str, ours: str, peer: str = "", ratio: str = "") -> str:
    return f"| {what} | {ours} | {peer} | {ratio} |"


def _pairs(found: dict[str, Any]) -> list[str]:
    a, pair = found["a"], found["pair"]
    ours = f"all of it in {a['ours']['seconds']:.2f} s: {a['ours']['best']:.5f}, the optimum"
    counted = f"{a['ours']['per_second']:,.0f} candidates/s"
    rows = []
    for name in ("Ray Tune + OptunaSearch", "plain Optuna"):
        peer = a[name]
        each = f"{1e3 * peer['seconds_per_trial']:.0f} ms a trial"
        message = f"{name}, one candidate a trial: {peer['best']:.5f} after {peer['seconds']:.0f} s, {each}"
        what = "(a) 6 x 66 pairs x 3 strategies x weight, 4,000 x 8; candidates on a 0.01 grid"
        rows.append(
            _row(what, f"{ours}; {counted}", f"{message}; {peer['per_second']:,.1f}/s", f"{peer['ratio']:,.0f} x")
        )
    grid = a["grid"]
    message = f"every pair on a 0.01 grid: {grid['best']:.5f} in {grid['seconds']:.1f} s"
    rows.append(_row("(a) the same", ours, message, f"{grid['seconds'] / a['ours']['seconds']:.1f} x"))
    ours = f"{pair['ours']['milliseconds']:.2f} ms: {pair['ours']['best']:.5f}, exact"
    message = f"grid of 201 weights: {pair['grid of 201']['milliseconds']:.1f} ms: {pair['grid of 201']['best']:.5f}"
    rows.append(_row("(a) one pair's best weight, 4,000 x 8", ours, message, f"{pair['ratio']:.1f} x"))
    return rows


def _many(b: dict[str, Any]) -> list[str]:
    methods = b["methods"]
    peer = methods["AutoGluon 100, accuracy"]
    rows = []
    for name, one in methods.items():
        ours = f"{name}: **{one['accuracy']:.4f}** in {one['seconds']:.2f} s"
        seeds = len(one["seeds"])
        what = f"(b) 72 members, 7 classes: accuracy on fresh samples, mean of {seeds} seeds"
        if "at_or_above_the_best_AutoGluon" in one:
            above = f"at or above AutoGluon's best of four in {one['at_or_above_the_best_AutoGluon']}"
            message = f"AutoGluon 100, accuracy: {peer['accuracy']:.4f} in {peer['seconds']:.1f} s; ours {above}"
            rows.append(_row(what, ours, message, f"{one['times_faster_than_AutoGluon_100_accuracy']:.1f} x"))
        elif name.startswith(("AutoGluon", "CMA")):
            rows.append(_row(what, "", ours))
        else:
            rows.append(_row(what, ours))
    return rows


def _rates(found: dict[str, Any]) -> list[str]:
    rows = []
    for metric, rate in found["pair"]["weights_per_second"].items():
        rows.append(_row(f"(c) a pair's weights after one pass: {metric}", f"{rate:,.0f} weights/s"))
    for members, rates in found["c"].items():
        ours = f"{rates['along_one_weight']:,.0f} weights/s along one member's weight"
        both = f"{ours}; {rates['one_by_one']:,.0f}/s arbitrary ones, fused one by one"
        rows.append(_row(f"(c) {members} members, 4,000 x 8", both))
    return rows


def _growth(d: dict[str, Any]) -> list[str]:
    rows = []
    for run in [*d["by_members"], *d["by_samples"][1:], d["largest"]]:
        what = f"(d) {run['members']:,} members x {run['samples']:,} x 8: singles, stack, greedy, coordinate"
        rows.append(
            _row(what, f"{run['seconds']:.2f} s, {run['peak_gib']:.2f} GiB at most ({run['pool_gib']:.2f} pool)")
        )
    message = ", ".join(f"{name.replace('_', ' ')}: {value:.2f}" for name, value in d["exponents"].items())
    return [*rows, _row("(d) fitted exponents", message)]


def _resamples(e: list[dict[str, float]]) -> list[str]:
    rows = []
    for one in e:
        ours = f"{one['first']:.2f} s, every metric; {one['further']:.2f} s for each further prediction"
        peer = f"a loop, accuracy and macro F1 by scikit-learn: {one['loop']:.1f} s"
        what = f"(e) 2,000 stratified resamples of {one['samples']:,}"
        rows.append(_row(what, ours, peer, f"{one['loop'] / one['first']:.0f} x"))
    return rows
