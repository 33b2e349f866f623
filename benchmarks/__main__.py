"""`python -m benchmarks [--quick]`: measure, and write results as JSON and as the table in README.md."""

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import growth, many, pairs
from benchmarks.page import page

HERE = Path(__file__).parent


def run(quick: bool) -> dict[str, Any]:
    """Everything; `quick` with less time, fewer seeds and smaller pools."""
    found: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
        "quick": quick,
        "a": pairs.whole_space(seconds=10 if quick else 300),
        "pair": pairs.one_pair(repeats=25 if quick else 201),
        "c": {str(k): pairs.many_per_second(k) for k in (8, 72)},
        "d": growth.growth([10, 100], [4000, 40000], (100, 40000))
        if quick
        else growth.growth([10, 100, 1000], [4000, 40000, 400000], (1000, 40000)),
        "e": growth.resamples([4000] if quick else [4000, 40000]),
    }
    found["b"] = many.many_members(1, 5, 4000) if quick else many.many_members(5, 60, 12271)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    found = run(quick)
    text = page(found)
    print(text)
    if quick:
        print("quick: nothing was written; `make bench` writes results.json and README.md")
        return
    (HERE / "results.json").write_text(json.dumps(found, indent=2) + "\n")
    (HERE / "README.md").write_text(text)


if __name__ == "__main__":
    main()
