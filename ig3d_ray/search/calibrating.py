"""The temperature of the chosen ensemble's fused scores, fitted where it was chosen, by predictions made without it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation.calibration import CalibrationScores, calibration
from ig3d_ray.evaluation.probability_scores import Reliability, reliability
from ig3d_ray.fusion.calibrated import best_temperature, with_temperature
from ig3d_ray.fusion.combine import softmax
from ig3d_ray.search.abstaining import Abstention, RiskCoverage, abstention, risk_coverage, threshold_for
from ig3d_ray.search.held_out import Pick, fused_scores, held_out_logits
from ig3d_ray.search.protocol import Plan
from ig3d_ray.search.scoring import Result
from ig3d_ray.search.selection import Families


@dataclass(frozen=True)
class Calibrated:
    """The calibration of the chosen ensemble.

    Attributes:
        temperature: of the fused scores; the exported ensemble's.
        scores: on the report set, before and after.
        uncalibrated: bins of the report set before.
        calibrated: bins after.
        curve: risk against coverage of the ensemble on the report set.
        curve_of_single: of the member that is best there.
        abstention: the threshold for the risk that was asked for; None if none was.
    """

    temperature: float
    scores: CalibrationScores
    uncalibrated: Reliability
    calibrated: Reliability
    curve: RiskCoverage
    curve_of_single: RiskCoverage
    abstention: Abstention | None


def calibrate(
    plan: Plan,
    families: Families,
    choices: Mapping[int, Result],
    family_of: Mapping[int, str],
    single: Result,
    space: SearchSpace,
) -> Calibrated:
    """Fit the temperature, and the threshold of abstention if one is asked for; score both on the report set.

    Args:
        plan: the protocol's parts.
        families: the candidates of each part.
        choices: what is chosen on the parts that report.
        family_of: the family of each part's choice.
        single: the member that is best on the report set.
        space: whose seed, and whose risk to abstain above.

    On each part both are fitted to the family's predictions of samples that a choice was made without, inside the part.
    So no sample of the report set has a part in the temperature and the threshold that it is scored with. Where the
    objective is one of probabilities, each choice has its temperature already, and keeps it.
    """
    report, risk = plan.report, space.abstain_above_risk
    own = {part: _fitted(plan, families.pick(family_of[part]), part, risk) for part in choices}
    before = np.zeros((len(report), report.outputs_MNC.shape[2]))
    after, answered = np.zeros_like(before), np.zeros(len(report), dtype=bool)
    for part, rows in plan.held_out[0]:
        result, (temperature, threshold) = choices[part], own[part]
        fused = fused_scores(result, report, rows)
        before[rows] = with_temperature(result.fusion, None).probabilities(fused)
        after[rows] = with_temperature(result.fusion, temperature).probabilities(fused)
        answered[rows] = threshold is not None and after[rows].max(axis=1) >= threshold
    labels = report.labels
    right = after.argmax(axis=1) == labels
    alone = single.fusion.probabilities(fused_scores(single, report))
    scores = CalibrationScores(
        uncalibrated=calibration(before, labels, space.seed, report.groups),
        calibrated=calibration(after, labels, space.seed, report.groups),
    )
    return Calibrated(
        temperature=own[0][0],
        scores=scores,
        uncalibrated=reliability(before, labels),
        calibrated=reliability(after, labels),
        curve=risk_coverage(after.max(axis=1), right),
        curve_of_single=risk_coverage(alone.max(axis=1), alone.argmax(axis=1) == labels),
        abstention=None if risk is None else abstention(risk, own[0][1], answered, right),
    )


def _fitted(plan: Plan, pick: Pick, part: int, risk: float | None) -> tuple[float, float | None]:
    """The temperature of a part's family, and its threshold for a risk."""
    logits, truth = held_out_logits(plan, pick, part)
    temperature = pick(part).fusion.fused_temperature or best_temperature(logits, truth)
    if risk is None:
        return temperature, None
    # Each sample once: repeats of the folds are no further evidence.
    once = slice(0, len(plan.parts[part]))
    likely = softmax(logits[once] / temperature)
    return temperature, threshold_for(likely.max(axis=1), likely.argmax(axis=1) == truth[once], risk)
