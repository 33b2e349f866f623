"""Installs a built wheel in an environment of its own and searches two files of predictions with it.

python scripts/try_wheel.py DIST
"""

import csv
import random
import subprocess
import sys
import tempfile
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
SPACE = """
dataset: rafdb
objective: accuracy
pool: [{kind: imported, name: image, view: 2d}, {kind: imported, name: face3d, view: 3d}]
protocol: {kind: cross_fitted}
"""


def write_predictions(file: Path, skill: float, seed: int) -> None:
    """Predictions of one model for 300 samples of seven classes."""
    draw = random.Random(seed)
    with file.open("w", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(["sample_id", *(f"logit_{c}" for c in range(7)), "label"])
        for sample in range(300):
            label = sample % 7
            rows.writerow([f"s{sample}", *(round(skill * (c == label) + draw.gauss(0, 1), 4) for c in range(7)), label])


def main() -> None:
    """Build the environment, run three commands, and fail with the first that fails."""
    (wheel,) = Path(sys.argv[1]).resolve().glob("*.whl")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, wheel]
        subprocess.run(install, check=True)
        (folder / "mine.yaml").write_text(SPACE)
        for name, view, skill in (("image", "2d", 2.0), ("face3d", "3d", 1.5)):
            write_predictions(folder / f"{name}.csv", skill, seed=len(name))
            words = ["import", "predictions", f"{name}.csv", "--dataset", "rafdb", "--member", name, "--view", view]
            subprocess.run([python, "-m", "ig3d_ray", *words, "--storage", "runs"], cwd=folder, check=True)
        subprocess.run([python, "-m", "ig3d_ray", "search", "mine.yaml", "--storage", "runs"], cwd=folder, check=True)
        (spec,) = folder.glob("runs/searches/rafdb/*/best_ensemble.json")
        print(f"{wheel.name}: installed, searched, exported {spec.name}")


if __name__ == "__main__":
    main()
