"""The neutral comparison of tools: the same faces and classes for all, and verdicts that hold."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from holm import holm
from sklearn.metrics import accuracy_score, f1_score

from ig3d_ray.cli.app import main
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.labels import read_labels
from ig3d_ray.search.comparison import Comparison, compare

WORDS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
EIGHT = ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt"]
ALL = {"Anger": "angry", "Disgust": "disgust", "Fear": "fear", "Happy": "happy", "Sad": "sad"}
ALL |= {"Surprise": "surprise", "Neutral": "neutral"}
RNG = np.random.default_rng(3)
FACES = 320


def scores(words: list[str], truth: list[str], skill: float, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(len(truth), len(words)))
    plain = [ALL.get(word, word.lower()) for word in words]
    for row, word in enumerate(truth):
        if word in plain:
            values[row, plain.index(word)] += skill
    e = np.exp(values)
    return e / e.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("tools")
    truth = [str(word) for word in RNG.choice([*WORDS, "contempt"], FACES)]
    ids = [f"f{i:04d}" for i in range(FACES)]
    pd.DataFrame({"file": ids, "emotion": truth}).to_csv(folder / "labels.csv", index=False)
    seven = scores(WORDS, truth, 3.0, 1)
    eight = scores(EIGHT, truth, 0.6, 2)
    frame = pd.DataFrame(100 * seven, columns=WORDS).assign(img_path=[f"x/{i}.jpg" for i in ids])
    frame.assign(dominant_emotion="happy").iloc[20:].to_csv(folder / "deepface.csv", index=False)
    pd.DataFrame(eight, columns=[f"prob_{w}" for w in EIGHT]).assign(path=[f"{i}.png" for i in ids]).to_csv(
        folder / "own.csv", index=False
    )
    return folder, truth, {"deepface": seven, "own": eight}


def compared(folder: Path) -> Comparison:
    truth = read_labels(folder / "labels.csv", None, None, None)
    return compare({"deepface": folder / "deepface.csv", "own": folder / "own.csv"}, truth)


def test_scores_are_those_of_scikit_learn_on_common_and_on_all_faces(
    tools: tuple[Path, list[str], dict[str, np.ndarray]],
) -> None:
    folder, truth, values = tools
    found = compared(folder)
    assert sorted(found.classes) == sorted(WORDS)
    assert found.dropped == {"contempt": truth.count("contempt")}
    labeled = [row for row, word in enumerate(truth) if word != "contempt"]
    common = [row for row in labeled if row >= 20]
    assert (found.faces, found.common) == (len(labeled), len(common))
    own = [WORDS[i] for i in values["deepface"].argmax(axis=1)]
    other = [ALL[EIGHT[i]] for i in values["own"][:, :7].argmax(axis=1)]
    by_name = {tool.name: tool for tool in found.tools}
    for name, words in (("deepface", own), ("own", other)):
        y, p = [truth[r] for r in common], [words[r] for r in common]
        assert by_name[name].on_common["accuracy"].value == pytest.approx(accuracy_score(y, p))
        assert by_name[name].on_common["macro_f1"].value == pytest.approx(f1_score(y, p, average="macro"))
        missing = set(range(20)) if name == "deepface" else set()
        right = [truth[r] == words[r] and r not in missing for r in labeled]
        assert by_name[name].on_all["accuracy"].value == pytest.approx(np.mean(right))
    assert by_name["deepface"].found == len([r for r in labeled if r >= 20])


def test_the_sentence_says_who_is_best_and_that_it_is_certain(
    tools: tuple[Path, list[str], dict[str, np.ndarray]],
) -> None:
    found = compared(tools[0])
    assert found.tools[0].name == "deepface"
    assert found.sentence.startswith("deepface is the best, with ")
    (pair,) = found.pairs
    assert pair.is_certain
    assert pair.gain.low > 0
    assert found.fusion is not None


def test_equal_tools_are_not_told_apart(tools: tuple[Path, list[str], dict[str, np.ndarray]]) -> None:
    folder, *_ = tools
    truth = read_labels(folder / "labels.csv", None, None, None)
    found = compare({"a": folder / "own.csv", "b": folder / "own.csv"}, truth)
    assert not found.pairs[0].is_certain
    assert "is not certain" in found.sentence


def test_adjusted_p_values_are_holms(tools: tuple[Path, list[str], dict[str, np.ndarray]]) -> None:
    from ig3d_ray.evaluation.bootstrap import Interval
    from ig3d_ray.search.comparison import PairVerdict, _holm

    values = [0.03, 0.01, 0.2, 0.04]
    gain = Interval(value=0.1, low=0.0, high=0.2)
    assert [pair.p for pair in _holm([PairVerdict("a", "b", gain, p) for p in values])] == pytest.approx(holm(values))


def test_the_command_and_what_is_refused(
    tools: tuple[Path, list[str], dict[str, np.ndarray]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    folder, *_ = tools

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["ig3d", "compare", *words])
        with pytest.raises(SystemExit) as left:
            main()
        shown = capsys.readouterr()
        return int(left.value.code or 0), shown.out, shown.err

    files = (f"{folder}/deepface.csv", f"mine={folder}/own.csv", "--labels", f"{folder}/labels.csv")
    code, out, err = run(*files, "--json")
    assert code == 0, err
    assert [tool["name"] for tool in json.loads(out)["tools"]] == ["deepface", "mine"]
    code, out, err = run(*files)
    assert "deepface is the best" in out
    pd.DataFrame(np.ones((3, 7)), columns=[f"logit_{i}" for i in range(7)]).assign(
        id=["f0001", "f0002", "f0003"]
    ).to_csv(tmp_path / "numbered.csv", index=False)
    code, _, err = run(str(tmp_path / "numbered.csv"), files[0], *files[2:])
    assert code == 2
    assert "are numbered; give --dataset" in err
    code, _, err = run(files[0], files[0], *files[2:])
    assert "there is a tool deepface already; write NAME=FILE" in err


def test_labels_that_name_no_expression_need_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("id,label\na,blue\nb,red\n")
    with pytest.raises(Ig3dError, match="has 'blue', which names no expression; give --dataset NAME, or --classes"):
        read_labels(tmp_path / "l.csv", None, None, None)
