"""Members' tables aligned by id."""

import numpy as np
import pytest

from ig3d_ray.data.labels import Labels
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitTable
from ig3d_ray.evaluation.pool import align
from ig3d_ray.types import Task


def table(name: str, ids: list[str], values: np.ndarray, dataset: str = "rafdb") -> LogitTable:
    return LogitTable(dataset, "test", name, name, "2d", "{}", "", np.array(ids), values, None)


def test_members_meet_by_id_on_what_they_have_in_common() -> None:
    values = np.arange(28, dtype=np.float32).reshape(4, 7)
    first = table("first", ["d", "b", "a", "c"], values)
    second = table("second", ["b", "c", "e", "a"], -values)
    labels = Labels("rafdb", "test", np.array(list("abcde")), np.arange(5), np.full((5, 2), np.nan, np.float32))
    pool = align([first, second], labels, Task.EXPRESSION)
    assert pool.ids.tolist() == ["a", "b", "c"]
    assert pool.excluded == ("d", "e")
    assert pool.labels.tolist() == [0, 1, 2]
    assert pool.outputs_MNC[0, :, 0].tolist() == [14, 7, 21]
    assert pool.outputs_MNC[1, :, 0].tolist() == [-21, 0, -7]
    with pytest.raises(Ig3dError, match="no sample is common to third, fourth"):
        align([table("third", ["d"], values[:1]), table("fourth", ["e"], values[:1])], labels, Task.EXPRESSION)
    with pytest.raises(Ig3dError, match=r"third: sample 'x' is not among rafdb's test samples \(1 of 1 such\)"):
        align([first, table("third", ["x"], values[:1])], labels, Task.EXPRESSION)
    with pytest.raises(Ig3dError, match="first: no valence and arousal cached"):
        align([first], labels, Task.VA)
    with pytest.raises(Ig3dError, match="the pool is empty"):
        align([], labels, Task.EXPRESSION)
    with pytest.raises(Ig3dError, match="2 members are called 'first'; import one of them under another name"):
        align([first, table("first", ["a"], values[:1])], labels, Task.EXPRESSION)


def test_a_shuffled_table_gives_the_same_pool() -> None:
    rng = np.random.default_rng(0)
    ids, values = [f"{i:03d}" for i in range(50)], rng.standard_normal((50, 7)).astype(np.float32)
    order = rng.permutation(50)
    labels = Labels("rafdb", "test", np.array(ids), rng.integers(0, 7, 50), np.full((50, 2), np.nan, np.float32))
    turned = Labels("rafdb", "test", labels.ids[order], labels.expression[order], labels.va)
    first = align([table("m", ids, values)], labels, Task.EXPRESSION)
    again = align([table("m", [ids[i] for i in order], values[order])], turned, Task.EXPRESSION)
    assert first.digest == again.digest
    other = Labels("rafdb", "test", labels.ids, (labels.expression + 1) % 7, labels.va)
    assert align([table("m", ids, values)], other, Task.EXPRESSION).digest != first.digest
