"""What needs no network runs in an environment without torch and without Ray."""

import os
import site
import subprocess
import venv
from pathlib import Path

import numpy as np
import pytest

ABSENT = ("torch", "ray", "functorch", "torchgen", "torchvision", "timm", "nvidia", "triton")
SPACE = """
dataset: rafdb
objective: accuracy
pool: [{kind: imported, name: image, view: 2d}, {kind: imported, name: face3d, view: 3d}]
protocol: {kind: cross_fitted}
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with this one's packages but for torch, Ray and what belongs to them."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False)
    (packages,) = home.glob("lib/python*/site-packages")
    for folder in site.getsitepackages():
        for package in Path(folder).iterdir():
            name = package.name.lower()
            absent = any(name == one or name.startswith((f"{one}-", f"{one}.", f"{one}_")) for one in ABSENT)
            if not absent and not (packages / package.name).exists():
                (packages / package.name).symlink_to(package)
    return home / "bin" / "python"


def run(python: Path, folder: Path, *words: str, code: int = 0) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run([str(python), *words], cwd=folder, env=clean, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_import_search_report_audit_and_predict_need_neither_torch_nor_ray(bare: Path, tmp_path: Path) -> None:
    for name in ("torch", "ray"):
        assert "None" in run(bare, tmp_path, "-c", f"import importlib.util as u; print(u.find_spec({name!r}))")
    (tmp_path / "mine.yaml").write_text(SPACE)
    rng = np.random.default_rng(0)
    for name in ("image", "face3d"):
        lines = ["sample_id," + ",".join(f"logit_{c}" for c in range(7)) + ",label"]
        for sample, row in enumerate(rng.standard_normal((210, 7))):
            row[sample % 7] += 2
            lines.append(f"s{sample}," + ",".join(f"{value:.4f}" for value in row) + f",{sample % 7}")
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    ig3d = ("-m", "ig3d_ray")
    for name, view in (("image", "2d"), ("face3d", "3d")):
        words = ("import", "predictions", f"{name}.csv", "--dataset", "rafdb", "--member", name, "--view", view)
        run(bare, tmp_path, *ig3d, *words, "--storage", "runs")
    found = run(bare, tmp_path, *ig3d, "search", "mine.yaml", "--storage", "runs")
    spec = found.strip().splitlines()[-1].removeprefix("spec: ")
    assert "Chosen: " in found
    run(bare, tmp_path, *ig3d, "report", str(Path(spec).parent), "--figures", "figures")
    run(bare, tmp_path, *ig3d, "audit", "store", "--storage", "runs", "--dataset", "rafdb", code=0)
    assert "210 samples of rafdb test" in run(bare, tmp_path, *ig3d, "predict", spec, "--out", "test.csv")
    assert "image (2d" in run(bare, tmp_path, *ig3d, "show", spec)
