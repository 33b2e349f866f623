"""Pools to measure on, made from a seed: members partly right, partly wrong together, each sure in its own way.

Every member's logits are its skill on the sample's class, plus errors that it shares with all members, with its view,
and with its family (members of one architecture or representation), plus its own, plus a bias for some classes; all
times a temperature. Nothing is tuned to anybody's method: the shares below are the only choices.
"""

from dataclasses import dataclass

import numpy as np

SHARED, VIEW, FAMILY, OWN = 0.5, 0.2, 0.15, 0.15
"""Of the variance of a member's errors."""
FAMILY_SIZE = 6


@dataclass(frozen=True)
class Draw:
    """Logits `[M, N, C]` float32, labels `[N]`, and the views of the members."""

    logits: np.ndarray
    labels: np.ndarray
    views: tuple[str, ...]


def draws(members_2d: int, members_3d: int, samples: int, classes: int, seed: int, times: int = 2) -> list[Draw]:
    """The same members on several fresh sets of samples: to fit on, to report on."""
    rng = np.random.default_rng([seed, members_2d, members_3d, classes])
    count = members_2d + members_3d
    prior = rng.dirichlet(np.full(classes, 8.0))
    base = np.where(np.arange(count) < members_2d, 1.7, 1.35)
    skill = base[:, None] * rng.lognormal(0, 0.05, (count, 1)) * rng.lognormal(0, 0.12, (count, classes))
    bias, temperature = 0.2 * rng.standard_normal((count, classes)), rng.lognormal(0, 0.2, count)
    views = np.array([0] * members_2d + [1] * members_3d)
    families = np.arange(count) // FAMILY_SIZE
    return [_draw(rng, samples, prior, skill, bias, temperature, views, families) for _ in range(times)]


def _draw(
    rng: np.random.Generator,
    samples: int,
    prior: np.ndarray,
    skill: np.ndarray,
    bias: np.ndarray,
    temperature: np.ndarray,
    views: np.ndarray,
    families: np.ndarray,
) -> Draw:
    classes = len(prior)
    labels = rng.choice(classes, samples, p=prior)

    def noise() -> np.ndarray:
        return rng.standard_normal((samples, classes), dtype=np.float32)

    shared, of_view = noise(), [noise(), noise()]
    logits = np.empty((len(skill), samples, classes), dtype=np.float32)
    of_family, family = noise(), 0
    for member in range(len(skill)):
        if families[member] != family:
            of_family, family = noise(), families[member]
        errors = VIEW**0.5 * of_view[views[member]] + FAMILY**0.5 * of_family + OWN**0.5 * noise()
        right = np.zeros((samples, classes), dtype=np.float32)
        right[np.arange(samples), labels] = skill[member][labels]
        logits[member] = temperature[member] * (right + SHARED**0.5 * shared + errors + bias[member].astype(np.float32))
    return Draw(logits, labels, tuple("3d" if view else "2d" for view in views))
