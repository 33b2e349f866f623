"""The site builds, and the commands of its pages work as they are."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from ig3d_ray.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(page.name for page in (ROOT / "docs").glob("*.md"))
# Pages that go on where another one ends: both are run one after the other, the first one only so.
CONTINUES = {"application.md": "getting-started.md"}
# Of a page: text before a block, its language, its content.
BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<kind>\w+)\n(?P<content>.*?)```", re.DOTALL)
SAVE = re.compile(r"[Ss]ave this as `([\w.]+)`:$")


def commands_of(page: str, folder: Path) -> list[str]:
    """The shell commands of a page in their order; the files that it asks to save are written to the folder."""
    commands, text = [], (ROOT / "docs" / page).read_text()
    for block in BLOCK.finditer(text):
        kind, content, file = block["kind"], block["content"], SAVE.search(block["before"])
        if kind == "sh":
            commands += [line for line in content.splitlines() if line.strip()]
        elif kind != "text":
            assert file is not None, f"{page}: what to do with {content[:40]!r}?"
            (folder / file[1]).write_text(content)
    assert text.count("\n```") == 2 * len(BLOCK.findall(text)), f"{page}: a block is not seen by this test"
    return commands


def test_there_are_pages_with_commands(tmp_path: Path) -> None:
    assert {"index.md", "application.md", "getting-started.md", "own-predictions.md", "own-data.md"} <= set(PAGES)
    assert len(commands_of("own-predictions.md", tmp_path)) == 12
    assert {file.name for file in tmp_path.iterdir()} == {"make_predictions.py", "mine.yaml", "fuse.py"}


def shown_commands() -> list[str]:
    """Every `ig3d` command in the README and in blocks that are shown, because they need other people's files."""
    pages = [ROOT / "README.md", *(ROOT / "docs" / page for page in PAGES)]
    blocks = [block for page in pages for block in re.findall(r"```(?:text|sh)\n(.*?)```", page.read_text(), re.DOTALL)]
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    for file in sorted((ROOT / "search_spaces").glob("*.yaml")):
        comments = re.sub(r" \\\n# +", " ", file.read_text())
        lines += [re.split(r"  +", line)[0] for line in re.findall(r"^#   (ig3d .*)", comments, re.MULTILINE)]
    return sorted({line for line in lines if line.startswith("ig3d ") and "..." not in line})


@pytest.mark.parametrize("line", shown_commands())
def test_every_shown_command_has_these_options(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(re.split(r"\|\||&| >", line)[0])[1:]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    if not {"--help", "--version"} & set(words):
        command.make_context(command.name, words)


def test_every_message_in_troubleshooting_is_one_of_the_package() -> None:
    source = "\n".join(path.read_text() for path in sorted((ROOT / "ig3d_ray").rglob("*.py")))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    rows = re.findall(r"^\| `([^`]+)` \| ", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(rows) > 25
    for message in rows:
        # Names, numbers and values vary; the longest part between them does not.
        parts = re.split(
            r"\.\.\.|'[^']*'|\b\d+\b|\brafdb\b|\bFear\b|\bnan\b|\btest\b|\b(?:torchvision|fastapi)\b", message
        )
        longest = max((part.strip(" ;:,()") for part in parts), key=len)
        assert longest in source, message


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page not in CONTINUES.values()])
def test_every_command_of_a_page_works(page: str, tmp_path: Path) -> None:
    commands = [one for part in (CONTINUES.get(page), page) if part for one in commands_of(part, tmp_path)]
    if not commands:
        pytest.skip("no commands on it")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    script = "\n".join(["set -euo pipefail", *commands])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_site_builds_and_nothing_in_it_leads_nowhere(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    reference = (tmp_path / "site" / "reference.html").read_text()
    for word in ("gpus_per_worker", "image_memory_gib", "ig3d extract", "--mlflow", "stochastic_depth"):
        assert word in reference
    for page in (tmp_path / "site").rglob("*.html"):
        outside = re.findall(r'(?:src|href)="(?:https?:)?//([^/"]+)', page.read_text())
        assert set(outside) <= {"www.mkdocs.org", "github.com", "readthedocs.org"}, (page, outside)
        # Opened from the disk, a link to a folder shows its files.
        inside = re.findall(r'(?:src|href)="(?!https?:|//|#|data:)([^"#?]+)', page.read_text())
        gone = [link for link in inside if page.name != "404.html" and not (page.parent / link).is_file()]
        assert gone == [], page
