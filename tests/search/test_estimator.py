"""LateFusion on plain arrays, and as scikit-learn's tools expect an estimator."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks

from ig3d_ray import LateFusion
from ig3d_ray.errors import Ig3dError

ROWS, CLASSES = 120, 4


@pytest.fixture(scope="module")
def drawn() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two members that know different classes, and one that knows nothing."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, ROWS)
    scores = {name: rng.normal(size=(ROWS, CLASSES)) for name in ("early", "late", "nothing")}
    for name, known in (("early", truth < 2), ("late", truth >= 2)):
        scores[name][np.flatnonzero(known), truth[known]] += 3
    return scores, truth


def test_arrays_are_fitted_and_predicted(drawn: tuple[dict[str, np.ndarray], np.ndarray]) -> None:
    scores, truth = drawn
    fusion = LateFusion(budget=5).fit(scores, truth)
    assert {"early", "late"} <= set(fusion.members_)
    assert fusion.gain_.low > 0
    predicted = fusion.predict(scores)
    assert predicted.shape == (ROWS,)
    assert fusion.score(scores, truth) == pytest.approx((predicted == truth).mean())
    assert fusion.predict_proba(scores).sum(axis=1) == pytest.approx(np.ones(ROWS))
    # The same by other forms; their members are numbered.
    for form in (list(scores.values()), np.stack(list(scores.values()))):
        again = LateFusion(budget=5).fit(form, truth)
        assert (again.predict(form) == predicted).all()
        assert set(again.members_) <= {"m0", "m1", "m2"}
    # In whatever order the rows are.
    order = np.random.default_rng(1).permutation(ROWS)
    shuffled = {name: values[order] for name, values in scores.items()}
    assert (fusion.predict(shuffled) == predicted[order]).all()


def test_members_that_know_nothing_score_what_chance_does() -> None:
    """The score is of choices that did not see the samples: they fit these members, and predict nothing."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, ROWS)
    scores = {f"m{number}": rng.normal(size=(ROWS, CLASSES)) for number in range(12)}
    fusion = LateFusion(budget=20).fit(scores, truth)
    assert fusion.score_.low < 1 / CLASSES < fusion.score_.high
    assert fusion.score(scores, truth) > fusion.score_.value + 0.03


def test_the_leaderboard_is_a_table(drawn: tuple[dict[str, np.ndarray], np.ndarray]) -> None:
    fusion = LateFusion(budget=5).fit(*drawn)
    board = fusion.leaderboard_
    assert isinstance(board, pd.DataFrame)
    assert list(board) == ["label", "group", "selection", "report", "low", "high", "chosen"]
    assert board["report"].is_monotonic_decreasing
    (chosen,) = board[board["chosen"]].to_dict("records")
    assert chosen["report"] == fusion.score_.value
    singles = board[board["group"] == "single"]
    assert len(singles) == 3


def test_it_is_cloned_and_its_parameters_are_read_and_set() -> None:
    fusion = LateFusion("macro_f1", max_members=2, seed=3)
    assert fusion.get_params() == {"objective": "macro_f1", "max_members": 2, "budget": None, "seed": 3}
    copy = clone(fusion)
    assert copy is not fusion
    assert copy.get_params() == fusion.get_params()
    assert copy.set_params(seed=4) is copy
    assert (copy.seed, fusion.seed) == (4, 3)
    with pytest.raises(ValueError, match="Invalid parameter 'colour'"):
        copy.set_params(colour=1)
    assert repr(LateFusion()) == "LateFusion()"
    assert repr(fusion) == "LateFusion(objective='macro_f1', max_members=2, seed=3)"


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_estimator_repr,
    ],
)
def test_scikit_learns_checks_that_apply(check: object) -> None:
    check("LateFusion", LateFusion())  # type: ignore[operator]


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        ({"a": np.zeros((3, 2)), "b": np.zeros((2, 2))}, [0, 1, 0], r"b: an array \(2, 2\), and a is \(3, 2\)"),
        ({"a": np.zeros(3)}, [0, 1, 0], r"a: an array \(3,\); give \[N, C\]"),
        ({"a": np.full((3, 2), np.nan)}, [0, 1, 0], "a: row 0 is not finite"),
        ({"a": np.zeros((3, 2))}, [0, 1], "give 3 class numbers"),
        ({"a": np.zeros((3, 2))}, [0, 1, 2], "labels: from 0 to 2, but there are classes 0 to 1"),
        ({"a": np.zeros((3, 2))}, [0.0, 1.0, 1.0], "of float64; give 3 class numbers"),
        ({}, [], "no members; give a mapping"),
        ({"a": np.zeros((3, 2))}, None, "give the classes of the rows as y"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(outputs: dict, labels: list | None, message: str) -> None:
    with pytest.raises(Ig3dError, match=message):
        LateFusion().fit(outputs, None if labels is None else np.array(labels))
