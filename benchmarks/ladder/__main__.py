"""`python -m benchmarks.ladder [--seeds 1 2 3] [--faces FOLDER]`: this package and its peers on pools of real models.

Writes `ladder.json`, `ladder.md` and `ladder.svg` beside this folder. Pools are kept in `.ladder/`.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.ladder.ours import ours
from benchmarks.ladder.ours_va import ours_va
from benchmarks.ladder.page import page, write_diagram
from benchmarks.ladder.pools import LadderPool, Rung, rungs, stored
from benchmarks.ladder.va_pools import va_rungs, va_stored

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PEERS = ROOT / ".peers" / "bin" / "python"
AT_ONCE = 2
Scores = dict[str, dict[str, float]]
"""Of each method: its seconds and scores."""
Stored = Callable[[Rung, int, Path], tuple[LadderPool, Path]]
Ours = Callable[[LadderPool], Scores]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, default=ROOT / ".ladder")
    parser.add_argument("--faces", type=Path, help="a folder with FER2013's faces.zip and params_3ddfa.parquet")
    words = parser.parse_args()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()  # noqa: S607
    faces = words.faces if words.faces is not None and words.faces.is_dir() else None
    found: dict[str, Any] = {"commit": commit, "seeds": {}, "va": {}}
    for seed in words.seeds:
        folder = words.folder / str(seed)
        found["seeds"][str(seed)] = measured(rungs(faces), stored, ours, "peers.py", seed, folder)
        found["va"][str(seed)] = measured(va_rungs(), va_stored, ours_va, "peers_va.py", seed, folder)
    (HERE.parent / "ladder.json").write_text(json.dumps(found, indent=1) + "\n")
    write_diagram(found, HERE.parent / "ladder.svg")
    text = page(found)
    (HERE.parent / "ladder.md").write_text(text)
    print(text)


def measured(
    data_sets: Sequence[Rung], stored: Stored, method: Ours, peers: str, seed: int, folder: Path
) -> dict[str, Scores]:
    """Pool -> what each method has on it.

    Args:
        data_sets: of the ladder.
        stored: gives the pool of one of them.
        method: this package's.
        peers: the file that runs the others.
        seed: of the pools.
        folder: where pools are kept.
    """
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(AT_ONCE, context) as pool:
        making = [pool.submit(_quietly, stored, one, seed, folder) for one in data_sets]
        files = [str(one.result()) for one in making]
    print(f"seed {seed}: {len(files)} pools in {folder}", flush=True)
    theirs = _peers(files, peers)
    with ProcessPoolExecutor(AT_ONCE, context) as pool:
        running = [pool.submit(_ours, stored, method, one, seed, folder) for one in data_sets]
        own = [one.result() for one in running]
    return {one.name: scores | theirs[file] for one, file, scores in zip(data_sets, files, own, strict=True)}


def _quietly(stored: Stored, rung: Rung, seed: int, folder: Path) -> Path:
    warnings.simplefilter("ignore")
    return stored(rung, seed, folder)[1]


def _ours(stored: Stored, method: Ours, rung: Rung, seed: int, folder: Path) -> Scores:
    return method(stored(rung, seed, folder)[0])


def _peers(files: Sequence[str], script: str) -> dict[str, Scores]:
    """File -> what each peer has on its pool."""
    shares = [files[part::AT_ONCE] for part in range(AT_ONCE)]
    running = [
        subprocess.Popen([str(PEERS), str(HERE / script), *share], stdout=subprocess.PIPE, text=True)
        for share in shares
    ]
    found: dict[str, Scores] = {}
    for one in running:
        lines, _ = one.communicate()
        if one.returncode:
            sys.exit(f"{script} ended with {one.returncode}")
        found |= {row["file"]: row["methods"] for row in map(json.loads, lines.splitlines())}
    return found


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
