"""What is sent with a job."""

from pathlib import Path

import pytest

from ig3d_ray.config.load import load_space
from ig3d_ray.errors import Ig3dError
from ig3d_ray.on_ray.job_files import job_folder

SPACE = """
dataset: {declaration}
pool:
  - {{kind: module, factory: "ours_travels.networks:build", image_size: 32}}
  - {{kind: module, factory: "one_file_travels:build", image_size: 32, arguments: {{width: 2}}}}
objective: macro_f1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a search space, a declaration, modules, and what must stay here."""
    for place, text in {
        "spaces/space.yaml": SPACE.format(declaration="sets/mine.yaml"),
        "spaces/sets/mine.yaml": "name: job_files_mine\nclasses: [happy, sad]\n",
        "ours_travels/networks.py": "def build(outputs): ...\n",
        "ours_travels/__pycache__/networks.pyc": "",
        "one_file_travels.py": "def build(outputs, width): ...\n",
        "photographs/1.png": "",
        ".env": "AWS_SECRET_ACCESS_KEY=x",
    }.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_declaration_and_the_modules_of_a_search_space_are_sent(project: Path) -> None:
    file = project / "spaces" / "space.yaml"
    with job_folder(file, load_space(file)) as folder:
        sent = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        own = {place for place in sent if not place.startswith("ig3d_ray")}
        assert own == {"space.yaml", "sets/mine.yaml", "ours_travels/networks.py", "one_file_travels.py"}
        assert "ig3d_ray/on_ray/jobs.py" in sent
        assert load_space(folder / "space.yaml").dataset == "job_files_mine"


def test_a_declaration_elsewhere_is_refused(project: Path) -> None:
    (project / "mine.yaml").write_text("name: job_files_mine\nclasses: [happy, sad]\n")
    file = project / "spaces" / "space.yaml"
    override = ("dataset=../mine.yaml",)
    with (
        pytest.raises(Ig3dError, match=r"mine\.yaml: lies outside .*`ig3d data create` it in the storage"),
        job_folder(file, load_space(file, override), override),
    ):
        pass
