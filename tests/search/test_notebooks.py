"""What notebooks and people at a terminal use: LateFusion, tables of logits, ls and show."""

import sys
from pathlib import Path

import numpy as np
import pytest
from trained import World

from ig3d_ray import LateFusion, LogitStore, Store, load_pool
from ig3d_ray.cli.app import main
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import told_apart
from ig3d_ray.workflow.pipeline import Outcome


def own(outcome: Outcome) -> tuple[str, ...]:
    """The fingerprints of a search's members."""
    return outcome.findings.plan.report.fingerprints


def test_a_fusion_is_fitted_and_predicts(world: World) -> None:
    pool = load_pool(world.store, "faces", "dev", members=own(world.found))
    fusion = LateFusion(budget=20, seed=1).fit(pool)
    assert set(fusion.members_) <= set(pool.names)
    labels, likely = fusion.predict(pool), fusion.predict_proba(pool)
    assert (labels == likely.argmax(axis=1)).all()
    assert likely.sum(axis=1) == pytest.approx(np.ones(len(pool)))
    assert fusion.score(pool) == pytest.approx((labels == pool.labels).mean())
    again = LateFusion(budget=20, seed=1).fit(pool)
    assert (again.members_, again.fusion_, again.score_) == (fusion.members_, fusion.fusion_, fusion.score_)
    test = load_pool(world.store, "faces", "test", members=own(world.found))
    assert 0.2 < fusion.score(test) <= 1
    assert all(name in fusion._repr_html_() for name in fusion.members_)
    assert repr(fusion) == "LateFusion(budget=20, seed=1)"


def test_valence_and_arousal_too(world: World) -> None:
    pool = load_pool(world.store, "faces", "test", "va", own(world.va))
    fusion = LateFusion(max_members=1).fit(pool)
    assert len(fusion.members_) == 1
    assert fusion.predict(pool).shape == (len(pool), 2)
    with pytest.raises(Ig3dError, match="no probabilities"):
        fusion.predict_proba(pool)


def test_a_fusion_says_what_is_wrong(world: World) -> None:
    pool = load_pool(world.store, "faces", "dev", members=own(world.found))
    with pytest.raises(Ig3dError, match="not fitted yet"):
        LateFusion().predict(pool)
    with pytest.raises(Ig3dError, match="objective 'ccc_mean': for expression there are accuracy, "):
        LateFusion("ccc_mean").fit(pool)
    fusion = LateFusion(budget=5).fit(pool)
    with pytest.raises(Ig3dError, match="the pool has no member"):
        fusion.predict(pool.only([name for name in pool.names if name not in fusion.members_][:1]))


def test_logits_as_a_table(world: World, tmp_path: object) -> None:
    logits = LogitStore(world.store)
    frame = logits.to_pandas("faces", "test")
    cards = told_apart(logits.members("faces"))
    assert len({card.name for card in cards}) == len(cards) > len({card.name for card in logits.members("faces")})
    for card in cards:
        table = logits.read("faces", card.fingerprint, "test")
        assert table.logits is not None
        assert (frame[card.name].loc[table.ids.tolist(), "Happy"].to_numpy() == table.logits[:, 3]).all()
        lacking = ~frame.index.isin(table.ids)
        assert frame[card.name][lacking].isna().all(axis=None)
    with pytest.raises(Ig3dError, match="no outputs on dev"):
        LogitStore(Store(str(tmp_path))).to_pandas("faces", "dev")


def test_ls_and_show(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def ig3d(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ig3d", *words])
        try:
            main()
        except SystemExit as leaving:
            return int(leaving.code or 0), "".join(capsys.readouterr())
        return 0, "".join(capsys.readouterr())

    first = world.spec.members[0]
    code, message = ig3d("ls", "--storage", world.store.uri)
    assert code == 0
    assert first.fingerprint in message
    assert world.found.folder in message
    code, message = ig3d("show", first.fingerprint, "--storage", world.store.uri)
    assert code == 0
    assert f'kind: "{first.kind}"' in message
    code, message = ig3d("show", world.uri)
    assert code == 0
    assert "without emoca: " in message
    assert all(member.name in message for member in world.spec.members)
    code, message = ig3d("show", "nobody", "--storage", world.store.uri)
    assert code == 2
    assert "no member nor search nobody; `ig3d ls --storage" in message
    assert ig3d("show", "nobody")[0] == 2


@pytest.mark.slow
def test_the_example_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient

    assert KernelSpecManager(kernel_dirs=[str(Path(sys.prefix) / "share/jupyter/kernels")]).find_kernel_specs()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(Path(__file__).parents[2] / "docs" / "late_fusion.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("<table>" in output.get("data", {}).get("text/html", "") for output in shown)
    assert any("gain +" in output.get("text", "") for output in shown)
