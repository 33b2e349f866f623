"""Search, protocols and intervals, on pools made here."""

import itertools
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from pools import MANY, make_pool, space
from sklearn.metrics import log_loss

from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion.combine import Fusion, softmax
from ig3d_ray.fusion.temperature import fit_temperatures
from ig3d_ray.search.candidates import Candidate
from ig3d_ray.search.explorer import Explorer, run_local
from ig3d_ray.search.held_out import fused_scores, held_out_logits
from ig3d_ray.search.leaderboard import build_leaderboard
from ig3d_ray.search.pareto import cost_of, pareto_front
from ig3d_ray.search.protocol import plan
from ig3d_ray.search.scoring import Result, Scorer, best_of, score_batch
from ig3d_ray.search.selection import Families
from ig3d_ray.types import Split, Task

SPACES = Path(__file__).parents[2] / "search_spaces"


@pytest.mark.parametrize("enumerate_up_to", [1000, 0], ids=["enumerated", "by Optuna"])
def test_the_search_finds_the_best_of_all_combinations(enumerate_up_to: int) -> None:
    pool = make_pool("dev")
    what = space(search={"budget": 200, "batch": 20, "enumerate_up_to": enumerate_up_to})
    (results,) = run_local(what, [pool])
    everything = [
        Candidate(("image", third), strategy, in_space, "exact" if strategy == "weighted" else None)
        for third in pool.names[1:]
        for strategy in what.fusion.strategies
        for in_space in what.fusion.spaces
    ]
    best = max(result.score for result in score_batch(pool, everything, what))
    assert best_of(results, "accuracy").score == best
    assert len({result.candidate for result in results}) == len(results) == len(everything) + len(pool.names)


def test_optuna_chooses_subsets_within_their_limit_and_every_method_sees_all_members() -> None:
    pool = make_pool("dev", members_3d=5)
    what = space(fusion=MANY, search={"budget": 60, "batch": 20, "subset_members": 3})
    (results,) = run_local(what, [pool])
    subsets = [r for r in results if r.candidate.method and len(r.candidate.members) < 6]
    assert len({r.candidate for r in subsets}) > 20
    assert {len(r.candidate.members) for r in subsets} == {2, 3}
    assert not any(r.candidate.temperatures for r in subsets), "their temperatures are fitted with their floors"
    (without,) = run_local(
        space(fusion=MANY | {"floors": "none"}, search={"budget": 60, "batch": 20, "subset_members": 3}), [pool]
    )
    own = {(r.candidate.method, r.candidate.temperatures) for r in without if len(r.candidate.members) < 6}
    assert own >= {("greedy", True), ("greedy", False)}
    whole = [(r.candidate.method, r.candidate.space) for r in results if len(r.candidate.members) == 6]
    methods = [("stack", "logits"), ("stack", "probabilities"), ("greedy", "probabilities"), ("coordinate", "logits")]
    assert whole == methods
    (limited,) = run_local(space(fusion=MANY, search={"budget": 20, "batch": 20, "max_members": 2}), [pool])
    assert max(len(r.members) for r in limited) == 2


@pytest.mark.parametrize("enumerate_up_to", [1000, 0], ids=["enumerated", "by Optuna"])
def test_members_of_one_view_are_paired_with_each_other(enumerate_up_to: int) -> None:
    pool = replace(make_pool("dev"), views=("2d",) * 4)
    what = space(
        fusion={"strategies": "weighted", "spaces": "logits"},
        search={"budget": 200, "batch": 50, "enumerate_up_to": enumerate_up_to},
    )
    (results,) = run_local(what, [pool])
    pairs = {r.candidate.members for r in results if r.candidate.strategy}
    assert pairs == set(itertools.combinations(pool.names, 2))
    references = [{"name": "typed", "strategy": "mean"}]
    (alone,) = run_local(space(fusion=MANY, search={"max_members": 1}, references=references), [make_pool("dev")])
    assert {r.candidate.members for r in alone} == {(name,) for name in pool.names}


def test_members_without_weight_take_no_part_and_scores_are_those_of_applying_the_fusion() -> None:
    pool = make_pool("dev", members_3d=5)
    what = space(fusion=MANY | {"weights_per": ["member", "column"]})
    (results,) = run_local(what, [pool])
    for result in results:
        fused = result.fusion.apply(pool.outputs_of(result.members), Task.EXPRESSION)
        assert (fused.argmax(axis=1) == pool.labels).mean() == pytest.approx(result.score), result.candidate
        if result.candidate.method and not result.candidate.per_column:
            assert result.fusion.weights is not None
            assert min(result.fusion.weights) > 0
            assert len(result.fusion.weights) == len(result.members)


