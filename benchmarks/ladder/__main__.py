"""`python -m benchmarks.ladder [--seeds 1 2 3]`: this package and its peers on pools of real models.

Writes `ladder.json`, `ladder.md` and `ladder.svg` beside this folder. Pools are kept in `.ladder/`.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.ladder.ours import ours
from benchmarks.ladder.page import page, write_diagram
from benchmarks.ladder.pools import rungs, stored

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PEERS = ROOT / ".peers" / "bin" / "python"
AT_ONCE = 2
Scores = dict[str, dict[str, float]]
"""Of each method: its seconds, accuracy and log-loss."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, default=ROOT / ".ladder")
    words = parser.parse_args()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()  # noqa: S607
    found: dict[str, Any] = {"commit": commit, "seeds": {}}
    for seed in words.seeds:
        found["seeds"][str(seed)] = measured(seed, words.folder / str(seed))
    (HERE.parent / "ladder.json").write_text(json.dumps(found, indent=1) + "\n")
    write_diagram(found, HERE.parent / "ladder.svg")
    text = page(found)
    (HERE.parent / "ladder.md").write_text(text)
    print(text)


def measured(seed: int, folder: Path) -> dict[str, Scores]:
    """Pool -> what each method has on it."""
    names = [rung.name for rung in rungs()]
    with ProcessPoolExecutor(AT_ONCE) as pool:
        files = list(pool.map(_make, names, [seed] * len(names), [str(folder)] * len(names)))
    print(f"seed {seed}: {len(files)} pools in {folder}", flush=True)
    theirs = _peers(files)
    with ProcessPoolExecutor(AT_ONCE) as pool:
        own = list(pool.map(_ours, names, [seed] * len(names), [str(folder)] * len(names)))
    return {name: scores | theirs[file] for name, file, scores in zip(names, files, own, strict=True)}


def _make(name: str, seed: int, folder: str) -> str:
    warnings.simplefilter("ignore")
    (rung,) = [rung for rung in rungs() if rung.name == name]
    return str(stored(rung, seed, Path(folder))[1])


def _ours(name: str, seed: int, folder: str) -> Scores:
    (rung,) = [rung for rung in rungs() if rung.name == name]
    return ours(stored(rung, seed, Path(folder))[0])


def _peers(files: Sequence[str]) -> dict[str, Scores]:
    """File -> what each peer has on its pool."""
    shares = [files[part::AT_ONCE] for part in range(AT_ONCE)]
    running = [
        subprocess.Popen([str(PEERS), str(HERE / "peers.py"), *share], stdout=subprocess.PIPE, text=True)
        for share in shares
    ]
    found: dict[str, Scores] = {}
    for one in running:
        lines, _ = one.communicate()
        if one.returncode:
            sys.exit(f"peers.py ended with {one.returncode}")
        found |= {row["file"]: row["methods"] for row in map(json.loads, lines.splitlines())}
    return found


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
