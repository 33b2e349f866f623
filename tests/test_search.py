"""Search, protocols and intervals, on pools made here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ig3d_ray import metrics
from ig3d_ray.data.catalog import Split
from ig3d_ray.data.labels import Labels
from ig3d_ray.ensemble import Fusion
from ig3d_ray.errors import Ig3dError
from ig3d_ray.leaderboard import build_leaderboard
from ig3d_ray.logits import LogitTable
from ig3d_ray.pool import Pool, align
from ig3d_ray.protocol import Bootstrap, ProtocolSpec, assemble, plan, stratified_folds
from ig3d_ray.search import Candidate, Explorer, Result, best_of, run_local, score_batch, solve
from ig3d_ray.space import SearchSpace

SPACES = Path(__file__).parents[1] / "search_spaces"


def make_pool(split: Split, samples: int = 300, seed: int = 0, members_3d: int = 3) -> Pool:
    """A 2D member that knows half of what there is to know, and 3D members that know the other half."""
    rng = np.random.default_rng([seed, len(split)])
    labels = rng.integers(0, 7, samples)
    truth = np.eye(7)[labels]
    names = ("image", *(f"params{i}" for i in range(members_3d)))
    strength = [1.6] + [1.2 + 0.2 * i for i in range(members_3d)]
    outputs = [s * truth + rng.standard_normal((samples, 7)) for s in strength]
    return Pool(
        dataset="rafdb",
        split=split,
        task="expression",
        names=names,
        fingerprints=names,
        views=("2d",) + ("3d",) * members_3d,
        ids=np.array([f"{i:04d}" for i in range(samples)]),
        outputs_MNC=np.stack(outputs).astype(np.float32),
        labels=labels,
    )


def space(**changes: object) -> SearchSpace:
    content: dict = {
        "dataset": "rafdb",
        "objective": "accuracy",
        "pool": [{"kind": "imported", "name": "image", "view": "2d"}],
        "search": {"budget": 40, "batch": 7, "concurrent": 2},
    }
    return SearchSpace.model_validate(content | changes)


def test_the_search_finds_the_best_of_all_combinations() -> None:
    pool, what = make_pool("dev"), space(search={"budget": 200, "batch": 20})
    (results,) = run_local(what, [pool])
    everything = [
        Candidate(("image", third), strategy, in_space, "exact" if strategy == "weighted" else None)
        for third in pool.names[1:]
        for strategy in what.fusion.strategies
        for in_space in what.fusion.spaces
    ]
    best = max(result.score for result in score_batch(pool, everything, "accuracy"))
    assert best_of(results, "accuracy").score == best
    assert len({result.candidate for result in results}) == len(results) == len(everything) + len(pool.names)


def test_the_solved_weight_is_no_worse_than_any_sampled_one() -> None:
    pool = make_pool("dev")
    (exact,) = score_batch(pool, [Candidate(("image", "params1"), "weighted", "logits", "exact")], "accuracy")
    grid = [Candidate(("image", "params1"), "weighted", "logits", float(w)) for w in np.linspace(0, 1, 501)]
    assert exact.score >= max(result.score for result in score_batch(pool, grid, "accuracy"))
    assert exact.fusion.weights is not None
    assert exact.fusion.equally_good_weight_3d is not None
    low, high = exact.fusion.equally_good_weight_3d
    assert low <= exact.fusion.weights[1] <= high


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_gives_the_same_results_and_another_another(sampler: str) -> None:
    what = {"search": {"budget": 30, "batch": 5, "sampler": sampler}, "fusion": {"weight_3d": [0.0, 1.0]}}
    pool = make_pool("dev")
    first, again = (run_local(space(**what), [pool]) for _ in range(2))
    assert first == again
    other = run_local(space(**what, seed=1), [pool])
    assert [r.candidate for r in first[0]] != [r.candidate for r in other[0]]


def test_results_told_in_any_order_give_the_same_search() -> None:
    what, pool = space(fusion={"weight_3d": [0.0, 1.0]}), make_pool("dev")
    explorer = Explorer(what, [pool])
    while batches := explorer.next_round():
        results = {b.number: score_batch(pool, b.candidates, "accuracy") for b in reversed(batches)}
        explorer.finish_round(list(reversed(batches)), results)
    assert [study.order for study in explorer.studies] == run_local(what, [pool])


def test_sampled_weights_stay_in_their_range() -> None:
    (results,) = run_local(space(fusion={"strategies": ["weighted"], "weight_3d": [0.2, 0.3]}), [make_pool("dev")])
    weights = [r.fusion.weights[1] for r in results if r.fusion.weights]
    assert len(weights) == 40
    assert 0.2 <= min(weights) < max(weights) <= 0.3


def test_references_are_always_scored_with_every_pair_that_fits() -> None:
    reference = {"name": "paper", "strategy": "weighted", "weight_3d": 0.35, "member_3d": "params[01]"}
    (results,) = run_local(space(references=[reference], search={"budget": 1, "batch": 1}), [make_pool("dev")])
    found = [r.candidate.members for r in results if r.candidate.reference == "paper"]
    assert found == [("image", "params0"), ("image", "params1")]


@pytest.mark.parametrize("objective", ["mse", "rmse", "ccc", "ccc_paper", "ccc_valence", "mse_arousal"])
def test_exact_weights_for_valence_arousal_beat_a_grid(objective: str) -> None:
    rng = np.random.default_rng(4)
    truth = rng.uniform(-1, 1, (200, 2)).astype(np.float32)
    outputs = np.stack([truth + s * rng.standard_normal((200, 2)) for s in (0.3, 0.5)]).astype(np.float32)
    ids = np.array([f"{i:04d}" for i in range(200)])
    pool = Pool("faces", "dev", "va", ("image", "params"), ("a", "b"), ("2d", "3d"), ids, outputs, truth)
    fusion = solve(Candidate(("image", "params"), "weighted", "logits", "exact"), pool, objective)

    def at(weights: tuple[float, ...]) -> float:
        fused = Fusion(strategy="weighted", space="logits", weights=weights).apply(outputs, "va")
        return metrics.score("va", fused, truth)[objective]

    assert fusion.weights is not None
    sign = 1 if metrics.direction_of(objective) == "maximize" else -1
    best = max(sign * at((1 - w, w)) for w in np.linspace(0, 1, 301).tolist())
    assert sign * at(fusion.weights) >= best - 1e-9


def test_an_objective_without_a_solution_says_so() -> None:
    with pytest.raises(Ig3dError, match="no exact weight for objective 'macro_f1'"):
        solve(Candidate(("image", "params0"), "weighted", "logits", "exact"), make_pool("dev"), "macro_f1")


def table(name: str, ids: list[str], values: np.ndarray, dataset: str = "rafdb") -> LogitTable:
    return LogitTable(dataset, "test", name, name, "2d", "{}", "", np.array(ids), values, None)


def test_members_meet_by_id_on_what_they_have_in_common() -> None:
    values = np.arange(28, dtype=np.float32).reshape(4, 7)
    first = table("first", ["d", "b", "a", "c"], values)
    second = table("second", ["b", "c", "e", "a"], -values)
    labels = Labels("rafdb", "test", np.array(list("abcde")), np.arange(5), np.full((5, 2), np.nan, np.float32))
    pool = align([first, second], labels, "expression")
    assert pool.ids.tolist() == ["a", "b", "c"]
    assert pool.left_out == ("d", "e")
    assert pool.labels.tolist() == [0, 1, 2]
    assert pool.outputs_MNC[0, :, 0].tolist() == [14, 7, 21]
    assert pool.outputs_MNC[1, :, 0].tolist() == [-21, 0, -7]
    with pytest.raises(Ig3dError, match="no sample is common to third, fourth"):
        align([table("third", ["d"], values[:1]), table("fourth", ["e"], values[:1])], labels, "expression")
    with pytest.raises(Ig3dError, match=r"third: sample 'x' is not among rafdb's test samples \(1 of 1 such\)"):
        align([first, table("third", ["x"], values[:1])], labels, "expression")
    with pytest.raises(Ig3dError, match="first: no valence and arousal cached"):
        align([first], labels, "va")
    with pytest.raises(Ig3dError, match="the pool is empty"):
        align([], labels, "expression")
    with pytest.raises(Ig3dError, match="2 members are called 'first'; import one of them under another name"):
        align([first, table("first", ["a"], values[:1])], labels, "expression")


def test_a_shuffled_table_gives_the_same_pool() -> None:
    rng = np.random.default_rng(0)
    ids, values = [f"{i:03d}" for i in range(50)], rng.standard_normal((50, 7)).astype(np.float32)
    order = rng.permutation(50)
    labels = Labels("rafdb", "test", np.array(ids), rng.integers(0, 7, 50), np.full((50, 2), np.nan, np.float32))
    turned = Labels("rafdb", "test", labels.ids[order], labels.expression[order], labels.va)
    first = align([table("m", ids, values)], labels, "expression")
    again = align([table("m", [ids[i] for i in order], values[order])], turned, "expression")
    assert first.digest == again.digest
    other = Labels("rafdb", "test", labels.ids, (labels.expression + 1) % 7, labels.va)
    assert align([table("m", ids, values)], other, "expression").digest != first.digest


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


def test_cross_fitting_never_chooses_with_the_samples_it_reports() -> None:
    pool = make_pool("test")
    arranged = plan(ProtocolSpec(kind="cross_fitted", folds=4), {"test": pool}, seed=0)
    assert np.sort(np.concatenate([rows for _, rows in arranged.held_out])).tolist() == list(range(len(pool)))
    for part, rows in arranged.held_out:
        assert not set(arranged.parts[part].ids) & set(pool.ids[rows])


def test_labels_of_a_held_out_fold_change_nothing_that_is_predicted_for_it() -> None:
    what = space(protocol={"kind": "cross_fitted", "folds": 4}, fusion={"weight_3d": [0.0, 1.0]})
    pool = make_pool("test")
    arranged = plan(what.protocol, {"test": pool}, what.seed)
    part, rows = arranged.held_out[0]
    spoiled = replace(pool, labels=np.where(np.isin(np.arange(len(pool)), rows), 0, pool.labels))
    parts = tuple(
        spoiled.take(np.searchsorted(pool.ids, one.ids)) if one is not arranged.report else spoiled
        for one in arranged.parts
    )
    honest, dishonest = (run_local(what, some)[part] for some in (arranged.parts, parts))
    assert honest == dishonest
    assert (arranged.parts[0].labels != parts[0].labels).any()


def test_choosing_and_reporting_sets_differ_under_dev_and_are_one_under_paper() -> None:
    pools: dict[Split, Pool] = {"dev": make_pool("dev"), "test": make_pool("test", samples=200)}
    for kind, selection, optimistic in (("dev", "dev", False), ("paper", "test", True)):
        what = space(protocol={"kind": kind})
        arranged = plan(what.protocol, pools, 0)
        board = build_leaderboard(what, arranged, run_local(what, arranged.parts))
        scores = board.chosen.scores
        assert (scores.selection.split, scores.report.split) == (selection, "test")
        assert (scores.selection.optimistic, scores.report.optimistic) == (True, optimistic)
        assert scores.report.n == 200
        by_hand = board.chosen.result.fusion.apply(
            pools["test"].outputs_of(board.chosen.result.candidate.members), "expression"
        )
        expected = (by_hand.argmax(axis=1) == pools["test"].labels).mean()
        assert scores.report.metrics["accuracy"].value == pytest.approx(expected)


def test_cross_fitted_numbers_are_those_of_a_loop_by_hand() -> None:
    pool, what = make_pool("test"), space(protocol={"kind": "cross_fitted", "folds": 3})
    arranged = plan(what.protocol, {"test": pool}, what.seed)
    results = run_local(what, arranged.parts)
    board = build_leaderboard(what, arranged, results)
    right = 0
    for part, rows in arranged.held_out:
        best = best_of(results[part], "accuracy")
        fused = best.fusion.apply(pool.outputs_of(best.candidate.members)[:, rows], "expression")
        right += int((fused.argmax(axis=1) == pool.labels[rows]).sum())
    assert board.chosen.scores.report.metrics["accuracy"].value == pytest.approx(right / len(pool))
    assert board.chosen.scores.selection.metrics["accuracy"].value == pytest.approx(
        best_of(results[0], "accuracy").score
    )


def test_bootstrap_intervals_hold_the_normal_approximation_and_pair_what_is_compared() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 1000)
    right = np.eye(3)[np.where(rng.random(1000) < 0.8, labels, (labels + 1) % 3)]
    statistics = metrics.statistics("expression", right, labels)
    bootstrap = Bootstrap("expression", 1000, seed=3)
    interval = bootstrap.intervals(statistics)["accuracy"]
    error = 1.96 * (interval.value * (1 - interval.value) / 1000) ** 0.5
    assert interval.low == pytest.approx(interval.value - error, abs=0.004)
    assert interval.high == pytest.approx(interval.value + error, abs=0.004)
    same = bootstrap.gain(statistics, statistics, "accuracy")
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert Bootstrap("expression", 1000, seed=3).intervals(statistics) == bootstrap.intervals(statistics)


def test_a_gain_in_an_error_is_positive_when_the_error_is_smaller() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, (300, 2))
    good, bad = (metrics.statistics("va", truth + s * rng.standard_normal((300, 2)), truth) for s in (0.1, 0.4))
    gain = Bootstrap("va", 300, seed=0).gain(good, bad, "mse")
    assert 0 < gain.low < gain.value < gain.high


def test_held_out_rows_are_predicted_once_each() -> None:
    two = np.zeros((2, 1))
    assert assemble([(np.array([1, 0]), two), (np.array([2, 3]), two + 1)], 4).ravel().tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="once each"):
        assemble([(np.array([0, 1]), two), (np.array([1, 2]), two)], 4)
    with pytest.raises(ValueError, match="never held out"):
        assemble([(np.array([0, 1]), two)], 4)


def test_of_equally_good_results_the_smaller_then_the_earlier_wins() -> None:
    fusion = Fusion(strategy=None, space="logits", weights=None)
    pair, single = Result(Candidate(("a", "b"), "mean"), fusion, 0.5), Result(Candidate(("a",)), fusion, 0.5)
    later = Result(Candidate(("b",)), fusion, 0.5)
    assert best_of([pair, single, later], "accuracy") is single
    assert best_of([pair, single], "mse") is single