def test_the_solved_weight_is_no_worse_than_any_sampled_one() -> None:
    pool = make_pool("dev")
    (exact,) = score_batch(pool, [Candidate(("image", "params1"), "weighted", "logits", "exact")], space())
    grid = [Candidate(("image", "params1"), "weighted", "logits", float(w)) for w in np.linspace(0, 1, 501)]
    assert exact.score >= max(result.score for result in score_batch(pool, grid, space()))
    assert exact.fusion.weights is not None
    assert exact.fusion.equally_good_weight_3d is not None
    low, high = exact.fusion.equally_good_weight_3d
    assert low <= exact.fusion.weights[1] <= high


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_the_same_seed_gives_the_same_results_and_another_another(sampler: str) -> None:
    search = {"budget": 30, "batch": 5, "sampler": sampler}
    what = {"search": search, "fusion": MANY | {"weight_3d": [0.0, 1.0]}}
    pool = make_pool("dev")
    first, again = (run_local(space(**what), [pool]) for _ in range(2))
    assert first == again
    other = run_local(space(**what, seed=1), [pool])
    assert [r.candidate for r in first[0]] != [r.candidate for r in other[0]]


def test_results_told_in_any_order_give_the_same_search() -> None:
    what, pool = space(fusion={"weight_3d": [0.0, 1.0]}), make_pool("dev")
    explorer = Explorer(what, [pool])
    while batches := explorer.next_round():
        results = {b.number: score_batch(pool, b.candidates, what) for b in reversed(batches)}
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
    pool = Pool("faces", "dev", Task.VA, ("image", "params"), ("a", "b"), ("2d", "3d"), ids, outputs, truth)
    fusion = Scorer(pool, objective).score(Candidate(("image", "params"), "weighted", "logits", "exact")).fusion

    def at(weights: tuple[float, ...]) -> float:
        fused = Fusion(strategy="weighted", space="logits", weights=weights).apply(outputs, Task.VA)
        return metrics.score(Task.VA, fused, truth)[objective]

    assert fusion.weights is not None
    sign = 1 if metrics.metric_of(objective).greater_is_better else -1
    best = max(sign * at((1 - w, w)) for w in np.linspace(0, 1, 301).tolist())
    assert sign * at(fusion.weights) >= best - 1e-9


def test_labels_of_a_held_out_fold_change_nothing_that_is_predicted_for_it() -> None:
    what = space(protocol={"kind": "cross_fitted", "folds": 3}, fusion=MANY | {"weight_3d": [0.0, 1.0]})
    pool = make_pool("test")
    arranged = plan(what.protocol, {"test": pool}, what.seed)
    part, rows = arranged.held_out[0][0]
    spoiled = replace(pool, labels=np.where(np.isin(np.arange(len(pool)), rows), 0, pool.labels))
    parts = tuple(
        spoiled.take(np.searchsorted(pool.ids, one.ids)) if one is not arranged.report else spoiled
        for one in arranged.parts
    )
    after = replace(arranged, parts=parts, report=spoiled)
    both = [(one, run_local(what, one.parts)) for one in (arranged, after)]
    choices = [Families(one, results, "accuracy").choose(part) for one, results in both]
    assert choices[0] == choices[1]
    assert both[0][1][0] != both[1][1][0]


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
            pools["test"].outputs_of(board.chosen.result.members), Task.EXPRESSION
        )
        expected = (by_hand.argmax(axis=1) == pools["test"].labels).mean()
        assert scores.report.metrics["accuracy"].value == pytest.approx(expected)


def test_cross_fitted_numbers_are_those_of_a_loop_by_hand() -> None:
    pool, what = make_pool("test"), space(protocol={"kind": "cross_fitted", "folds": 3}, fusion=MANY)
    arranged = plan(what.protocol, {"test": pool}, what.seed)
    results = run_local(what, arranged.parts)
    board, families = build_leaderboard(what, arranged, results), Families(arranged, results, "accuracy")
    right = 0
    for part, rows in arranged.held_out[0]:
        best = families.choose(part)
        fused = best.fusion.apply(pool.outputs_of(best.members)[:, rows], Task.EXPRESSION)
        right += int((fused.argmax(axis=1) == pool.labels[rows]).sum())
    assert board.chosen.scores.report.metrics["accuracy"].value == pytest.approx(right / len(pool))
    assert board.chosen.scores.selection.metrics["accuracy"].value == pytest.approx(families.choose(0).score)


