"""How often the statements about uncertainty hold, by simulation: `make bench-trust` writes benchmarks/trust.md.

Everything is drawn from stated seeds; each number is a share of so many simulations.
"""

import argparse
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.gates import Trial, gate_trial, posed_trial
from ig3d_ray.audit.checks import Audited, check_one
from ig3d_ray.evaluation.bootstrap import Bootstrap, Interval, mcnemar
from ig3d_ray.evaluation.metrics import expression_statistics
from ig3d_ray.evaluation.probability_scores import brier_scores, ece, log_losses, reliability
from ig3d_ray.fusion.combine import softmax
from ig3d_ray.fusion.temperature import fit_temperatures
from ig3d_ray.report.sentences import corrected_for
from ig3d_ray.search.abstaining import threshold_for
from ig3d_ray.search.arrays import pool_of_arrays
from ig3d_ray.search.subgroups import by_subgroup
from ig3d_ray.types import Task

SHARES = np.array([329, 74, 160, 1185, 478, 162, 680]) / 3068
NAMES = ("Surprise", "Fear", "Disgust", "Happy", "Sad", "Anger", "Neutral")
Line = tuple[str, ...]


def calibration_lines() -> Iterator[Line]:
    """Two views whose evidence adds up, fused by weights that sum to one."""
    found = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 7, 4000)
        fused = np.mean([1.5 * np.eye(7)[labels] + rng.standard_normal((4000, 7)) for _ in range(2)], axis=0)
        chosen, reported = slice(0, 2000), slice(2000, 4000)
        (warm,) = fit_temperatures(fused[None, chosen], labels[chosen])
        for likely in (softmax(fused[reported]), softmax(fused[reported] / warm)):
            bins = reliability(likely, labels[reported])
            scores = (log_losses(likely, labels[reported]), brier_scores(likely, labels[reported]))
            found.append([ece(bins), *(float(one.mean()) for one in scores)])
    table = np.array(found).reshape(50, 2, 3).mean(axis=0)
    for name, row in zip(("weights that sum to one", "with the temperature"), table, strict=True):
        yield (name, *(f"{value:.4f}" for value in row))


def group_lines() -> Iterator[Line]:
    """60 videos: how often a 95 % interval of the accuracy covers the truth."""
    # Resampling single frames of the long videos takes most of the time, so it is simulated less often.
    for frames, alone in ((100, 300), (1000, 60)):
        for correlation in (0.05, 0.3):
            hits, often = np.zeros(2), (600, alone)
            for seed in range(600):
                rng = np.random.default_rng(seed)
                size = (1 - correlation) / correlation
                share = np.repeat(rng.beta(0.6 * size, 0.4 * size, 60), frames)
                labels, of = np.repeat(rng.integers(0, 3, 60), frames), np.repeat(np.arange(60), frames)
                top = np.where(rng.random(60 * frames) < share, labels, (labels + 1) % 3)
                statistics = expression_statistics(np.eye(3)[top], labels)
                for place, groups in enumerate((of, None)):
                    if seed < often[place]:
                        resamples = Bootstrap.of(Task.EXPRESSION, labels, seed, 400, groups)
                        found = resamples.intervals(statistics)["accuracy"]
                        hits[place] += found.low <= 0.6 <= found.high
            shares = (f"{count / of_all:.1%}" for count, of_all in zip(hits, often, strict=True))
            yield (str(frames), f"{correlation:g}", *shares)


def subgroup_lines() -> Iterator[Line]:
    """3,000 faces of two subgroups, 200 simulations: how often a difference is reported (p below .05)."""
    for gap in (0.0, 0.02, 0.05):
        found = 0
        for seed in range(200):
            rng = np.random.default_rng(seed)
            labels, half = rng.integers(0, 7, 3000), rng.random(3000) < 0.5
            top = np.where(rng.random(3000) < np.where(half, 0.9, 0.9 - gap), labels, (labels + 1) % 7)
            pool = pool_of_arrays(np.eye(7)[None, top], labels)
            pool = replace(pool, attributes={"gender": np.where(half, "female", "male")})
            statistics = expression_statistics(np.eye(7)[top], labels)
            (one,) = by_subgroup(pool, statistics, statistics, "accuracy", seed)
            found += one.p is not None and one.p < 0.05
        yield (f"{gap:g}", f"{found / 200:.1%}")


