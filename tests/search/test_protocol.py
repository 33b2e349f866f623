"""Which samples choose and which report."""

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
