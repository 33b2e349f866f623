"""What a reader takes: at most twice the file's size and a constant, for the text formats and NumPy's."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ig3d_ray.data.representations import groups_of

CONSTANT_MIB = 32
ROWS = 80_000
READ = """
import sys
from pathlib import Path
from ig3d_ray.data import datasets
from ig3d_ray.data.ingest.features import read_parameters
from ig3d_ray.data.ingest.sheets import read_sheet
from ig3d_ray.importing.reading import Reading
from ig3d_ray.importing.tables import read_predictions

def status(key):
    return int(next(one for one in open("/proc/self/status") if one.startswith(key)).split()[1]) / 1024

READERS = {
    "predictions": lambda file: read_predictions(file, datasets.dataset("affectnet8"), Reading()),
    "parameters": lambda file: read_parameters(file, "emoca", None),
    "pixels": lambda file: read_sheet(file, None, datasets.dataset("fer2013")),
}
for kind, small, large in (line.split() for line in sys.stdin):
    READERS[kind](Path(small))
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    READERS[kind](Path(large))
    print(large, status("VmHWM") - before, flush=True)
"""


def table(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 8)), columns=[f"logit_{c}" for c in range(8)])
    return frame.assign(sample_id=[f"val/face_{row:07d}.jpg" for row in range(rows)], label=rng.integers(0, 8, rows))


def write(frame: pd.DataFrame, file: Path) -> None:
    match file.name.split("_")[-1]:
        case "t.csv":
            frame.to_csv(file, index=False)
        case "comma.csv":
            frame.to_csv(file, index=False, sep=";", decimal=",")
        case "r.json":
            frame.to_json(file, orient="records", double_precision=15)
        case "t.jsonl":
            frame.to_json(file, orient="records", lines=True, double_precision=15)
        case "columns.json":
            file.write_text(json.dumps(frame.to_dict("list")))
        case "byid.json":
            file.write_text(json.dumps(frame.set_index("sample_id").to_dict("index")))
        case "t.npz":
            names = [f"logit_{c}" for c in range(8)]
            np.savez(file, sample_id=frame.sample_id.to_numpy(str), logits=frame[names], label=frame.label)


def parameters(rows: int) -> pd.DataFrame:
    names = [f"{group}_{i}" for group, width in groups_of("emoca") for i in range(width)]
    values = np.random.default_rng(0).normal(size=(rows, len(names))).astype(np.float32)
    return pd.DataFrame(values, columns=names, index=pd.Index([f"{i:07d}" for i in range(rows)], name="sample_id"))


def pixels(rows: int) -> pd.DataFrame:
    values = np.random.default_rng(0).integers(0, 256, (rows, 48 * 48))
    return pd.DataFrame({"emotion": np.arange(rows) % 7, "pixels": [" ".join(map(str, row)) for row in values]})


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's record of a process's memory")
def test_readers_take_at_most_twice_the_files_size(tmp_path: Path) -> None:
    lines = []
    for name in ("t.csv", "comma.csv", "r.json", "t.jsonl", "columns.json", "byid.json", "t.npz"):
        for rows, size in ((100, "small"), (ROWS, "large")):
            write(table(rows), tmp_path / f"{size}_{name}")
        lines.append(f"predictions {tmp_path / f'small_{name}'} {tmp_path / f'large_{name}'}")
    for rows, size in ((50, "small"), (10_000, "large")):
        parameters(rows).to_csv(tmp_path / f"{size}_parameters.csv")
        parameters(rows).to_parquet(tmp_path / f"{size}_parameters.parquet", compression=None)
        pixels(rows // 4).to_csv(tmp_path / f"{size}_pixels.csv", index=False)
    for name in ("parameters.csv", "parameters.parquet", "pixels.csv"):
        lines.append(f"{name.split('.')[0]} {tmp_path / f'small_{name}'} {tmp_path / f'large_{name}'}")
    done = subprocess.run([sys.executable, "-c", READ], input="\n".join(lines), capture_output=True, text=True)
    assert not done.returncode, done.stderr
    taken = {Path(file): float(mib) for file, mib in map(str.split, done.stdout.splitlines())}
    assert len(taken) == len(lines)
    for file, mib in taken.items():
        assert mib <= 2 * file.stat().st_size / 2**20 + CONSTANT_MIB, f"{file.name}: {mib:.0f} MiB\n{done.stdout}"
