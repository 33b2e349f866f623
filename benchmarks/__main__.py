"""`python -m benchmarks [--quick]`: measure, and write results as JSON and as the table in README.md."""

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import growth, many, pairs
from benchmarks.page import page

HERE = Path(__file__).parent


def sections(quick: bool) -> dict[str, Callable[[], Any]]:
    """What is measured, in order; `quick` with less time, fewer seeds and smaller pools."""
    return {
        "pair": lambda: pairs.one_pair(repeats=25 if quick else 201),
        "c": lambda: {str(k): pairs.many_per_second(k) for k in (8, 72)},
        "e": lambda: growth.resamples([4000] if quick else [4000, 40000]),
        "d": lambda: (
            growth.growth([10, 100], [4000, 40000], (100, 40000))
            if quick
            else growth.growth([10, 100, 1000], [4000, 40000, 400000], (1000, 40000))
        ),
        "b": lambda: many.many_members(1, 5, 4000) if quick else many.many_members(5, 20, 12271),
        "a": lambda: pairs.whole_space(seconds=10 if quick else 300),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()  # noqa: S607
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__, "commit": commit}
    found: dict[str, Any] = {"machine": machine, "quick": quick}
    for name, measure in sections(quick).items():
        found[name] = measure()
        print(f"({name}) {json.dumps(found[name])}", flush=True)
    text = page(found)
    print(text)
    if quick:
        print("quick: nothing was written; `make bench` writes results.json and README.md")
        return
    (HERE / "results.json").write_text(json.dumps(found, indent=2) + "\n")
    (HERE / "README.md").write_text(text)


if __name__ == "__main__":
    main()
