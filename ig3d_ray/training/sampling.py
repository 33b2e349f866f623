"""Random draws of an epoch, from (seed, epoch) alone: the samples, their order and the loss weights.

Random draws of a step depend on (seed, epoch, step) alone. So a member that trains alone, on several workers, in a
cohort, or after an interruption at any step draws the same.
"""

from dataclasses import dataclass

import torch

from ig3d_ray.models.recipe import TrainingRecipe
from ig3d_ray.training.losses import inverse_frequencies


@dataclass(frozen=True)
class EpochDraws:
    """One epoch of one member.

    Attributes:
        batches: `[steps, B]` int64 rows of the training data, of all workers together.
        va_draws: `[steps, 3]` float32 in [0, 1), for random alpha, beta, gamma.
    """

    batches: torch.Tensor
    va_draws: torch.Tensor


@dataclass(frozen=True)
class EpochPlan:
    """How a member's epochs are drawn.

    Args:
        recipe: batch size and sampling.
        seed: the member's.
        labels: `[N]` CPU classes of its training samples.
        classes: C.
    """

    recipe: TrainingRecipe
    seed: int
    labels: torch.Tensor
    classes: int

    @property
    def steps(self) -> int:
        """Batches in an epoch; samples that don't fill the last one are left out of this epoch."""
        return max(1, self._rows_per_epoch // self.recipe.batch_size)

    @property
    def _rows_per_epoch(self) -> int:
        if self.recipe.sampling == "min_class":
            counts = torch.bincount(self.labels, minlength=self.classes)
            return int(counts[counts > 0].min() * (counts > 0).sum())
        return len(self.labels)

    def draw(self, number: int) -> EpochDraws:
        """Epoch `number`, counted from 1."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        rows = self._rows(generator)
        size = min(self.recipe.batch_size, len(rows))
        batches = rows[: self.steps * size].reshape(self.steps, size)
        return EpochDraws(batches, torch.rand(self.steps, 3, generator=generator))

    def dropout_seed(self, number: int, step: int, rank: int = 0) -> int:
        """The generator of a step's dropout; each worker has its own."""
        return (((self.seed * 1_000_003 + number) * 1_000_003 + step) * 1_009 + rank) % 2**63

    def image_seed(self, number: int, step: int) -> int:
        """The generator for a step's images and masks, the same on all workers."""
        return self.dropout_seed(number, step, 1_008)

    def _rows(self, generator: torch.Generator) -> torch.Tensor:
        sampling, count = self.recipe.sampling, len(self.labels)
        if sampling == "shuffle":
            return torch.randperm(count, generator=generator)
        if sampling == "inverse_frequency":
            return self._drawn(generator)
        # A selection that is drawn once is the same in every epoch; only its order changes.
        once = torch.Generator().manual_seed(self.seed * 1_000_003)
        rows = self._drawn(once) if sampling == "inverse_frequency_once" else self._balanced(once)
        return rows[torch.randperm(len(rows), generator=generator)]

    def _drawn(self, generator: torch.Generator) -> torch.Tensor:
        """As many rows as the data have, drawn with replacement, each with weight 1 / count of its class."""
        # By the cumulative weights: torch.multinomial accepts no more than 2^24 rows.
        weights = inverse_frequencies(self.labels, self.classes).double()[self.labels]
        edges = weights.cumsum(0)
        places = torch.rand(len(weights), generator=generator, dtype=torch.float64) * edges[-1]
        return torch.searchsorted(edges, places, right=True).clamp(max=len(weights) - 1)

    def _balanced(self, generator: torch.Generator) -> torch.Tensor:
        """As many rows of each class as the smallest has."""
        order = torch.randperm(len(self.labels), generator=generator)
        of_class = [order[self.labels[order] == c] for c in range(self.classes)]
        smallest = min(len(rows) for rows in of_class if len(rows))
        return torch.cat([rows[:smallest] for rows in of_class])


def mask_params(
    params: torch.Tensor, groups: tuple[tuple[str, int], ...], probability: float, uniform: torch.Tensor
) -> torch.Tensor:
    """Mask parameters: in some groups of some samples, a random number of values is set to 0.

    Args:
        params: `[B, D]` standardized.
        groups: (name, size) of the D columns.
        probability: for each group of each sample.
        uniform: `[B, D + 2 G]` draws in [0, 1): the values', then whether and how many per group.

    Source: Ig3D's published code, which masked in validation too; here it happens in training only.
    """
    kept, start, count = torch.ones_like(params, dtype=torch.bool), 0, len(groups)
    for index, (_, size) in enumerate(groups):
        hit = uniform[:, params.shape[1] + index] < probability
        lost = 1 + (uniform[:, params.shape[1] + count + index] * size).long()
        rank = uniform[:, start : start + size].argsort(1).argsort(1)
        kept[:, start : start + size] = ~(hit[:, None] & (rank < lost[:, None]))
        start += size
    return params * kept
