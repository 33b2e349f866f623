"""`python -m benchmarks.real_faces`: trains, analyses, writes the page and its figures."""

import argparse
import time
from pathlib import Path

from benchmarks.real_faces.page import analyse, write
from benchmarks.real_faces.trainings import Study, prepare, train


def main() -> None:
    """Run the study; what is there already is not done again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder with faces.zip, duplicates.zip, ...")
    parser.add_argument("--work", type=Path, default=Path("real-faces"), help="folder for storages and photographs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page")
    parser.add_argument("--seconds", type=float, help="that an earlier, interrupted run took")
    words = parser.parse_args()
    if not (words.source / "faces.zip").exists():
        raise SystemExit(f"{words.source}: no faces.zip; docs/real-faces.md says where the data is to be had")
    study = Study(words.source.resolve(), words.work.resolve(), words.seed, words.seeds)
    study.work.mkdir(parents=True, exist_ok=True)
    anew, started = not any(study.work.iterdir()), time.perf_counter()
    prepare(study)
    train(study)
    numbers, drawn = analyse(study)
    write(numbers, drawn, words.out, study, time.perf_counter() - started if anew else words.seconds)
    print(f"{words.out / 'real-faces.md'}: written after {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