def test_the_family_that_wins_is_the_best_on_samples_it_did_not_see() -> None:
    pools: dict[Split, Pool] = {"dev": make_pool("dev", members_3d=4), "test": make_pool("test", members_3d=4)}
    what = space(fusion=MANY, references=[{"name": "typed", "strategy": "mean"}])
    arranged = plan(what.protocol, pools, what.seed)
    families = Families(arranged, run_local(what, arranged.parts), "accuracy")
    scores = families.cross_fitted(0)
    assert {
        "always the member that looks best",
        "best weighted of two",
        "stack of logits",
        "greedy",
        "best subset",
    } < set(scores)
    for name, score in scores.items():
        right = 0
        for part, rows in arranged.inner[0]:
            pick = families.best[part][name]
            fused = pick.fusion.apply(pools["dev"].outputs_of(pick.members)[:, rows], Task.EXPRESSION)
            right += int((fused.argmax(axis=1) == pools["dev"].labels[rows]).sum())
        assert score == pytest.approx(right / 300), name
    chosen = families.choose(0)
    assert not chosen.candidate.reference
    own = {name: score for name, score in scores.items() if not name.startswith("typed")}
    top = max(own, key=own.__getitem__)
    assert families.best[0][top].candidate.method, "another pool is needed to see the rule"
    # Methods within one standard error, fold by fold, of the best one: of these the least log-loss.
    losses = {}
    for name in own:
        if families.best[0][name].candidate.method:
            behind = []
            logits, labels = held_out_logits(arranged, families.pick(name), 0)
            for part, rows in arranged.inner[0]:
                right = [
                    fused_scores(families.best[part][one], pools["dev"], rows).argmax(axis=1)
                    == pools["dev"].labels[rows]
                    for one in (top, name)
                ]
                behind.append(right[0].mean() - right[1].mean())
            if np.mean(behind) <= np.std(behind, ddof=1) / np.sqrt(len(behind)):
                warm = fit_temperatures(logits[None], labels)[0]
                losses[name] = log_loss(labels, softmax(logits / warm), labels=range(logits.shape[1]))
    assert len(losses) > 1
    assert chosen is families.best[0][min(losses, key=losses.__getitem__)]


def test_a_search_that_was_killed_asks_for_nothing_twice_and_ends_the_same() -> None:
    what, pool = space(fusion=MANY), make_pool("dev")
    (whole,) = run_local(what, [pool])
    half = {(0, result.candidate): result for result in whole[: len(whole) // 2]}
    explorer, asked = Explorer(what, [pool], half), []
    while batches := explorer.next_round():
        asked += [candidate for batch in batches for candidate in batch.candidates]
        explorer.finish_round(batches, {b.number: score_batch(pool, b.candidates, what) for b in batches})
    assert explorer.studies[0].order == whole
    assert set(asked) == {result.candidate for result in whole[len(whole) // 2 :]}


def test_a_second_objective_gives_a_front_that_nothing_beats() -> None:
    pool = make_pool("dev", members_3d=4)
    search = {"budget": 40, "batch": 20, "second_objective": "cost", "costs": {"image": 10, "*": 1}}
    what = space(fusion=MANY, search=search)
    (results,) = run_local(what, [pool])
    front = pareto_front(results, "accuracy", what.search)
    costs = [cost for cost, _ in front]
    assert costs == sorted(set(costs))
    assert costs[0] == 1
    for cost, one in front:
        assert cost == sum(10 if name == "image" else 1 for name in one.members)
        assert not any(cost_of(what.search, r.members) <= cost and r.score > one.score for r in results)
    with pytest.raises(Ig3dError, match=r"search\.costs: none for member 'params0'"):
        cost_of(what.search.model_copy(update={"costs": {"image": 1.0}}), ["params0"])


def test_of_equally_good_results_the_smaller_then_the_earlier_wins() -> None:
    fusion = Fusion(strategy=None, space="logits", weights=None)
    pair = Result(Candidate(("a", "b"), "mean"), ("a", "b"), fusion, 0.5)
    single, later = (Result(Candidate((name,)), (name,), fusion, 0.5) for name in "ab")
    assert best_of([pair, single, later], "accuracy") is single
    assert best_of([pair, single], "mse") is single


def test_a_search_leaves_optunas_verbosity_and_warning_filters_as_they_are() -> None:
    before, filters = optuna.logging.get_verbosity(), list(warnings.filters)
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        run_local(space(search={"budget": 5}), [make_pool("dev")])
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
        assert warnings.filters == filters
    finally:
        optuna.logging.set_verbosity(before)
