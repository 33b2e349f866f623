"""Rules that import-linter (`make lint`) does not check: what each command loads, where names of Ray are used."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ig3d_ray"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = CONTRACTS[0]["layers"]
LIGHT = [
    "ig3d_ray.importing.predictions",
    "ig3d_ray.search.explorer",
    "ig3d_ray.search.estimator",
    "ig3d_ray.report.page",
    "ig3d_ray.audit.sources",
    "ig3d_ray.workflow.inventory",
    "ig3d_ray.workflow.pipeline",
]


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print('loaded:', *{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("loaded:", 1)[1].split())


def test_the_root_has_four_modules_and_sixteen_packages() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "errors", "types"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages | {"errors", "types"} == set(LAYERS)
    assert len(packages) == 16


def test_every_package_says_what_it_is_for() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    # As a module, not as the script: that of this environment would check this checkout instead of the copy.
    code = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    words = [sys.executable, "-c", code, "--no-cache"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("fusion/combine.py", "import ray", "ig3d_ray.fusion.combine -> ray"),
        ("evaluation/logits.py", "from ig3d_ray.search.candidates import Candidate", "evaluation.logits -> ig3d_ray"),
        ("report/text.py", "import torch", "ig3d_ray.report.text -> torch"),
        ("data/samples.py", "def f():\n    from ig3d_ray.workflow import pipeline", "data.samples -> ig3d_ray"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "ig3d_ray", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    broken = tmp_path / "ig3d_ray" / file
    broken.write_text(broken.read_text() + f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout
    assert complaint in done.stdout.replace("\n", " ")


def test_no_module_cycle() -> None:
    edges = {}
    for path in sources():
        module = "ig3d_ray." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        edges[module] = {
            f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in edges else node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"cycle: {' -> '.join((*path, module))}"
        if module in done or module not in edges:
            return
        for target in edges[module]:
            visit(target, (*path, module))
        done.add(module)

    for module in edges:
        visit(module, ())


def test_private_names_of_ray_are_used_in_one_file() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                private = name.startswith("ray.") and any(part.startswith("_") for part in name.split("."))
                assert not private or path.name == "compat.py", f"{path} imports {name}"


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['ig3d', '--help']\nfrom ig3d_ray.cli.app import app\napp(standalone_mode=False)"
    assert not {"ray", "torch", "pandas", "pyarrow", "optuna", "numpy"} & loaded_after(code)


@pytest.mark.parametrize("module", LIGHT)
def test_what_needs_no_network_loads_neither_torch_nor_ray(module: str) -> None:
    assert not {"ray", "torch"} & loaded_after(f"import {module}")


def test_every_public_name_is_what_it_says() -> None:
    import ig3d_ray

    for name in ig3d_ray.__all__:
        value = getattr(ig3d_ray, name)
        kind = str if name == "__version__" else type if name[0].isupper() else type(sources)
        assert isinstance(value, kind), f"{name} is a {type(value).__name__}"
