"""The site builds, and what its pages tell people to do works as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(page.name for page in (ROOT / "docs").glob("*.md"))
# Of a page: text before a block, its language, its content.
BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<kind>\w+)\n(?P<content>.*?)```", re.DOTALL)
SAVE = re.compile(r"[Ss]ave this as `([\w.]+)`:$")


def message(page: str, folder: Path) -> list[str]:
    """The commands of a page in their order; the files that it tells people to save are in the folder."""
    commands, text = [], (ROOT / "docs" / page).read_text()
    for block in BLOCK.finditer(text):
        kind, content, file = block["kind"], block["content"], SAVE.search(block["before"])
        if kind == "sh":
            commands += [line for line in content.splitlines() if line.strip()]
        else:
            assert file is not None, f"{page}: nobody is told what to do with {content[:40]!r}"
            (folder / file[1]).write_text(content)
    assert text.count("\n```") == 2 * len(BLOCK.findall(text)), f"{page}: a block is not seen by this test"
    return commands


def test_there_are_pages_with_commands(tmp_path: Path) -> None:
    assert {"index.md", "logits.md", "faces.md"} <= set(PAGES)
    assert len(message("logits.md", tmp_path)) == 9
    assert {file.name for file in tmp_path.iterdir()} == {"make_predictions.py", "mine.yaml", "fuse.py"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_works(page: str, tmp_path: Path) -> None:
    commands = message(page, tmp_path)
    if not commands:
        pytest.skip("no commands on it")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    script = "\n".join(["set -euo pipefail", *commands])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_site_builds_and_nothing_in_it_leads_nowhere(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    reference = (tmp_path / "site" / "reference" / "index.html").read_text()
    for word in ("gpus_per_worker", "image_memory_gib", "ig3d extract", "--mlflow"):
        assert word in reference
    for page in (tmp_path / "site").rglob("*.html"):
        outside = re.findall(r'(?:src|href)="(?:https?:)?//([^/"]+)', page.read_text())
        assert set(outside) <= {"www.mkdocs.org", "github.com", "readthedocs.org"}, (page, outside)
