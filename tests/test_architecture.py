"""The rules of the house: who may import whom, who may import Ray and torch, and what stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ig3d_ray"
# A room uses only rooms to its left.
ORDER = [
    *(
        "errors",
        "retries",
        "storage",
        "copies",
        "claims",
        "tables",
        "data",
        "logits",
        "metrics",
        "fusion",
        "members",
        "pool",
        "protocol",
        "bootstrap",
    ),
    *(
        "ensemble",
        "pool_items",
        "space",
        "space_file",
        "candidates",
        "scoring",
        "cost",
        "search",
        "choice",
        "fallbacks",
        "leaderboard",
        "results",
        "export",
        "dashboard",
        "inventory",
        "ahead",
        "schedule",
        "audit",
        "predict",
        "items",
        "predictions",
        "parameters",
        "running",
        "bundle",
        "requests",
        "serving",
        "report",
        "reports",
        "tracking",
        "late_fusion",
        "progress",
        "clusters",
        "on_ray",
        "extracting",
        "trainings",
        "pipeline",
    ),
    *(
        "cli_audit",
        "cli_cluster",
        "cli_data",
        "cli_export",
        "cli_extract",
        "cli_import",
        "cli_jobs",
        "cli_look",
        "cli_predict",
        "cli_report",
        "cli_serve",
        "cli",
        "__main__",
    ),
]
# Files that may import torch, as data flows; everything on_ray/ may import both.
TORCH = {
    "data/augment.py",
    *(f"members/{name}.py" for name in ["mlp3d", "cnn", "ddamfn", "cage", "intermediate", "losses", "build"]),
    *(
        f"members/{name}.py"
        for name in ["epochs", "optimisers", "precision", "inputs", "course", "training", "inference", "run_data"]
    ),
    *(
        f"members/{name}.py"
        for name in [
            "cohort",
            "cohort_network",
            "encoders",
            "encoder_files",
            "extraction",
            "checkpoint",
            "publishing",
            "recognise",
            "published",
        ]
    ),
    "predict.py",
    "running.py",
    "bundle/graph.py",
    "bundle/writing.py",
}
LIGHT = [
    "ig3d_ray.search",
    "ig3d_ray.report.page",
    "ig3d_ray.inventory",
    "ig3d_ray.pipeline",
    "ig3d_ray.members.imported",
]


def sources(package: Path = PACKAGE) -> list[Path]:
    return sorted(package.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: imports are absolute"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "ig3d_ray" else {module}
    return names


def room(module: str) -> str:
    return module.removeprefix("ig3d_ray.").split(".")[0]


def violations(package: Path) -> list[str]:
    found = []
    for path in sources(package):
        relative = path.relative_to(package)
        here = relative.parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        for name in imports_of(path):
            if name.split(".")[0] == "ray" and here != "on_ray":
                found.append(f"{relative} imports {name}; Ray belongs in on_ray/")
            if name.split(".")[0] == "torch" and here != "on_ray" and str(relative) not in TORCH:
                found.append(f"{relative} imports {name}; torch belongs in the marked files")
            if name.startswith("ig3d_ray.") and room(name) in ORDER and ORDER.index(room(name)) > ORDER.index(here):
                found.append(f"{relative} imports {name}; look down only")
    return found


def test_every_file_keeps_the_order_and_the_edges() -> None:
    assert violations(PACKAGE) == []


def test_every_room_has_a_place_in_the_order() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in sources()} - {"__init__"}
    assert rooms == set(ORDER)


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("fusion/strategies.py", "import ray", "Ray belongs in on_ray/"),
        ("logits.py", "from ig3d_ray.search import Candidate", "look down only"),
        ("report/text.py", "import torch", "torch belongs in the marked files"),
        ("protocol.py", "from ray import tune", "Ray belongs in on_ray/"),
        ("data/samples.py", "def f():\n    from ig3d_ray import pipeline", "look down only"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    for path in sources():
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    broken = tmp_path / file
    broken.write_text(broken.read_text() + f"\n{line}\n")
    (found,) = violations(tmp_path)
    assert complaint in found
    assert file in found


def test_no_module_cycle() -> None:
    edges = {}
    for path in sources():
        module = "ig3d_ray." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        edges[module] = imports_of(path)
    done: set[str] = set()

    def visit(module: str, on_the_way: tuple[str, ...]) -> None:
        assert module not in on_the_way, f"cycle: {' -> '.join((*on_the_way, module))}"
        if module in done or module not in edges:
            return
        for target in edges[module]:
            visit(target, (*on_the_way, module))
        done.add(module)

    for module in edges:
        visit(module, ())


def test_a_folder_has_at_least_three_files_and_an_empty_init() -> None:
    for folder in [path for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) >= 3, f"{folder.name} is a module, not a folder"
        assert (folder / "__init__.py").read_text() == ""


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print('loaded:', *{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("loaded:", 1)[1].split())


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['ig3d', '--help']\nfrom ig3d_ray.cli import app\napp(standalone_mode=False)"
    assert not {"ray", "torch", "pandas", "pyarrow", "optuna", "numpy"} & loaded_after(code)


@pytest.mark.parametrize("module", LIGHT)
def test_the_search_side_loads_neither_torch_nor_ray(module: str) -> None:
    assert not {"ray", "torch"} & loaded_after(f"import {module}")
