"""`python -m benchmarks.ladder [--seeds 1 2 3] [--faces FOLDER]`: this package and its peers on pools of real models.

Writes `ladder.json`, `ladder.md` and `ladder.svg` beside this folder. Pools are kept in `.ladder/`.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

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


class Kind(NamedTuple):
    """What is predicted."""

    data_sets: Callable[[Path | None], list[Rung]]
    """Given the folder of real faces."""
    stored: Callable[[Rung, int, Path], tuple[LadderPool, Path]]
    """The pool of one of them, a seed and a folder."""
    ours: Callable[[LadderPool], Scores]
    """This package's methods."""
    peers: str
    """The file that runs the others."""


KINDS = {
    "seeds": Kind(rungs, stored, ours, "peers.py"),
    "va": Kind(lambda faces: va_rungs(), va_stored, ours_va, "peers_va.py"),
}


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
        for kind in KINDS:
            found[kind][str(seed)] = measured(kind, faces, seed, words.folder / str(seed))
    (HERE.parent / "ladder.json").write_text(json.dumps(found, indent=1) + "\n")
    write_diagram(found, HERE.parent / "ladder.svg")
    text = page(found)
    (HERE.parent / "ladder.md").write_text(text)
    print(text)


def measured(kind: str, faces: Path | None, seed: int, folder: Path) -> dict[str, Scores]:
    """Pool -> what each method has on it.

    Args:
        kind: of `KINDS`.
        faces: the folder of real faces, if they are at hand.
        seed: of the pools.
        folder: where pools are kept.
    """
    # By name, since a data set cannot be sent to another process.
    names = [one.name for one in KINDS[kind].data_sets(faces)]
    with ProcessPoolExecutor(AT_ONCE) as pool:
        making = [pool.submit(_made, kind, faces, name, seed, folder) for name in names]
        files = [one.result() for one in making]
    print(f"seed {seed}: {len(files)} pools in {folder}", flush=True)
    theirs = _peers(files, KINDS[kind].peers)
    with ProcessPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(_ours, kind, faces, name, seed, folder) for name in names]
        own = [one.result() for one in running]
    return {name: scores | theirs[file] for name, file, scores in zip(names, files, own, strict=True)}


def _pool(kind: str, faces: Path | None, name: str, seed: int, folder: Path) -> tuple[LadderPool, Path]:
    (rung,) = [rung for rung in KINDS[kind].data_sets(faces) if rung.name == name]
    return KINDS[kind].stored(rung, seed, folder)


def _made(kind: str, faces: Path | None, name: str, seed: int, folder: Path) -> str:
    warnings.simplefilter("ignore")
    return str(_pool(kind, faces, name, seed, folder)[1])


def _ours(kind: str, faces: Path | None, name: str, seed: int, folder: Path) -> Scores:
    return KINDS[kind].ours(_pool(kind, faces, name, seed, folder)[0])


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
