"""What the rows of a leaderboard are compared with: exactly the member that is named."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.report.sentences import about_columns, over_2d, verdict
from ig3d_ray.report.text import render
from ig3d_ray.search.arrays import pool_of_arrays
from ig3d_ray.search.estimator import LateFusion
from ig3d_ray.search.leaderboard import Leaderboard

CLASSES = 5
SPACE = SearchSpace.model_validate(
    {
        "dataset": "faces",
        "objective": "accuracy",
        "pool": [{"kind": "imported", "name": f"m{i}", "view": "2d"} for i in range(8)],
        "protocol": {"kind": "cross_fitted"},
    }
)


def similar_members(seed: int, samples: int = 300, members: int = 8) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scores of members with one common signal and noise of their own, and the classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, samples)
    common = 1.2 * np.eye(CLASSES)[labels] + rng.standard_normal((samples, CLASSES))
    return {f"m{i}": common + 0.7 * rng.standard_normal((samples, CLASSES)) for i in range(members)}, labels


@pytest.fixture(scope="module", params=[0, 1])
def fitted(request: pytest.FixtureRequest) -> tuple[LateFusion, dict[str, np.ndarray], np.ndarray]:
    scores, labels = similar_members(request.param)
    return LateFusion("accuracy", budget=20, seed=request.param).fit(scores, labels), scores, labels


def test_the_best_single_member_is_one_member_and_the_best_of_them(
    fitted: tuple[LateFusion, dict[str, np.ndarray], np.ndarray],
) -> None:
    fusion, scores, labels = fitted
    alone = {name: accuracy_score(labels, values.argmax(axis=1)) for name, values in scores.items()}
    best = fusion.board_.best_single
    assert alone[best.result.members[0]] == max(alone.values())
    # Its report score is its own on all samples, not that of a rule that chooses anew in each fold.
    assert best.scores.report.metrics["accuracy"].value == pytest.approx(max(alone.values()))
    assert best.scores.selection.metrics["accuracy"].value == pytest.approx(max(alone.values()))


def test_every_gain_is_the_difference_to_the_named_row(
    fitted: tuple[LateFusion, dict[str, np.ndarray], np.ndarray],
) -> None:
    board = fitted[0].board_
    own = board.best_single.scores.report.metrics["accuracy"].value
    for row in board.rows:
        assert row.gain.value == pytest.approx(row.scores.report.metrics["accuracy"].value - own, abs=1e-8), row.label
        paired = board.bootstrap.gain(row.statistics, board.best_single.statistics, "accuracy")
        assert (row.gain.low, row.gain.high) == (paired.low, paired.high)
    assert board.best_single.gain.value == board.best_single.gain.low == board.best_single.gain.high == 0


def test_the_rule_that_takes_what_looks_best_has_a_row_of_its_own(
    fitted: tuple[LateFusion, dict[str, np.ndarray], np.ndarray],
) -> None:
    board = fitted[0].board_
    (rule,) = [row for row in board.rows if row.label == "always the member that looks best"]
    # Its number is that of the members it takes in the folds, so it lies between the worst and the best of them.
    alone = [row.scores.report.metrics["accuracy"].value for row in board.rows if row.group == "single"]
    assert min(alone) - 0.1 < rule.scores.report.metrics["accuracy"].value < max(alone) + 0.1
    assert rule.gain.value == pytest.approx(rule.scores.report.metrics["accuracy"].value - max(alone), abs=1e-8)
    # The members and weights of the row itself, on the samples that chose them: the number of that very member.
    same = next(row for row in board.rows if row.group == "single" and row.result.members == rule.result.members)
    assert rule.scores.selection.metrics == same.scores.selection.metrics


def test_each_group_has_the_best_on_the_report_set_first(
    fitted: tuple[LateFusion, dict[str, np.ndarray], np.ndarray],
) -> None:
    board = fitted[0].board_
    for group in ("single", "family"):
        scores = [row.scores.report.metrics["accuracy"].value for row in board.rows if row.group == group]
        assert scores == sorted(scores, reverse=True)
    assert board.rows[-1] is board.chosen


def text_of(fusion: LateFusion) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(render(SPACE, fusion.board_, 200))
    return capture.get()


def test_table_sentence_and_json_say_the_same(fitted: tuple[LateFusion, dict[str, np.ndarray], np.ndarray]) -> None:
    fusion, _, _ = fitted
    board: Leaderboard = fusion.board_
    text, gain = text_of(fusion), board.chosen.gain
    line = next(line for line in text.splitlines() if line.strip().startswith("chosen ensemble"))
    assert f"{gain.value:+.4f}" in line
    message = verdict(SPACE, board)
    if len(board.chosen.result.members) > 1:
        name = board.best_single.result.members[0]
        assert f"than {name}, the best single member on test" in message
        assert f"{abs(gain.value):.4f}" in message
    assert fusion.gain_ == gain
    if gain.low <= 0:
        assert not message.startswith("The gain is real")
    explained = about_columns(SPACE, board)
    assert f"{board.chosen.scores.selection.metrics['accuracy'].value:.4f} for the exported ensemble" in explained
    assert over_2d(SPACE, board) == ""


def test_a_3d_member_that_is_best_is_named_and_the_gain_over_the_best_2d_member_is_said_beside_it() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, CLASSES, 400)
    scores = {
        name: strength * np.eye(CLASSES)[labels] + rng.standard_normal((400, CLASSES))
        for name, strength in (("weak", 0.8), ("weaker", 0.5), ("faces3d", 1.6))
    }
    pool = replace(pool_of_arrays(scores, labels), views=("2d", "2d", "3d"))
    fusion = LateFusion("accuracy", budget=10).fit(pool)
    board = fusion.board_
    assert board.best_single.result.members == ("faces3d",)
    assert "than faces3d, the best single member" in verdict(SPACE, board)
    beside = over_2d(SPACE, board)
    row = next(row for row in board.rows if row.group == "single" and row.result.members == ("weak",))
    chosen = board.chosen.scores.report.metrics["accuracy"].value
    assert "weak" in beside
    assert f"{chosen - row.scores.report.metrics['accuracy'].value:+.4f}" in beside