def equivalence_lines() -> Iterator[Line]:
    """Ensembles that differ from a member by so much, region of .005: which verdict the paired bootstrap interval (400
    resamples) gives, in 400 simulations of 4,000 samples and 40 of 40,000.
    """
    for samples, simulations in ((4000, 400), (40_000, 40)):
        for gain in (0.0, 0.005, 0.02):
            counts = np.zeros(3)
            for seed in range(simulations):
                rng = np.random.default_rng(seed)
                kind = rng.choice(3, samples, p=(0.01 + gain, 0.01, 0.98 - gain))
                labels, both = rng.integers(0, 7, samples), rng.random(samples) < 0.8
                # The ensemble alone is right, the member alone, or both or neither.
                right = np.select([kind == 0, kind == 1], [[True], [False]], both)
                other = np.select([kind == 0, kind == 1], [[False], [True]], both)
                found = Bootstrap.of(Task.EXPRESSION, labels, seed, 400).gain(
                    *(expression_statistics(np.eye(7)[(labels + ~one) % 7], labels) for one in (right, other)),
                    "accuracy",
                )
                same = max(-found.low, found.high) <= 0.005
                counts += (same, found.low > 0 and not same, found.low <= 0 and not same)
            yield (f"{samples:,}", f"{gain:g}", *(f"{share:.1%}" for share in counts / simulations))


def gate_lines() -> Iterator[Line]:
    """Weights over the sample, 2,000 samples to choose on if not said otherwise, and 10,000 fresh ones, 20 seeds. Where
    heads are turned, gates may take EMOCA parameters as input: the pose's 6, or all 156 of expression, pose and shape.
    """
    every = ["exp", "pose", "shape"]
    kinds: dict[str, Callable[[int], Trial]] = {
        "two regions, surer where wrong": lambda seed: gate_trial(seed, (2.2, 3.2)),
        "two regions, sure or unsure where wrong": lambda seed: gate_trial(seed, (3.0, 3.0)),
        "no regions": lambda seed: gate_trial(seed, None),
        "turned heads, by pose": lambda seed: posed_trial(seed, ["pose"], True, 2000),
        "turned heads, by pose, 10,000 samples": lambda seed: posed_trial(seed, ["pose"], True, 10_000),
        "turned heads, by all parameters": lambda seed: posed_trial(seed, every, True, 2000),
        "regions without relation to parameters": lambda seed: posed_trial(seed, every, False, 2000),
    }
    for name, trial_of in kinds.items():
        trials = [trial_of(seed) for seed in range(20)]
        costs, chosen = [one.static - one.chosen for one in trials], sum(one.is_gate for one in trials)
        # Where hardly any gate is chosen, the oracle has nothing that it could know.
        shares = [(one.chosen - one.static) / (one.oracle - one.static) for one in trials] if chosen > 1 else []
        gained = f"{np.mean(shares):.0%} ({min(shares):.0%} at least)" if shares else ""
        yield (name, f"{chosen} of 20", gained, f"{max(max(costs), 0.0):.4f}")


