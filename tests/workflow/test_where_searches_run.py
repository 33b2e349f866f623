"""A short search is over before Ray Tune would have begun; a longer one is handed over, and finds the same."""

import itertools
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pools import make_pool, space

from ig3d_ray.search.explorer import run_local
from ig3d_ray.search.protocol import plan
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow import pipeline
from ig3d_ray.workflow.pipeline import _LazyRay

WHAT = space(search={"budget": 20, "batch": 5})
ARRANGED = plan(WHAT.protocol, {"dev": make_pool("dev"), "test": make_pool("test")}, WHAT.seed)


def search(ray: _LazyRay, store: Store) -> Any:
    return ray.search(store, WHAT, ARRANGED.parts, "s", lambda explorer: None, {})


def test_a_short_search_starts_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(_LazyRay, "connect", connect)
    # However slow this machine is.
    monkeypatch.setattr(pipeline, "HERE_SECONDS", 1e9)
    assert search(_LazyRay(ExitStack(), None), Store(str(tmp_path))) == run_local(WHAT, ARRANGED.parts)
    with pytest.raises(AssertionError, match="Ray was started"):
        search(_LazyRay(ExitStack(), "head:6379", begins_here=False), Store(str(tmp_path)))


def test_a_longer_one_goes_on_by_ray_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ig3d_ray.on_ray import search as on_ray

    handed: list[int] = []

    def tune(what: Any, parts: Any, store: Store, name: str, on_round: Any, remembered: Any) -> Any:
        handed.append(len(remembered))
        return run_local(what, parts, on_round, remembered)

    monkeypatch.setattr(on_ray, "run_on_ray", tune)
    # A clock on which every look takes a second, so that some batches are scored here whatever the machine does.
    clock = itertools.count()
    monkeypatch.setattr("ig3d_ray.search.explorer.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    monkeypatch.setattr(pipeline, "HERE_SECONDS", 4.0)
    found = search(_LazyRay(ExitStack(), None, is_up=True), Store(str(tmp_path)))
    assert found == run_local(WHAT, ARRANGED.parts)
    assert len(handed) == 1
    assert handed[0] > 0, "what was scored here is scored again"
