"""Which samples choose and which report."""

import dataclasses
import logging

import numpy as np
import pytest
from pools import make_pool

from ig3d_ray.config.protocol import ProtocolSpec
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.search.protocol import plan, stratified_folds
from ig3d_ray.types import Split


def test_folds_are_even_stratified_and_seeded() -> None:
    pool = make_pool("test", samples=70)
    folds = stratified_folds(pool, 5, seed=1)
    assert np.bincount(folds).tolist() == [14] * 5
    for label in range(7):
        counts = np.bincount(folds[pool.labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert (folds == stratified_folds(pool, 5, seed=1)).all()
    assert (folds != stratified_folds(pool, 5, seed=2)).any()
    with pytest.raises(Ig3dError, match=r"3 samples for 5 folds; set protocol\.folds lower"):
        stratified_folds(pool.take(np.arange(3)), 5, seed=1)


@pytest.mark.parametrize("kind", ["dev", "cross_fitted", "paper"])
@pytest.mark.parametrize("repeats", [1, 2])
def test_nothing_is_ever_judged_by_samples_that_chose_it(kind: str, repeats: int) -> None:
    pools: dict[Split, Pool] = {"dev": make_pool("dev", 90), "test": make_pool("test", 120)}
    protocol = ProtocolSpec(kind=kind, folds=4, repeats=repeats)  # type: ignore[arg-type]
    arranged = plan(protocol, pools, seed=0)
    assert len(arranged.parts) == protocol.parts == len(arranged.inner)
    for repeat in arranged.held_out:
        assert np.sort(np.concatenate([rows for _, rows in repeat])).tolist() == list(range(120))
        for part, rows in repeat:
            overlap = set(arranged.parts[part].ids) & set(arranged.report.ids[rows])
            assert not overlap or kind != "cross_fitted"
    for pool, inner in zip(arranged.parts, arranged.inner, strict=True):
        for part, rows in inner:
            assert not set(arranged.parts[part].ids) & set(pool.ids[rows])
            assert set(arranged.parts[part].ids) < set(pool.ids)
        if inner:
            judged = np.bincount(np.concatenate([rows for _, rows in inner]), minlength=len(pool))
            assert set(judged.tolist()) == {repeats if pool is arranged.parts[0] else 1}
    deciding = {0} if kind != "cross_fitted" else {part for repeat in arranged.held_out for part, _ in repeat}
    assert all(arranged.inner[part] for part in deciding)


def test_repeats_use_other_folds() -> None:
    pool = make_pool("test")
    arranged = plan(ProtocolSpec(kind="cross_fitted", folds=4, repeats=2), {"test": pool}, seed=0)
    assert len(arranged.held_out) == 2
    first, second = (repeat[0][1].tolist() for repeat in arranged.held_out)
    assert first != second


def test_groups_are_never_split_and_there_are_no_more_folds_than_groups(caplog: pytest.LogCaptureFixture) -> None:
    pool = make_pool("dev", 90)
    people = dataclasses.replace(pool, groups=np.arange(90) % 3)
    with caplog.at_level(logging.WARNING):
        arranged = plan(ProtocolSpec(folds=5), {"dev": people, "test": make_pool("test", 120)}, seed=0)
    assert "dev: 3 groups of samples, so 3 folds instead of 5" in caplog.text
    assert len(arranged.parts) == 1 + 3
    held_out = [
        set((np.flatnonzero(np.isin(people.ids, people.ids[rows])) % 3).tolist()) for _, rows in arranged.inner[0]
    ]
    assert sorted(held_out, key=min) == [{0}, {1}, {2}]


@pytest.mark.parametrize(("kind", "groups"), [("dev", 1), ("cross_fitted", 2)])
def test_too_few_groups_are_refused_with_what_to_do(kind: str, groups: int) -> None:
    split: Split = "dev" if kind == "dev" else "test"
    one = dataclasses.replace(make_pool(split, 90), groups=np.arange(90) % groups)
    pools: dict[Split, Pool] = {"test": make_pool("test", 120), split: one}
    with pytest.raises(Ig3dError, match=rf"its 90 samples are of {groups} groups.*protocol\.group_by=\(\.\*\)"):
        plan(ProtocolSpec(kind=kind), pools, seed=0)  # type: ignore[arg-type]
