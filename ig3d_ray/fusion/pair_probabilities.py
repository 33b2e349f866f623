"""The weight of two members for metrics of probabilities, solved as a convex problem."""

import numpy as np

from ig3d_ray.fusion.combine import Space
from ig3d_ray.fusion.stacking import least_log_loss
from ig3d_ray.fusion.va_weights import least_squares


def weight_for_probabilities(
    first_NC: np.ndarray, second_NC: np.ndarray, labels_N: np.ndarray, space: Space, metric: str
) -> float:
    """The weight of the second member with the least log-loss; of a mixture for `brier`, with the least Brier score.

    Of logits it is the best at the best temperature: log-loss is convex in both members' weights of free scale, whose
    sum is one over the temperature. For `ece` and for the Brier score of logits the weight is that of the log-loss too:
    these are not convex, and a fusion with the right log-loss is calibrated.

    Args:
        first_NC: `[N, C]` outputs in the space.
        second_NC: `[N, C]` those of the second member.
        labels_N: `[N]` int.
        space: where they are combined.
        metric: `log_loss`, `brier` or `ece`.
    """
    outputs = np.stack([first_NC, second_NC])
    if space == "probabilities" and metric == "brier":
        truth = np.eye(first_NC.shape[1])[labels_N]
        weights = least_squares(outputs.reshape(2, -1), truth.ravel())
    else:
        weights = least_log_loss(outputs, labels_N, mixture=space == "probabilities")
    # Where neither member is better than knowing nothing, no weight is better than another.
    return float(weights[1] / weights.sum()) if weights.sum() > 0 else 0.5
