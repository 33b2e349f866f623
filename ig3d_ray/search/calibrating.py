"""The temperature of the chosen ensemble's fused scores, fitted where it was chosen, by predictions made without it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ig3d_ray.evaluation.calibration import CalibrationScores, Reliability, calibration, reliability
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.fusion.temperature import fit_temperatures
from ig3d_ray.search.protocol import Plan, Rows
from ig3d_ray.search.scoring import Result, significant
from ig3d_ray.search.selection import Families, predictions

SHARPEST, FLATTEST = 0.05, 20.0
"""Bounds of a temperature: an ensemble that is never wrong where it was chosen would have one of zero."""


@dataclass(frozen=True)
class Calibrated:
    """The calibration of the chosen ensemble.

    Attributes:
        temperature: of the fused scores; the exported ensemble's.
        scores: on the report set, before and after.
        uncalibrated: bins of the report set before.
        calibrated: bins after.
    """

    temperature: float
    scores: CalibrationScores
    uncalibrated: Reliability
    calibrated: Reliability


def with_temperature(fusion: Fusion, temperature: float) -> Fusion:
    """A fusion with calibrated probabilities; its fused scores and classes are the same."""
    return fusion.model_copy(update={"fused_temperature": temperature})


def fused_temperature(fusion: Fusion, fused_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """The temperature of a fusion's scores that gives the least log-loss.

    Args:
        fusion: how they were fused.
        fused_NC: `[N, C]` fused scores, best of samples that chose neither members nor weights.
        labels_N: `[N]` int.
    """
    (found,) = fit_temperatures(fusion.fused_logits(fused_NC)[None], labels_N)
    return significant(float(np.clip(found, SHARPEST, FLATTEST)))


def calibrate(
    plan: Plan, families: Families, choices: Mapping[int, Result], family_of: Mapping[int, str], seed: int
) -> Calibrated:
    """Fit the temperature, and score the probabilities on the report set.

    Args:
        plan: the protocol's parts.
        families: the candidates of each part.
        choices: what is chosen on the parts that report.
        family_of: the family of each part's choice.
        seed: of the intervals.

    On each part the temperature is fitted to the family's predictions of samples that a choice was made without, inside
    the part. So no sample of the report set has a part in the temperature that it is scored with.
    """

    def temperature(part: int) -> float:
        pool, pick = plan.parts[part], families.pick(family_of[part])
        scores, labels = [], []
        for inner, rows in plan.inner[part]:
            result = pick(inner)
            scores.append(result.fusion.fused_logits(predictions(result, pool, rows)))
            labels.append(pool.labels[rows])
        (found,) = fit_temperatures(np.concatenate(scores)[None], np.concatenate(labels))
        return significant(float(np.clip(found, SHARPEST, FLATTEST)))

    before, after = _held_out(plan, plan.held_out[0], choices, temperature)
    labels = plan.report.labels
    scores = CalibrationScores(
        uncalibrated=calibration(before, labels, seed, plan.report.groups),
        calibrated=calibration(after, labels, seed, plan.report.groups),
    )
    return Calibrated(temperature(0), scores, reliability(before, labels), reliability(after, labels))


def _held_out(
    plan: Plan, held_out: Sequence[tuple[int, Rows]], choices: Mapping[int, Result], temperature: Callable[[int], float]
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the report set, each row by a choice made without it, before and after its temperature."""
    pool = plan.report
    before = np.zeros((len(pool), pool.outputs_MNC.shape[2]))
    after = np.zeros_like(before)
    for part, rows in held_out:
        result = choices[part]
        fused = predictions(result, pool, rows)
        before[rows] = result.fusion.probabilities(fused)
        after[rows] = with_temperature(result.fusion, temperature(part)).probabilities(fused)
    return before, after
