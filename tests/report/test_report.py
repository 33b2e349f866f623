"""The page of a search: its numbers are the leaderboard's, it asks nobody for anything, and shows data as text."""

import dataclasses
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained import World

from ig3d_ray.cli.app import main
from ig3d_ray.data import datasets
from ig3d_ray.data.datasets import ExpressionClass, catalog
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.report.figure_sizes import NARROW
from ig3d_ray.report.findings import Findings
from ig3d_ray.report.numbers import short_number as _short
from ig3d_ray.report.page import comparison_page, report_page
from ig3d_ray.report.paper import PUBLISHED
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Task
from ig3d_ray.workflow.reports import draw, figure_files, findings_of, thumbnails_of, write_report

EXPRESSION = {
    "leaderboard",
    "weight",
    "strategies",
    "confusion",
    "classes",
    "reliability",
    "risk",
    "front",
    "tried",
    "choices",
}


@pytest.fixture
def va(world: World) -> Findings:
    """A search for valence and arousal, by cross-fitting."""
    return world.va.findings


def page_of(findings: Findings, **options: Any) -> str:
    return report_page(
        findings,
        "small-1",
        draw(findings),
        draw(findings, NARROW),
        options.get("thumbnail"),
        options.get("paper", False),
    )


def test_confusions_recalls_and_changes_are_those_of_the_scores(world: World) -> None:
    findings = world.found.findings
    n = len(findings.plan.report)
    for row in findings.compared.values():
        counts = findings.confusion(row)
        assert counts.sum() == n
        assert np.trace(counts) / n == pytest.approx(row.scores.report.metrics["accuracy"].value)
        balanced = np.nanmean(findings.recalls(row))
        assert balanced == pytest.approx(row.scores.report.metrics["balanced_accuracy"].value)
    fixed, broken = findings.changed
    gain = world.found.board.gain_over(world.found.board.best_single, "accuracy").value
    assert (len(fixed) - len(broken)) / n == pytest.approx(gain)
    assert not set(fixed) & set(broken)


def test_the_weight_curve_has_its_maximum_where_it_was_solved(world: World) -> None:
    curve = world.found.findings.curve
    assert curve is not None
    pool = world.found.findings.plan.parts[0]
    assert curve.low <= curve.best <= curve.high
    inside = curve.selection[(curve.weights >= curve.low) & (curve.weights <= curve.high)]
    outputs = pool.outputs_of(curve.members).astype(float)
    if world.found.spec.fusion.space == "logits":
        fused = (1 - curve.best) * outputs[0] + curve.best * outputs[1]
        assert metrics.score(Task.EXPRESSION, fused, pool.labels)["accuracy"] >= curve.selection.max() - 0.02
    assert inside.size == 0 or inside.min() == pytest.approx(curve.selection.max())


def test_every_figure_that_there_is_something_for(world: World, va: Findings) -> None:
    board = world.found.board
    front = ((1.0, board.best_single.result), (2.0, board.chosen.result))
    findings = dataclasses.replace(world.found.findings, board=dataclasses.replace(board, pareto=front))
    assert set(draw(findings)) == EXPRESSION
    alone = dataclasses.replace(world.found.findings, board=dataclasses.replace(board, pareto=front[:1]))
    assert set(draw(alone)) == EXPRESSION - {"front"}
    drawn = draw(va)
    assert {"circumplex", "leaderboard", "weight", "tried"} <= set(drawn)
    assert not {"confusion", "classes"} & set(drawn)


def test_the_same_findings_give_the_same_bytes(world: World) -> None:
    one, other = (figure_files(draw(world.found.findings)) for _ in range(2))
    assert one == other
    assert len(one) == 3 * len(draw(world.found.findings))
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert all(content.startswith(starts[name.rsplit(".", 1)[1]]) for name, content in one.items())
    assert page_of(world.found.findings) == page_of(world.found.findings)


def test_a_storage_is_enough_to_make_the_page_anew(world: World) -> None:
    first = world.store.read(write_report(world.store, world.found.findings, world.found.folder).split("/store/")[1])
    again = findings_of(world.store, world.found.folder)
    name = world.found.folder.rsplit("/", 1)[1]
    assert report_page(again, name, draw(again), draw(again, NARROW), None, False).encode() == first


def test_a_search_whose_members_changed_is_not_told_as_if_it_had_not(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.store.uri, tmp_path / "copy")
    copy = Store(str(tmp_path / "copy"))
    copy.remove(f"logits/faces/{world.found.spec.members[0].fingerprint}/dev.parquet")
    with pytest.raises(Ig3dError, match="changed since this search; search again"):
        findings_of(copy, world.found.folder)
    with pytest.raises(Ig3dError, match="holds no finished search"):
        findings_of(copy, "searches/faces/none")


