"""The paper's losses (equations 1 to 3), with the intended concordance correlation, and DDAMFN's attention loss.

The published code multiplies variances where the CCC has standard deviations, so that a perfect
prediction scores its own variance; here CCC and PCC come from the covariance.

Every function accepts leading axes: a cohort of members `[M, B, ...]` gets one loss per member.
"""

import itertools

import torch
from torch.nn import functional

from ig3d_ray.models.recipe import LossSpec
from ig3d_ray.models.spec import Attention

SMALLEST_SPREAD = 1e-8
ATTENTION_WEIGHT = 0.1
# CAGE's published weights of AffectNet's classes, for eight and for seven.
CAGE_WEIGHTS = {
    8: (0.015605, 0.008709, 0.046078, 0.083078, 0.185434, 0.305953, 0.046934, 0.30821),
    7: (0.022600, 0.012589, 0.066464, 0.120094, 0.265305, 0.444943, 0.068006),
}


def ccc(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Concordance correlation of each column over the batch: `[..., B, K]` twice to `[..., K]`, in [-1, 1].

    Source: Lin 1989: 2 cov / (var_p + var_t + (mean_p - mean_t)^2), population moments.
    """
    p, t = predicted - predicted.mean(-2, keepdim=True), truth - truth.mean(-2, keepdim=True)
    apart = predicted.mean(-2) - truth.mean(-2)
    spread = (p * p).mean(-2) + (t * t).mean(-2) + apart * apart
    return 2 * (p * t).mean(-2) / spread.clamp_min(SMALLEST_SPREAD)


def pcc(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Pearson correlation of each column over the batch: `[..., B, K]` twice to `[..., K]`, in [-1, 1]."""
    p, t = predicted - predicted.mean(-2, keepdim=True), truth - truth.mean(-2, keepdim=True)
    spread = ((p * p).mean(-2) * (t * t).mean(-2)).clamp_min(SMALLEST_SPREAD**2)
    return (p * t).mean(-2) / spread.sqrt()


def va_terms(predicted: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted sum of the valence-arousal terms.

    Args:
        predicted: `[..., B, 2]` valence and arousal.
        truth: their labels, the same shape.
        weights: `[..., 3]` of MSE (the sum of both dimensions'), 1 - CCC and 1 - PCC (their means).

    Returns:
        `[...]`.
    """
    mse = ((predicted - truth) ** 2).mean(-2).sum(-1)
    terms = torch.stack([mse, 1 - ccc(predicted, truth).mean(-1), 1 - pcc(predicted, truth).mean(-1)], dim=-1)
    return (weights * terms).sum(-1)


def va_weights(spec: LossSpec, draws: torch.Tensor) -> torch.Tensor:
    """Weights of the valence-arousal terms for each step of an epoch.

    Args:
        draws: `[steps, 3]` in [0, 1): alpha, beta, gamma where they are random.

    Returns:
        `[steps, 3]` for `va_terms`.
    """
    if spec.va_terms == "random":
        return draws / draws.sum(1, keepdim=True).clamp_min(SMALLEST_SPREAD)
    fixed = torch.tensor([spec.alpha, spec.beta, spec.gamma], dtype=draws.dtype)
    of = {
        "none": torch.zeros_like(fixed),
        "fixed": fixed / fixed.sum().clamp_min(SMALLEST_SPREAD),
        # The mean over both columns is half the sum; the sum of two losses 1 - CCC is twice their mean.
        "mse": torch.tensor([spec.w1 / 2, 0.0, 0.0], dtype=draws.dtype),
        "ccc": torch.tensor([spec.w2, 2.0, 0.0], dtype=draws.dtype),
    }[spec.va_terms]
    return of.expand_as(draws)


def inverse_frequencies(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Inverse class frequencies `[C]` with mean 1 over the classes that occur; 0 for those that don't."""
    counts = torch.bincount(labels, minlength=classes).double()
    weights = torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0)
    return (weights * (counts > 0).sum() / weights.sum()).float()


def class_weights(spec: LossSpec, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """The cross entropy's weights `[C]`: ones, inverse frequencies in `labels`, or CAGE's numbers."""
    if spec.class_weights == "inverse_frequency":
        return inverse_frequencies(labels, classes)
    return torch.tensor(CAGE_WEIGHTS[classes]) if spec.class_weights == "cage" else torch.ones(classes)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean of the samples' cross entropies, as torch weights it.

    Args:
        logits: `[..., B, C]`.
        labels: `[..., B]`.
        weights: `[..., C]` of the classes.

    Returns:
        `[...]`.
    """
    log_probabilities = functional.log_softmax(logits, dim=-1).gather(-1, labels[..., None])[..., 0]
    of_samples = weights.gather(-1, labels)
    return -(of_samples * log_probabilities).sum(-1) / of_samples.sum(-1).clamp_min(SMALLEST_SPREAD)


def member_loss(
    scores: torch.Tensor,
    labels: torch.Tensor,
    va: torch.Tensor,
    classes: int,
    weights_of_classes: torch.Tensor,
    weights_of_va: torch.Tensor,
) -> torch.Tensor:
    """Equations 1, 2 or 3 for a batch, by the weights.

    Args:
        scores: `[..., B, C]`, `[..., B, C + 2]`, or with classes = 0 `[..., B, 2]`.
        labels: `[..., B]`.
        va: `[..., B, 2]`, unused if only classes are scored.
        weights_of_classes: `[..., C]`.
        weights_of_va: `[..., 3]`.

    Returns:
        `[...]`.
    """
    loss = scores.new_zeros(scores.shape[:-2])
    if classes:
        loss = loss + cross_entropy(scores[..., :classes], labels, weights_of_classes)
    if scores.shape[-1] > classes:
        loss = loss + va_terms(scores[..., classes:], va, weights_of_va)
    return loss


def attention_loss(heads: list[torch.Tensor], attention: Attention) -> torch.Tensor:
    """Loss that makes attention maps `[B, ...]` different or similar; 0 for one head.

    `apart`: pairs / (sum over pairs of MSE + eps), DDAMFN's. `together`: mean of the pairs' MSE, which is
    what the published intermediate fusion uses, with the opposite effect.
    """
    pairs = list(itertools.combinations(heads, 2))
    if not pairs or attention == "none":
        return heads[0].new_zeros(())
    total = torch.stack([functional.mse_loss(a.float(), b.float()) for a, b in pairs]).sum()
    if attention == "together":
        return total / len(pairs)
    return len(pairs) / (total + torch.finfo(torch.float64).eps)
