"""Tables for papers: the leaderboard's numbers, bold where nothing better is shown, in three formats."""

import csv
import dataclasses
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.report.findings import Findings
from ig3d_ray.report.paper_rows import as_csv, as_latex, as_markdown, paper_rows
from ig3d_ray.report.sentences import verdict
from ig3d_ray.search.estimator import LateFusion

SPACE = SearchSpace.model_validate(
    {
        "dataset": "faces",
        "objective": "accuracy",
        "pool": [{"kind": "imported", "name": name, "view": "2d"} for name in ("good", "weaker", "poor")],
        "protocol": {"kind": "cross_fitted"},
    }
)


@pytest.fixture(scope="module")
def findings() -> Findings:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)
    strengths = (1.5, 1.2, 0.4)
    scores = {
        spec.name: s * np.eye(5)[labels] + rng.standard_normal((400, 5))
        for spec, s in zip(SPACE.pool, strengths, strict=True)
    }
    fusion = LateFusion("accuracy", budget=10).fit(scores, labels)
    # Labels of references and families may hold any character.
    named = {"good": "good_&_50%", "weaker": "weak|er"}
    rows = tuple(dataclasses.replace(row, label=named.get(row.label, row.label)) for row in fusion.board_.rows)
    board = dataclasses.replace(fusion.board_, rows=rows)
    return Findings(SPACE, None, board, None, [])  # type: ignore[arg-type]


def test_the_numbers_are_the_leaderboards_and_bold_is_what_the_best_does_not_beat(findings: Findings) -> None:
    table = paper_rows(findings)
    board = findings.board
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [row["row"] for row in rows] == [row.label for row in board.rows]
    best = max(board.rows, key=lambda row: row.scores.report.metrics["macro_f1"].value)
    for line, row in zip(rows, board.rows, strict=True):
        score = row.scores.report.metrics["macro_f1"]
        assert [float(line[f"macro_f1{part}"]) for part in ("", "_low", "_high")] == [
            score.value,
            score.low,
            score.high,
        ]
        assert float(line["gain"]) == row.gain.value
        assert int(line["macro_f1_bold"]) == (
            board.bootstrap.gain(best.statistics, row.statistics, "macro_f1").low <= 0
        )
    bold = {line["row"]: line["macro_f1_bold"] for line in rows}
    assert bold["poor"] == "0"
    assert bold[best.label] == "1"


def test_rows_and_columns_are_chosen_by_group_label_and_metric(findings: Findings) -> None:
    table = paper_rows(findings, ["chosen", "weak*"], ["balanced_accuracy", "gain"])
    assert [label for label, _ in table.rows] == ["weak|er", "chosen ensemble"]
    assert table.columns == ("balanced_accuracy", "gain")
    assert "n = 400 samples of test" in table.caption
    assert "over good, paired" in table.caption
    with pytest.raises(Ig3dError, match=r"--rows nobody: no such row; there are groups .* poor"):
        paper_rows(findings, ["nobody"])
    with pytest.raises(Ig3dError, match="--columns speed: there are gain, accuracy, balanced_accuracy"):
        paper_rows(findings, [], ["speed"])


def test_markdown_has_as_many_cells_in_each_line(findings: Findings) -> None:
    table, caption = as_markdown(paper_rows(findings)).split("\n\n")
    lines = table.splitlines()
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {len(paper_rows(findings).columns) + 3}
    assert "| weak\\|er |" in table
    assert "**" in table
    assert caption.endswith("paired 95 % interval.\n")


def test_latex_is_escaped_and_compiles(findings: Findings, tmp_path: Path) -> None:
    text = as_latex(paper_rows(findings))
    assert r"good\_\&\_50\%" in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body if line} == {len(paper_rows(findings).columns)}
    assert text.count("{") == text.count("}")
    latex = shutil.which("pdflatex")
    if latex is None:
        return
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{text}\end{{document}}"
    (tmp_path / "t.tex").write_text(document)
    words = [latex, "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(
    ("low", "high", "rope", "answer"),
    [
        (-0.004, 0.003, 0.005, "Practically the same, within 0.005"),
        (0.001, 0.004, 0.005, "Practically the same, within 0.005"),
        (0.001, 0.02, 0.005, "The gain is real"),
        (-0.02, 0.02, 0.005, "No gain can be claimed"),
        (-0.02, -0.006, 0.005, "The ensemble is worse"),
        (-0.02, 0.02, 0.03, "Practically the same, within 0.03"),
        (0.001, 0.004, 0.0, "The gain is real"),
    ],
)
def test_a_gain_within_the_region_is_practically_the_same(
    findings: Findings, low: float, high: float, rope: float, answer: str
) -> None:
    gain = Interval(value=(low + high) / 2, low=low, high=high)
    content = SPACE.model_dump(mode="json") | {"objective": "macro_f1"}
    content["protocol"]["rope"] = rope
    space = SearchSpace.model_validate(content)
    result = dataclasses.replace(findings.board.chosen.result, members=("a", "b"))
    chosen = dataclasses.replace(findings.board.chosen, gain=gain, result=result)
    assert verdict(space, dataclasses.replace(findings.board, chosen=chosen)).startswith(answer)


def test_the_usual_region_leaves_a_searchs_folder_as_it_is() -> None:
    wide = SearchSpace.model_validate(
        SPACE.model_dump(mode="json") | {"protocol": {"kind": "cross_fitted", "rope": 0.02}}
    )
    assert wide.hash != SPACE.hash
    assert "rope" in EnsembleSpec.model_json_schema()["$defs"]["ProtocolSpec"]["properties"]