def _confident(seed: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = softmax(2.5 * rng.standard_normal((samples, 7))).max(axis=1)
    return confidence, rng.random(samples) < confidence


def abstention_lines() -> Iterator[Line]:
    """How often the error among answered samples is within the bound, and how many are answered."""
    everyone, right = _confident(10**6, 400_000)
    order = np.argsort(-everyone)
    errors = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    for risk in (0.05, 0.1, 0.2):
        found = [threshold_for(*_confident(seed, 1000), risk) for seed in range(400)]
        answered = [everyone >= one if one is not None else np.zeros(len(everyone), bool) for one in found]
        held = [not one.any() or (~right[one]).mean() <= risk for one in answered]
        possible = (np.flatnonzero(errors <= risk).max() + 1) / len(order)
        yield (
            f"{risk:g}",
            f"{np.mean(held):.1%}",
            f"{np.mean([one.mean() for one in answered]):.1%}",
            f"{possible:.1%}",
        )


def evaluation_lines() -> Iterator[Line]:
    """Members of pure noise; 100 searches that each keep what looked best: how often any claims a gain."""
    claimed = np.zeros(2)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels, outputs = rng.integers(0, 7, 1000), rng.standard_normal((8, 1000, 7))
        single = max((one.argmax(axis=1) == labels for one in outputs), key=lambda right: float(right.mean()))
        weights, best, claims = np.ones(8), 0.0, np.zeros(2, dtype=bool)
        for number in range(1, 101):
            tried = weights * rng.gamma(2.0, 0.5, 8)
            right = np.tensordot(tried, outputs, 1).argmax(axis=1) == labels
            if right.mean() > best:
                weights, best = tried, float(right.mean())
            apart = right.astype(float) - single
            width = 1.96 * float(apart.std()) / 1000**0.5
            value, p = float(apart.mean()), mcnemar(right, single).p
            gain = Interval(value=value, low=value - width, high=value + width)
            claims |= [corrected_for(gain, number).low > 0 and p * number < 0.05, gain.low > 0 and p < 0.05]
        claimed += claims
    yield tuple(f"{share:.1%}" for share in claimed / 40)


def _drawn(seed: int, samples: int = 1500, strength: float = 1.6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, samples, p=SHARES)
    return labels, strength * np.eye(7)[labels] + rng.standard_normal((samples, 7))


def _audited(labels: np.ndarray, outputs: np.ndarray) -> Audited:
    ids = np.array([f"f{row:05d}" for row in range(len(labels))])
    return Audited("m", Task.EXPRESSION, ids, False, outputs, labels, NAMES)


def _logarithms(likely: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(likely, 1e-12))


def audit_lines() -> Iterator[Line]:
    """200 right files of a kind: how many have a fault or a warning."""
    clean: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "logits": lambda logits: logits,
        "percentages of two decimals": lambda logits: _logarithms(np.round(softmax(6 * logits), 4)),
        "one decimal": lambda logits: _logarithms(np.round(softmax(6 * logits), 1)),
        "half precision": lambda logits: logits.astype(np.float16).astype(np.float64),
        "votes of ten raters": lambda logits: _logarithms(
            np.stack([np.random.default_rng(0).multinomial(10, row) for row in softmax(3 * logits)]) / 10
        ),
    }
    for name, change in clean.items():
        found = []
        for seed in range(200):
            labels, logits = _drawn(seed)
            found += [finding.kind for finding in check_one(_audited(labels, change(logits)))]
        yield (name, str(found.count("fault")), str(found.count("warning")))


def exchange_lines() -> Iterator[Line]:
    """Two classes exchanged, 4,000 samples: what it costs in standard errors, and how often it is found."""
    for first, second in ((0, 1), (1, 2), (1, 5), (3, 6)):
        costs, found = [], 0
        for seed in range(50):
            labels, outputs = _drawn(seed, 4000, 2.0)
            wrong = outputs.copy()
            wrong[:, [first, second]] = outputs[:, [second, first]]
            right = float((outputs.argmax(axis=1) == labels).mean())
            cost = right - float((wrong.argmax(axis=1) == labels).mean())
            costs.append(cost / (right * (1 - right) / 4000) ** 0.5)
            found += any(one.kind == "fault" for one in check_one(_audited(labels, wrong)))
        yield (f"{NAMES[first]} and {NAMES[second]}", f"{np.mean(costs):.1f}", f"{found / 50:.0%}")


PARTS: tuple[tuple[str, Line, Callable[[], Iterator[Line]]], ...] = (
    ("Calibration, mean of 50 pairs", ("probabilities", "calibration error", "log-loss", "Brier"), calibration_lines),
    ("Videos", ("frames of each", "intra-class correlation", "whole videos", "single frames"), group_lines),
    ("Subgroups", ("true gap in accuracy", "reported"), subgroup_lines),
    ("Equivalence", ("samples", "true gain", "practically the same", "real", "no gain claimed"), equivalence_lines),
    ("Gates", ("members", "chosen", "of an oracle's gain over static weights", "accuracy lost at most"), gate_lines),
    ("Abstention, 400 selections of 1,000", ("bound", "held", "answered", "possible"), abstention_lines),
    ("Repeated evaluations, 40 repetitions", ("corrected", "not corrected"), evaluation_lines),
    ("Audit of right files, of 200", ("file", "faults", "warnings"), audit_lines),
    ("Exchanges of two classes", ("classes", "cost in standard errors", "found"), exchange_lines),
)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("trust.md"))
    out, started = parser.parse_args().out, time.perf_counter()
    lines = ["# Trust", "", "How often the statements about uncertainty hold, by simulation: `make bench-trust`.", ""]
    for title, head, rows_of in PARTS:
        lines += [f"## {title}", "", inspect.cleandoc(rows_of.__doc__ or ""), ""]
        rows = [head, ("---",) * len(head), *rows_of()]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    out.write_text("\n".join(lines))
    print(f"{out}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