def test_images_are_embedded_only_when_asked_for(world: World) -> None:
    findings = world.found.findings
    assert "data:image" not in page_of(findings)
    shown = page_of(findings, thumbnail=thumbnails_of(world.store, findings))
    fixed, broken = findings.changed
    assert shown.count("data:image/jpeg") == len(fixed[:24]) + len(broken[:24])


def test_the_papers_rows_say_what_cannot_be_reproduced() -> None:
    doubted = {(dataset, row.system) for dataset, rows in PUBLISHED.items() for row in rows if row.unreproducible}
    late = {f"late, {how}, EMOCA" for how in ("max", "mean", "weighted 0.35")}
    assert doubted == {("rafdb", name) for name in late} | {("affectnet_va", "Ig3D")}


# Figures, and texts in them, beyond the page's edges; and texts that are smaller than 6 pixels.
OUTSIDE = """[...document.querySelectorAll('figure svg, figure svg text')].filter(e => e.checkVisibility()).map(e =>
  [e.textContent, e.getBoundingClientRect(), e.closest('svg').getBoundingClientRect()]).filter(([, r, s]) =>
  r.left < Math.max(s.left, 0) - 1 || r.right > Math.min(s.right, innerWidth) + 1).map(a => a[0])"""
TOO_SMALL = """[...document.querySelectorAll('figure svg text')].filter(e => e.checkVisibility() &&
  Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b) * parseFloat(getComputedStyle(e).fontSize) < 6).map(
  e => e.textContent)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_and_asks_nobody(
    browser: Any, world: World, va: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    hostile = "<script>document.title='broken'</script>"
    faces = datasets.dataset("faces")
    names = (hostile, *faces.class_names[1:])
    pages = {"va": page_of(va), "both": comparison_page({hostile: va, "faces": world.found.findings})}
    hostile_faces = faces.model_copy(update={"classes": tuple(ExpressionClass(name=name) for name in names)})
    hostile_faces.__dict__.pop("class_names", None)
    monkeypatch.setattr(catalog, "_built_in", lambda name: hostile_faces if name == "faces" else faces)
    pages["faces"] = page_of(world.found.findings, thumbnail=thumbnails_of(world.store, world.found.findings))
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 800})
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text)
        shown, logged, asked = context.new_page(), [], []
        shown.on("console", lambda message, logged=logged: logged.append(message.text))
        shown.on("pageerror", lambda error, logged=logged: logged.append(str(error)))
        shown.on("request", lambda request, asked=asked: asked.append(request.url))
        shown.goto(f"file://{tmp_path}/{name}.html")
        assert logged == []
        assert [url for url in asked if not url.startswith("data:")] == [f"file://{tmp_path}/{name}.html"]
        assert "broken" not in shown.title()
        for width in (390, 768, 1280, 1920):
            shown.set_viewport_size({"width": width, "height": 800})
            assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert shown.evaluate(OUTSIDE) == [], width
            assert shown.evaluate(TOO_SMALL) == [], width
        background = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(23, 23, 26)" if scheme == "dark" else "rgb(254, 254, 253)")
        if name == "faces":
            # A class's name is text, in the page's figures too.
            assert shown.evaluate("document.querySelector('svg').innerHTML.length > 1000")
            assert shown.evaluate("document.querySelectorAll('script').length") == 0
            assert hostile[:10] in shown.evaluate("document.querySelector('#classes svg').textContent")
    context.close()


def test_the_command_makes_pages_and_figures(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ig3d(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ig3d", "report", *words])
        try:
            main()
        except SystemExit as leaving:
            return int(leaving.code or 0)
        return 0

    search = f"{world.store.uri}/{world.found.folder}"
    assert ig3d(search, "--out", str(tmp_path / "r.html"), "--figures", str(tmp_path / "figures")) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    for ending, start in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        files = list((tmp_path / "figures").glob(f"*.{ending}"))
        assert len(files) == len(draw(world.found.findings))
        assert all(file.read_bytes().startswith(start) for file in files)
    assert ig3d(search, f"{search}/best_ensemble.json") == 2
    assert "give --out FILE.html" in capsys.readouterr().err
    assert ig3d(f"{world.store.uri}/searches/faces/none") == 2
    assert ig3d("elsewhere") == 2
    assert "no such file or folder; give a best_ensemble.json, its folder" in capsys.readouterr().err


def test_only_a_leading_zero_is_left_out() -> None:
    found = [_short(value, 3) for value in (0.5, -0.25, 50.3, 10.0, 0.0)]
    assert found == [".500", "-.250", "50.300", "10.000", ".000"]
    assert _short(0.25, 4, "+") == "+.2500"
