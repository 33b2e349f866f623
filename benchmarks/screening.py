"""10,000 members of 40,000 x 8 in half precision on disk: screened, and what is kept is stacked.

`python -m benchmarks.screening` writes benchmarks/screening.md; about ten minutes, and 6.4 GB in a temporary folder.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ig3d_ray.fusion.stacking import stack_logits
from ig3d_ray.search.screening import screen

PAGE = Path(__file__).with_name("screening.md")
SAMPLES, CLASSES, FRESH, FAMILY = 40_000, 8, 20_000, 50
GIB = 2**20
"""Of what Linux says of a process, which is in KiB."""


class Members(Sequence[np.ndarray]):
    """Members in a file, `[N, C]` float16 each, read when they are asked for."""

    def __init__(self, file: Path, count: int) -> None:
        self.file, self.count, self.size = file, count, SAMPLES * CLASSES

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, member: int) -> np.ndarray:  # type: ignore[override]
        return np.fromfile(self.file, np.float16, self.size, offset=2 * self.size * member).reshape(SAMPLES, CLASSES)


def drawn(count: int) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Classes `[N + fresh]`, and the logits `[N + fresh, C]` of each member: those of one family are about as good as
    each other, and their errors are alike."""
    rng = np.random.default_rng(0)
    whole = (SAMPLES + FRESH, CLASSES)
    labels, shared = rng.integers(0, CLASSES, whole[0]), rng.standard_normal(whole, dtype=np.float32)
    truth = np.eye(CLASSES, dtype=np.float32)[labels]

    def members() -> Iterator[np.ndarray]:
        of_family, skill = shared, 0.0
        for member in range(count):
            own = np.random.default_rng([1, member])
            if member % FAMILY == 0:
                of_family, skill = own.standard_normal(whole, dtype=np.float32), 0.4 + 0.3 * float(own.beta(2, 3))
            noise = 0.7 * shared + 0.5 * of_family + 0.5 * own.standard_normal(whole, dtype=np.float32)
            yield float(own.lognormal(0, 0.4)) * (skill * float(own.lognormal(0, 0.1)) * truth + noise)

    return labels, members()


def accuracy(weights: np.ndarray, outputs: np.ndarray, labels: np.ndarray) -> float:
    """Of weighted members on fresh samples."""
    return float((np.tensordot(weights, outputs, 1).argmax(axis=1) == labels).mean())


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=10_000)
    parser.add_argument("--keep", type=int, default=200)
    words = parser.parse_args()
    labels, made = drawn(words.members)
    with tempfile.TemporaryDirectory() as folder:
        file, others = Path(folder) / "pool.f16", Path(folder) / "fresh.f16"
        with file.open("wb") as out, others.open("wb") as rest:
            for member in made:
                member[:SAMPLES].astype(np.float16).tofile(out)
                member[SAMPLES:].astype(np.float16).tofile(rest)
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pool = Members(file, words.members)
        kept = screen(pool, labels[:SAMPLES], words.keep)
        screened = time.perf_counter() - started
        lines = []
        rng = np.random.default_rng(0)
        alone = np.array([(pool[m][kept.rows].argmax(axis=1) == labels[kept.rows]).mean() for m in range(len(pool))])
        choices = {
            f"the {words.keep} that are kept": kept.members,
            f"the {words.keep} of the highest accuracy": np.sort(np.argsort(-alone)[: words.keep]),
            f"{words.keep} at random": np.sort(rng.permutation(words.members)[: words.keep]),
            "the best single member": np.array([int(alone.argmax())]),
        }
        size = FRESH * CLASSES
        for name, members in choices.items():
            begun = time.perf_counter()
            outputs = np.stack([pool[m][kept.rows].astype(np.float32) for m in members])
            weights = np.ones(1) if len(members) == 1 else stack_logits(outputs, labels[kept.rows]).weights
            took = time.perf_counter() - begun
            new = [np.fromfile(others, np.float16, size, offset=2 * size * m) for m in members]
            found = accuracy(weights, np.stack(new).reshape(-1, FRESH, CLASSES).astype(np.float32), labels[SAMPLES:])
            lines.append(f"| stack of {name} | {found:.4f} | {took:.0f} s |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = PAGE_TEXT.format(
        members=words.members, keep=words.keep, screened=screened, peak=peak / GIB, before=before / GIB,
        gib=words.members * SAMPLES * CLASSES * 2 / 2**30, table="\n".join(lines), used=SAMPLES - len(kept.rows),
    )  # fmt: skip
    PAGE.write_text(text)
    print(text)


PAGE_TEXT = """# Screening of very many members

Written by `python -m benchmarks.screening`: {members:,} drawn members of 40,000 samples and 8 classes in half precision
on disk ({gib:.1f} GiB), in families of 50 that are about as good as each other and whose errors are alike.
`ig3d_ray.screen` uses {used:,} of the samples and keeps {keep}; their stack is fitted on the other samples and
scored on 20,000 fresh ones.

| | accuracy on fresh samples | reading and stacking |
|---|---|---|
{table}

Screening took {screened:.0f} s; the process had {peak:.1f} GiB in memory at its peak, {before:.1f} GiB of it before.
"""


if __name__ == "__main__":
    main()
