"""The loss of the paper's equation 1, with the concordance correlation that it means.

The published code multiplies variances where the CCC has standard deviations, so that a perfect
prediction scores its own variance; here CCC and PCC come from the covariance.
"""

import torch
from torch.nn import functional

from ig3d_ray.members.spec import LossSpec

SMALLEST_SPREAD = 1e-8


def ccc(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Concordance correlation of each column over the batch: `[B, K]`, `[B, K]` to `[K]`, in [-1, 1].

    Source: Lin 1989: 2 cov / (var_p + var_t + (mean_p - mean_t)^2), population moments.
    """
    p, t = predicted - predicted.mean(0), truth - truth.mean(0)
    apart = predicted.mean(0) - truth.mean(0)
    spread = (p * p).mean(0) + (t * t).mean(0) + apart * apart
    return 2 * (p * t).mean(0) / spread.clamp_min(SMALLEST_SPREAD)


def pcc(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Pearson correlation of each column over the batch: `[B, K]`, `[B, K]` to `[K]`, in [-1, 1]."""
    p, t = predicted - predicted.mean(0), truth - truth.mean(0)
    spread = ((p * p).mean(0) * (t * t).mean(0)).clamp_min(SMALLEST_SPREAD**2)
    return (p * t).mean(0) / spread.sqrt()


def va_terms(predicted: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The valence-arousal part of equation 1.

    Args:
        predicted, truth: `[B, 2]` valence and arousal.
        weights: `[3]` alpha, beta, gamma for MSE, 1 - CCC, 1 - PCC; they are divided by their sum.

    Returns:
        A scalar: MSE is the sum of both dimensions', CCC and PCC are their means.
    """
    mse = ((predicted - truth) ** 2).mean(0).sum()
    terms = torch.stack([mse, 1 - ccc(predicted, truth).mean(), 1 - pcc(predicted, truth).mean()])
    return (weights * terms).sum() / weights.sum().clamp_min(SMALLEST_SPREAD)


def class_weights(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Inverse class frequencies `[C]` with mean 1 over the classes that occur; 0 for those that don't."""
    counts = torch.bincount(labels, minlength=classes).double()
    weights = torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0)
    return (weights * (counts > 0).sum() / weights.sum()).float()


class TrainingLoss:
    """Equation 1 for one member.

    Args:
        spec: which terms, and how weighted.
        labels: `[N]` classes of the training samples, for the class weights.
        classes: C; the network's columns after them are valence and arousal.
        device: where batches lie.
    """

    def __init__(self, spec: LossSpec, labels: torch.Tensor, classes: int, device: torch.device) -> None:
        self.spec, self.classes = spec, classes
        balanced = spec.class_weights == "inverse_frequency"
        self.class_weights = class_weights(labels, classes).to(device) if balanced else None
        self.fixed = torch.tensor([spec.alpha, spec.beta, spec.gamma], device=device)

    def __call__(
        self, scores: torch.Tensor, labels: torch.Tensor, va: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """The loss of one batch.

        Args:
            scores: `[B, C]` or `[B, C + 2]`. labels: `[B]`. va: `[B, 2]`, unused without VA terms.
            generator: CPU generator from which random alpha, beta, gamma are drawn.
        """
        loss = functional.cross_entropy(scores[:, : self.classes], labels, weight=self.class_weights)
        if self.spec.va_terms == "none":
            return loss
        weights = self.fixed
        if self.spec.va_terms == "random":
            weights = torch.rand(3, generator=generator).to(scores.device)
        return loss + va_terms(scores[:, self.classes :], va, weights)
