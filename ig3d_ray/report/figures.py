"""The report's figures, each drawn from the findings."""

from collections.abc import Callable

from matplotlib.figure import Figure

from ig3d_ray.report.class_figures import circumplex, confusions, per_class, reliability, risk
from ig3d_ray.report.figure_sizes import Size
from ig3d_ray.report.findings import Findings
from ig3d_ray.report.score_figures import leaderboard, strategies, weight_curve
from ig3d_ray.report.search_figures import choices, front, tried

FIGURES: dict[str, tuple[Callable[[Findings, Size], Figure | None], str]] = {
    "leaderboard": (leaderboard, "Scores on the report set, with 95 % bootstrap intervals."),
    "weight": (
        weight_curve,
        "The best pair's score against its 3D weight. Any weight in the shaded region is as good.",
    ),
    "strategies": (strategies, "Ways to fuse: where they were chosen, cross-fitted within it, and on the report set."),
    "confusion": (confusions, "Confusion matrices on the report set; in the last, green is better and gray is worse."),
    "classes": (per_class, "Recall of each class."),
    "reliability": (
        reliability,
        "How often the ensemble is right, by its confidence, on the report set; bins of equally many samples; on"
        " the diagonal it is as often right as its probabilities say.",
    ),
    "risk": (
        risk,
        "The error among the most confident samples of the report set, against the share that is answered.",
    ),
    "circumplex": (circumplex, "Valence and arousal on the report set."),
    "front": (front, "Pareto front: ensembles that no smaller or cheaper ensemble outperforms."),
    "tried": (
        tried,
        "What the search tried, in its order, and the best so far; under repeated folds, for the exported ensemble.",
    ),
    "choices": (
        choices,
        "What the candidates chose, the best of them and a part of the rest; the better, the darker; the"
        " chosen ensemble is the best of the family that did best in cross-fitting.",
    ),
}
"""Name -> how it is drawn, and its caption; None where there is nothing to draw."""
