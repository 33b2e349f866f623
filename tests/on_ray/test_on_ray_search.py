"""Ray Tune finds what one process finds, whatever dies meanwhile."""

import itertools
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import descendants
from pools import MANY, make_pool, space

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.search.explorer import Explorer, Remembered, run_for, run_local
from ig3d_ray.search.protocol import Parts, plan
from ig3d_ray.storage.store import Store

pytestmark = pytest.mark.slow


def handed_over(what: SearchSpace, parts: Parts) -> Remembered:
    """What a search has scored when its time is over: the first batches of the first round."""
    clock = itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ig3d_ray.search.explorer.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
        begun = run_for(4.0, what, parts)
    assert begun.results is None
    assert begun.scored
    return begun.scored


@pytest.mark.parametrize("protocol", [{"kind": "dev"}, {"kind": "cross_fitted", "folds": 3}], ids=lambda p: p["kind"])
def test_tune_finds_exactly_what_this_process_finds(local_ray: None, tmp_path: Path, protocol: dict) -> None:
    from ig3d_ray.on_ray.search import run_on_ray

    fusion = MANY | {"methods": ["stack", "greedy", "coordinate"], "weight_3d": [0.0, 1.0]}
    what = space(protocol=protocol, fusion=fusion, search={"budget": 20, "batch": 7})
    arranged = plan(what.protocol, {"dev": make_pool("dev"), "test": make_pool("test")}, what.seed)
    rounds: list[int] = []
    store = Store(str(tmp_path))
    # The second one was begun in this process, and is handed over.
    scored = handed_over(what, arranged.parts) if protocol["kind"] == "cross_fitted" else {}
    found = run_on_ray(what, arranged.parts, store, "s", lambda explorer: rounds.append(explorer.scored), scored)
    assert found == run_local(what, arranged.parts)
    assert len(rounds) > 2
    assert rounds == sorted(rounds)
    assert store.names() == []


def test_a_batch_whose_trial_died_is_handed_out_again(local_ray: None) -> None:
    from ig3d_ray.on_ray.search import MAX_LOST_TRIALS, RoundSearcher
    from ig3d_ray.search.explorer import Batch
    from ig3d_ray.search.scoring import score_batch

    pool, what = make_pool("dev"), space()
    searcher = RoundSearcher(Explorer(what, [pool]), lambda explorer: None)

    def finish(trial: str) -> int:
        batch: Batch = searcher.scoring[trial]
        results = score_batch(pool, batch.candidates, what)
        content = {
            "members": [list(result.members) for result in results],
            "fusions": [result.fusion.model_dump(mode="json") for result in results],
            "scores": [result.score for result in results],
        }
        searcher.on_trial_complete(trial, content)
        return len(results)

    first, second = searcher.suggest("t0"), searcher.suggest("t1")
    assert searcher.suggest("t2") is None
    searcher.on_trial_complete("t0", error=True)
    assert searcher.suggest("t3") == first != second
    scored = finish("t1") + finish("t3")
    assert searcher.suggest("t4") == "FINISHED"
    assert searcher.explorer.scored == scored
    searcher = RoundSearcher(Explorer(what, [pool]), lambda explorer: None)
    for lost in range(MAX_LOST_TRIALS + 1):
        searcher.suggest(f"t{lost}")
        searcher.on_trial_complete(f"t{lost}", error=True)
    assert searcher.error is not None
    assert "trials were lost" in searcher.error


def test_a_worker_killed_in_the_middle_of_a_search_changes_nothing(local_ray: None, tmp_path: Path) -> None:
    from ig3d_ray.on_ray.search import run_on_ray

    what = space(fusion=MANY, search={"budget": 60, "batch": 10})
    arranged = plan(what.protocol, {"dev": make_pool("dev", 3000), "test": make_pool("test")}, what.seed)
    killed: list[int] = []

    def kill_once(explorer: Explorer) -> None:
        if not killed:
            # Its actor is reused for the next batch, which is then lost with it.
            for pid, words in descendants(os.getpid()):
                if words.startswith("ray::") and "ImplicitFunc" in words:
                    os.kill(pid, 9)
                    killed.append(pid)

    found = run_on_ray(what, arranged.parts, Store(str(tmp_path)), "killed", kill_once)
    assert killed
    assert found == run_local(what, arranged.parts)
