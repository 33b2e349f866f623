"""What is scored while members train: what the search would have found, and nothing that doesn't hold for it."""

import time

import numpy as np
import pytest
from pools import make_pool, space

from ig3d_ray.data.labels import Labels, save_labels
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitStore, LogitTable
from ig3d_ray.models.spec import fingerprint, spec_json
from ig3d_ray.search.candidates import Candidate
from ig3d_ray.search.explorer import run_local
from ig3d_ray.search.protocol import Plan, plan
from ig3d_ray.search.scoring import Result
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.early_scores import EarlyScores
from ig3d_ray.workflow.inventory import load_pools, take_inventory
from ig3d_ray.workflow.pipeline import search_store
from ig3d_ray.workflow.progress import Reporter

NAMES = make_pool("dev").names
VIEWS = {name: "2d" if name == "image" else "3d" for name in NAMES}
WHAT = space(
    pool=[{"kind": "imported", "name": name, "view": VIEWS[name]} for name in NAMES],
    fusion={"methods": ["greedy"]},
    search={"budget": 10},
)


def bring(store: Store, *names: str, rows: int = 300) -> None:
    """Cache members' outputs on the first so many samples of dev and test."""
    for split in ("dev", "test"):
        pool = make_pool(split)
        save_labels(store, Labels("rafdb", split, pool.ids, pool.labels, np.full((len(pool), 2), np.nan, np.float32)))
        for spec in WHAT.members():
            if spec.name in names:
                about = (fingerprint("rafdb", "", spec), spec.name, spec.view, spec_json(spec), "")
                outputs = pool.outputs_MNC[NAMES.index(spec.name)]
                LogitStore(store).write(LogitTable("rafdb", split, *about, pool.ids[:rows], outputs[:rows], None))


def planned(store: Store) -> Plan:
    cards = take_inventory(store, WHAT).usable(WHAT.protocol.splits)
    return plan(WHAT.protocol, load_pools(store, WHAT, cards)[0], WHAT.seed)


def score_ahead(store: Store, caplog: pytest.LogCaptureFixture) -> EarlyScores:
    """Let it check the cached members once, until it has reported them."""
    caplog.set_level("INFO", "ig3d_ray")
    with EarlyScores(store, WHAT) as ahead:
        deadline = time.monotonic() + 60
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.01)
        # A part is never left half scored but at the end; the last one is looked for.
        while len(ahead.remembered(planned(store).parts)) < expected(store) and time.monotonic() < deadline:
            time.sleep(0.01)
    return ahead


def expected(store: Store) -> int:
    """Members alone and their pairs, on every part."""
    members = len(take_inventory(store, WHAT).cards)
    mixes = len(WHAT.fusion.spaces) * len(WHAT.fusion.strategies)
    return WHAT.protocol.parts * (members + (members - 1) * mixes)


@pytest.fixture
def store(tmp_path: object) -> Store:
    return Store(str(tmp_path))


def test_it_finds_what_the_search_finds_and_leaves_the_rest_to_it(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    bring(store, "image", "params0")
    early = score_ahead(store, caplog)
    assert caplog.messages[0].startswith("search: best of the 2 members cached so far ")
    bring(store, "params1", "params2")
    parts = planned(store).parts
    found = early.remembered(parts)
    everything: dict[tuple[int, Candidate], Result] = {
        (part, result.candidate): result for part, results in enumerate(run_local(WHAT, parts)) for result in results
    }
    assert {(part, c): everything[(part, c)] for part, c in found} == found
    assert {name for _, candidate in found for name in candidate.members} == {"image", "params0"}
    assert {part for part, _ in found} == set(range(len(parts)))


def test_the_spec_is_the_same_with_and_without_it(
    store: Store, tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    bring(store, *NAMES)
    early = score_ahead(store, caplog)
    with_it = search_store(store, WHAT, "space", Reporter(), early_scores=early)
    other = Store(f"{tmp_path}/other")
    bring(other, *NAMES)
    without = search_store(other, WHAT, "space", Reporter())
    assert with_it.spec.to_json() == without.spec.to_json()
    assert store.read(f"{with_it.folder}/candidates.parquet") == other.read(f"{without.folder}/candidates.parquet")


def test_nothing_is_taken_over_where_a_later_member_lacks_samples(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    bring(store, "image", "params0")
    early = score_ahead(store, caplog)
    bring(store, "params1", rows=299)
    assert early.remembered(planned(store).parts) == {}


def test_nothing_is_taken_over_of_a_member_that_was_replaced(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    bring(store, "image", "params0")
    early = score_ahead(store, caplog)
    parts = planned(store).parts
    assert early.remembered(parts)
    others = tuple(
        "another" if name == "image" else mark
        for name, mark in zip(parts.whole.names, parts.whole.fingerprints, strict=True)
    )
    object.__setattr__(parts.whole, "fingerprints", others)
    kept = {name for _, candidate in early.remembered(parts) for name in candidate.members}
    assert kept == {"params0"}


def test_without_pairs_to_come_only_members_alone_are_scored(store: Store) -> None:
    """Two 3D members before any 2D one: the search will pair none of them with one another."""
    bring(store, "params0", "params1")
    ahead = EarlyScores(store, WHAT)
    assert [c.members for c in ahead._candidates(planned(store).parts.whole)] == [("params0",), ("params1",)]


def test_what_is_broken_is_told_and_doesnt_stop_the_trainings(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    bring(store, "image", "params0")
    broken = next(name for name in store.names("logits") if name.endswith("test.parquet"))
    store.write(broken, b"PAR1")
    caplog.set_level("INFO", "ig3d_ray")
    with EarlyScores(store, WHAT) as ahead:
        ahead._thread.join(60)
    (message,) = caplog.messages
    assert message.startswith("search: not begun while members train: ")
    with pytest.raises(Ig3dError, match="cut short or not Parquet"):
        search_store(store, WHAT, "space", Reporter())
