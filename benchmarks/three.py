"""The exact weights of three members against a grid: python -m benchmarks.three

Both in one run, on the same outputs: 4,000 samples of 8 classes, drawn with errors that the members share in part.
"""

import time

import numpy as np

from ig3d_ray.fusion.three import best_of_three

SAMPLES, CLASSES, SEEDS, STEPS = 4000, 8, 3, 100


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three members' logits `[3, N, C]`, and classes `[N]`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, SAMPLES)
    shared, signal = rng.normal(size=(SAMPLES, CLASSES)), np.eye(CLASSES)[labels]
    members = [(1.2 - 0.2 * m) * signal + 0.6 * shared + rng.normal(size=(SAMPLES, CLASSES)) for m in range(3)]
    return np.stack(members), labels


def on_a_grid(outputs: np.ndarray, labels: np.ndarray) -> float:
    """The best accuracy among weights in steps of 1 / STEPS."""
    best = 0.0
    for first in range(STEPS + 1):
        for second in range(STEPS + 1 - first):
            weights = np.array([first, second, STEPS - first - second]) / STEPS
            fused = np.einsum("m,mnc->nc", weights, outputs)
            best = max(best, float((fused.argmax(axis=1) == labels).mean()))
    return best


def main() -> None:
    for seed in range(SEEDS):
        outputs, labels = drawn(seed)
        started = time.perf_counter()
        found = best_of_three(outputs, labels)
        solved = time.perf_counter() - started
        grid = on_a_grid(outputs, labels)
        tried = time.perf_counter() - started - solved
        print(
            f"seed {seed}: exact {found.right / SAMPLES:.5f} in {solved:.1f} s ({found.triangles} triangles,"
            f" {'proven' if found.proven else 'not proven'}); grid of {(STEPS + 1) * (STEPS + 2) // 2} weights"
            f" {grid:.5f} in {tried:.1f} s"
        )


if __name__ == "__main__":
    main()
