"""Commands as a user types them: what they print, and one line with exit code 2 for what can be put right."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import SMALL_SPACE

from ig3d_ray.cli.app import main
from ig3d_ray.config.load import load_space
from ig3d_ray.data import datasets
from ig3d_ray.data.samples import Samples
from ig3d_ray.ensembles.spec import parse_ensemble
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitStore
from ig3d_ray.models.build import build_network
from ig3d_ray.models.checkpoint import save_checkpoint
from ig3d_ray.models.inference import logit_table
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.storage import paths
from ig3d_ray.storage.json_files import unsealed
from ig3d_ray.storage.leases import Leases
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.inventory import take_inventory
from ig3d_ray.workflow.pipeline import run
from ig3d_ray.workflow.progress import Reporter
from ig3d_ray.workflow.train import to_train


def ig3d(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ig3d", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture
def preds(tmp_path: Path) -> Path:
    """Two files of seven logits each for ten samples of RAF-DB; the second is right where the first is wrong."""
    header = "sample_id," + ",".join(f"logit_{i}" for i in range(7)) + ",label\n"
    for name, right in (("image", lambda i: i % 2), ("params", lambda i: (i + 1) % 2)):
        rows = []
        for i in range(40):
            logits = [0.0] * 7
            logits[i % 7 if right(i) else (i + 1) % 7] = 1.0 if not right(i) else 2.0
            rows.append(f"s{i:02d}," + ",".join(map(str, logits)) + f",{i % 7}\n")
        (tmp_path / f"{name}.csv").write_text(header + "".join(rows))
    return tmp_path


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "dataset: rafdb\nobjective: accuracy\nprotocol: {kind: cross_fitted, folds: 4}\n"
        "pool:\n- {kind: imported, name: image, view: 2d}\n- {kind: imported, name: gone, view: 3d}\n"
        "search: {budget: 20, batch: 10}\n"
    )
    return file


def bring(monkeypatch: pytest.MonkeyPatch, preds: Path, *more: str) -> int:
    code = 0
    for name, view in (("image", "2d"), ("params", "3d")):
        where = ["--dataset", "rafdb", "--member", name, "--view", view, "--storage", str(preds / "store"), *more]
        code = code or ig3d(monkeypatch, "import", "predictions", str(preds / f"{name}.csv"), *where)
    return code


def test_your_own_logits_in_two_commands(
    monkeypatch: pytest.MonkeyPatch, preds: Path, space_file: Path, capsys: pytest.CaptureFixture
) -> None:
    assert bring(monkeypatch, preds) == 0
    assert "image (2d): 40 samples of rafdb test, logits" in capsys.readouterr().out
    assert ig3d(monkeypatch, "search", str(space_file), "--storage", str(preds / "store")) == 0
    said = capsys.readouterr().out
    assert "chosen ensemble: 1 + 2" in said
    assert "The gain is real: the ensemble has 0." in said
    assert "excluded: gone: no test predictions in the storage" in said
    spec = Path(said.split("spec: ")[1].strip())
    assert parse_ensemble(spec.read_text(), "spec").scores.report.metrics["accuracy"].value == 1.0
    out = preds / "out.parquet"
    assert ig3d(monkeypatch, "predict", str(spec), "--storage", str(preds / "store"), "--out", str(out)) == 0
    assert "accuracy 1.000000; the spec has 1.000000" in capsys.readouterr().out
    table = pq.read_table(out).to_pydict()
    assert table["sample_id"][:2] == ["s00", "s01"]
    assert list(table)[:3] == ["sample_id", "predicted", "true"]
    assert table["predicted"][:2] == table["true"][:2] == ["Surprise", "Fear"]
    likely = [name for name in table if name.startswith("probability_")]
    assert len(likely) == len(table) - 3 == 7
    assert sum(table[name][0] for name in likely) == pytest.approx(1)
    # It is read again as what it is: the true classes are the truth, the predicted ones aren't.
    words = ("--dataset", "rafdb", "--member", "fused", "--view", "2d", "--storage", str(preds / "again"))
    assert ig3d(monkeypatch, "import", "predictions", str(out), *words) == 0
    assert "column true has the true classes" in capsys.readouterr().out


def test_predict_covers_every_sample_and_checks_its_number_on_those_that_were_compared(
    monkeypatch: pytest.MonkeyPatch, preds: Path, space_file: Path, capsys: pytest.CaptureFixture
) -> None:
    bring(monkeypatch, preds)
    lines = (preds / "params.csv").read_text().splitlines(keepends=True)
    (preds / "few.csv").write_text("".join([lines[0], *(line.replace("2.0", "0.0") for line in lines[5:])]))
    words = ("--dataset", "rafdb", "--member", "few", "--view", "3d", "--storage", str(preds / "store"))
    assert ig3d(monkeypatch, "import", "predictions", str(preds / "few.csv"), *words) == 0
    ig3d(monkeypatch, "search", str(space_file), "--storage", str(preds / "store"), "--json")
    message = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert message["members"] == ["image", "params"]
    spec = parse_ensemble(Path(message["spec"]).read_text(), "spec")
    assert spec.excluded == {"test": ("s00", "s01", "s02", "s03")}
    out = preds / "out.parquet"
    assert (
        ig3d(monkeypatch, "predict", message["spec"], "--storage", str(preds / "store"), "--out", str(out), "--json")
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["samples"], said["compared"], pq.read_table(out).num_rows) == (40, 36, 40)
    assert said["compared_score"] == said["reported"]


def test_what_killed_searches_left_is_swept_and_a_living_ones_stays(
    monkeypatch: pytest.MonkeyPatch, preds: Path, space_file: Path
) -> None:
    bring(monkeypatch, preds)
    store, name = Store(str(preds / "store")), space_file.stem
    for which in (f"{name}-dead0000", f"{name}-alive000", "other-dead0000"):
        store.write(f"searches/rafdb/{which}/rounds/000000.parquet", b"x")
        store.write(f"tune/{which}/tuner.pkl", b"x")
    store.write(f"leases/searches/rafdb/{name}-dead0000/000000", b"nobody")
    with Leases(store) as living:
        assert living.acquire(f"searches/rafdb/{name}-alive000") is None
        assert ig3d(monkeypatch, "search", str(space_file), "--storage", store.uri) == 0
        left = [n for n in store.names() if "dead0000" in n or "alive000" in n]
        assert {n for n in left if "other" not in n} == {
            f"searches/rafdb/{name}-alive000/rounds/000000.parquet",
            f"tune/{name}-alive000/tuner.pkl",
            f"leases/searches/rafdb/{name}-alive000/000000",
        }
        assert len([n for n in left if "other" in n]) == 2


def test_search_as_json_is_one_line(
    monkeypatch: pytest.MonkeyPatch, preds: Path, space_file: Path, capsys: pytest.CaptureFixture
) -> None:
    bring(monkeypatch, preds)
    capsys.readouterr()
    assert ig3d(monkeypatch, "search", str(space_file), "--storage", str(preds / "store"), "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["members"] == ["image", "params"]


def test_predictions_that_are_not_those_that_were_scored(
    monkeypatch: pytest.MonkeyPatch, preds: Path, space_file: Path, capsys: pytest.CaptureFixture
) -> None:
    bring(monkeypatch, preds)
    ig3d(monkeypatch, "search", str(space_file), "--storage", str(preds / "store"), "--json")
    spec = json.loads(capsys.readouterr().out.splitlines()[-1])["spec"]
    (preds / "image.csv").write_text((preds / "image.csv").read_text().replace("2.0", "2.5"))
    assert bring(monkeypatch, preds, "--replace") == 0
    words = ("predict", spec, "--storage", str(preds / "store"), "--out", str(preds / "out.parquet"))
    assert ig3d(monkeypatch, *words) == 2
    assert "not the predictions that were scored (SHA-256 differs)" in capsys.readouterr().err
    assert not (preds / "out.parquet").exists()


def test_a_truncated_table_in_the_cache_is_named(
    monkeypatch: pytest.MonkeyPatch, preds: Path, space_file: Path, capsys: pytest.CaptureFixture
) -> None:
    bring(monkeypatch, preds)
    store = Store(str(preds / "store"))
    name = store.names("logits")[0]
    store.write(name, store.read(name)[:500])
    capsys.readouterr()
    assert ig3d(monkeypatch, "search", str(space_file), "--storage", store.uri) == 2
    said = capsys.readouterr().err
    assert f"{store.locate(name)}: cut short or not Parquet; delete this file and run again" in said


def test_an_empty_pool_says_who_has_what(
    monkeypatch: pytest.MonkeyPatch, preds: Path, space_file: Path, capsys: pytest.CaptureFixture
) -> None:
    bring(monkeypatch, preds)
    words = ("search", str(space_file), "--storage", str(preds / "store"), "--set", "protocol.kind=dev")
    assert ig3d(monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert "protocol dev needs predictions on dev and test, but " in said
    assert "image has test" in said
    assert "--set protocol.kind=cross_fitted needs test alone" in said


def test_predict_refuses_a_number_that_does_not_come_out(
    monkeypatch: pytest.MonkeyPatch, preds: Path, space_file: Path, capsys: pytest.CaptureFixture
) -> None:
    bring(monkeypatch, preds)
    ig3d(monkeypatch, "search", str(space_file), "--storage", str(preds / "store"), "--json")
    spec = json.loads(capsys.readouterr().out.splitlines()[-1])["spec"]
    content = unsealed(Path(spec).read_text())
    content["scores"]["selection"]["metrics"]["accuracy"]["value"] = 0.25
    Path(spec).write_text(json.dumps(content))
    words = ("predict", spec, "--storage", str(preds / "store"), "--out", str(preds / "out.parquet"))
    assert ig3d(monkeypatch, *words) == 2
    assert "accuracy comes out at 1.000000, the spec has 0.250000, on the same samples" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda t: t.drop_columns(["emoca"]),
            "no train sample has emoca, which mlp3d-emoca-full-eq1random-w16-s0 needs",
        ),
        (lambda t: t.filter(pc.not_equal(t["split"], "dev")), "the samples table has no dev samples"),
        (
            lambda t: t.drop_columns(["expression"]),
            r"train sample 'face-\d+' has no expression \(\d+ such\), which cnn",
        ),
        (lambda t: t.drop_columns(["valence"]), r"has no valence and arousal \(\d+ such\), which cnn"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused_before_ray(
    tmp_path: Path, small_faces: tuple[Store, Samples], spoil: Callable, message: str
) -> None:
    _, samples = small_faces
    store = Store(str(tmp_path))
    Samples("faces", spoil(samples.table)).save(store)
    space = load_space(SMALL_SPACE).model_copy(update={"data": None})
    with pytest.raises(Ig3dError, match=message):
        run(store, space, "small", None, Reporter())


def test_a_member_whose_checkpoint_was_deleted_is_trained_again(
    tmp_path: Path, small_faces: tuple[Store, Samples]
) -> None:
    _, samples = small_faces
    store = Store(str(tmp_path))
    samples.save(store)
    space = load_space(SMALL_SPACE)
    wanted = take_inventory(store, space).wanted[1]
    assert wanted.fingerprint is not None
    assert isinstance(wanted.spec, Mlp3dSpec)
    network = build_network(wanted.spec, datasets.dataset("faces"))
    save_checkpoint(store, "faces", wanted.fingerprint, wanted.spec, network)
    store.write(f"members/faces/{wanted.fingerprint}/spec.json", b"{}")
    for split in ("dev", "test"):
        LogitStore(store).write(logit_table(network, wanted.spec, wanted.fingerprint, samples, split, store))
    assert wanted.spec.name not in {w.spec.name for w in to_train(take_inventory(store, space))}
    store.remove(paths.checkpoint("faces", wanted.fingerprint))
    assert wanted.spec.name in {w.spec.name for w in to_train(take_inventory(store, space))}


def test_plan_starts_nothing_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert ig3d(monkeypatch, "plan", str(SMALL_SPACE), "--storage", str(tmp_path / "store")) == 0
    said = capsys.readouterr().out
    assert "data:   240 faces will be drawn" in said
    assert "train:  5 members, 0 cached; each run takes 1 x (1 CPU, 0 GPU)" in said
    assert "up to 60 subsets by Optuna" in " ".join(said.split())
    assert not (tmp_path / "store").exists()


def test_faces_are_drawn_once_per_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ("data", "faces", "--storage", str(tmp_path), "--samples", "200")
    assert ig3d(monkeypatch, *words) == ig3d(monkeypatch, *words) == 0
    assert capsys.readouterr().out.count("200 faces, fingerprint") == 2
    assert ig3d(monkeypatch, *words, "--seed", "1") == 2
    assert "use another storage or ask for the same" in capsys.readouterr().err
    assert ig3d(monkeypatch, "data", "faces", "--sheet", str(tmp_path / "sheet.png")) == 0
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


MISTAKES = [
    (
        ("predict", "x.json", "--storage", "s", "--out", "p.txt"),
        "--out p.txt: the format follows from the suffix; allowed: .parquet, .csv, .jsonl",
    ),
    (("predict", "x.json", "--storage", "s", "--out", "no/p.parquet"), "does not exist; create it first"),
    (("data", "faces", "--sheet", "sheet.jpg"), "--sheet sheet.jpg: the format follows from the suffix; allowed: .png"),
    (("search", "gone.yaml", "--storage", "s"), "gone.yaml: no such file"),
    (("run", str(SMALL_SPACE), "--storage", "s", "--set", "search.budget=x"), "search.budget: 'x'"),
    (("search", str(SMALL_SPACE), "--storage", "."), "the pool is empty"),
    (("search", str(SMALL_SPACE), "--storage", "store"), "store: no such folder; check --storage"),
    (("ls", "--storage", "store"), "store: no such folder; check --storage"),
    (("search", str(SMALL_SPACE), "--storage", "nfs://x"), "unknown protocol 'nfs'"),
    (("predict", "gone.json", "--storage", "s", "--out", "o.parquet"), "gone.json: no such file"),
    (
        ("import", "predictions", "x.csv", "--dataset", "rafdb", "--member", "m", "--view", "2d", "--storage", "s")
        + ("--split", "val"),
        "Invalid value for '--split': 'val' is not one of",
    ),
    (
        ("import", "checkpoint", "f.pth", "--as", "vgg", "--dataset", "rafdb", "--storage", "s"),
        "Invalid value for '--as': 'vgg' is not one of 'cage', 'cnn', 'ddamfn', 'intermediate', 'mlp3d'",
    ),
    (("data", "affectnet", "--images", ".", "--dataset", "rafdb", "--storage", "s"), "'rafdb' is not one of"),
    (("run", str(SMALL_SPACE)), "Missing option '--storage'"),
    (("data", "faces"), "nothing to do: give --storage URI, --sheet FILE.png"),
    (("data", "faces", "--storage", "s", "--samples", "3"), "--samples 3: at least 200"),
    (
        ("import", "predictions", "x.csv", "--dataset", "fer", "--member", "m", "--view", "2d", "--storage", "s"),
        "unknown dataset 'fer'; known: afewva",
    ),
    (
        ("import", "predictions", "x.csv", "--dataset", "rafdb", "--member", "m", "--view", "4 d", "--storage", "s"),
        "view: '4 d': String should match pattern",
    ),
    (
        ("import", "predictions", "x.csv", "--dataset", "rafdb", "--member", "../m", "--view", "2d", "--storage", "s"),
        "--member ../m: ",
    ),
    (("run", str(SMALL_SPACE)), "Missing option '--storage'"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[message[:30] for _, message in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture, words: tuple, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ig3d(monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_space_without_data_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = Path(__file__).parents[2] / "search_spaces" / "rafdb.yaml"
    assert ig3d(monkeypatch, "run", str(file), "--storage", str(tmp_path / "store")) == 2
    assert "rafdb has no samples table to train mlp3d-emoca-short-ce-s0 on" in capsys.readouterr().err


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "ig3d_ray", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Train facial-expression networks" in done.stdout


def test_a_pool_of_one_view_has_nothing_to_fuse_and_says_who_was_left_out(
    monkeypatch: pytest.MonkeyPatch, preds: Path, space_file: Path, capsys: pytest.CaptureFixture
) -> None:
    bring(monkeypatch, preds)
    store = Store(str(preds / "store"))
    words = ("--dataset", "rafdb", "--member", "image", "--view", "2d", "--storage", store.uri, "--split", "dev")
    assert ig3d(monkeypatch, "import", "predictions", str(preds / "image.csv"), *words) == 0
    capsys.readouterr()
    assert ig3d(monkeypatch, "search", str(space_file), "--storage", store.uri, "--set", "protocol.kind=dev") == 0
    said = capsys.readouterr().out
    assert "There was nothing to fuse" in said
    assert "excluded: params: no dev predictions in the storage" in said
    assert "excluded: gone: no dev and test predictions in the storage" in said
