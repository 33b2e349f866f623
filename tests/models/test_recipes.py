"""Losses, sampling, masking, schedules and optimizers of the recipes, each against an independent computation."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from golden_rules import CONFUSIONS
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy import stats
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch.nn import functional

from ig3d_ray.evaluation import metrics
from ig3d_ray.models.cage.spec import CageSpec
from ig3d_ray.models.intermediate.spec import IntermediateSpec
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.models.recipe import LossSpec, TrainingRecipe
from ig3d_ray.models.spec import MemberName
from ig3d_ray.training.losses import (
    CAGE_WEIGHTS,
    ccc,
    class_weights,
    cross_entropy,
    member_loss,
    pcc,
    va_terms,
    va_weights,
)
from ig3d_ray.training.optim import Schedule, make_optimizer, sam_step
from ig3d_ray.training.sampling import EpochPlan, mask_params
from ig3d_ray.types import Task


def batch(seed: int = 0, size: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, (size, 2))
    return torch.from_numpy(0.5 * truth + 0.3 * rng.standard_normal((size, 2)) + 0.1), torch.from_numpy(truth)


@given(st.integers(0, 10_000), st.integers(3, 200))
def test_pcc_is_scipys_and_ccc_follows_from_it(seed: int, size: int) -> None:
    predicted, truth = batch(seed, size)
    for column in range(2):
        p, t = predicted[:, column].numpy(), truth[:, column].numpy()
        r = stats.pearsonr(p, t).statistic
        assert float(pcc(predicted, truth)[column]) == pytest.approx(r, abs=1e-9)
        # The published code has variances here instead of standard deviations.
        by_r = 2 * r * p.std() * t.std() / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)
        assert float(ccc(predicted, truth)[column]) == pytest.approx(by_r, abs=1e-9)


def loss_of(spec: LossSpec, scores: torch.Tensor, labels: torch.Tensor, truth: torch.Tensor, classes: int) -> float:
    weights = va_weights(spec, torch.full((1, 3), 0.5))[0].to(scores.dtype)
    ours = class_weights(spec, labels, classes).to(scores.dtype)
    return float(member_loss(scores, labels, truth, classes if spec.has_classes else 0, ours, weights))


def test_equations_2_and_3_are_cages() -> None:
    predicted, truth = batch()
    labels = torch.arange(48) % 8
    logits = torch.randn(48, 8, dtype=torch.float64)
    both = torch.cat([logits, predicted], dim=1)
    cage = torch.tensor(CAGE_WEIGHTS[8], dtype=torch.float64)
    expected = functional.cross_entropy(logits, labels, cage) + 5 * functional.mse_loss(predicted, truth)
    two = LossSpec(va_terms="mse", w1=5, class_weights="cage")
    assert loss_of(two, both, labels, truth, 8) == pytest.approx(float(expected), rel=1e-6)
    by_hand = 0.0
    for column in range(2):
        p, t = predicted[:, column].numpy(), truth[:, column].numpy()
        c = np.cov(p, t, ddof=0)
        concordance = 2 * c[0, 1] / (c[0, 0] + c[1, 1] + (p.mean() - t.mean()) ** 2)
        by_hand += 3 * ((p - t) ** 2).mean() + 1 - concordance
    assert loss_of(LossSpec(va_terms="ccc", w2=3), predicted, labels, truth, 8) == pytest.approx(by_hand, rel=1e-6)


def test_random_weights_are_the_papers_and_others_do_not_look_at_the_draws() -> None:
    draws = torch.rand(10, 3)
    random = va_weights(LossSpec(va_terms="random"), draws)
    assert torch.allclose(random, draws / draws.sum(1, keepdim=True))
    for spec in (LossSpec(), LossSpec(va_terms="fixed", alpha=1, beta=3, gamma=0), LossSpec(va_terms="mse")):
        assert (va_weights(spec, draws) == va_weights(spec, torch.zeros(10, 3))).all()
    assert va_weights(LossSpec(va_terms="fixed", alpha=1, beta=3, gamma=0), draws)[0].tolist() == [0.25, 0.75, 0]


def test_a_perfect_prediction_costs_nothing_but_its_cross_entropy() -> None:
    _, truth = batch()
    for spec in (LossSpec(va_terms="random"), LossSpec(va_terms="mse"), LossSpec(va_terms="ccc")):
        assert float(va_terms(truth, truth, va_weights(spec, torch.rand(1, 3))[0])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weighting", ["none", "inverse_frequency", "cage"])
def test_cross_entropy_is_torchs(weighting: Any) -> None:
    logits, labels = torch.randn(64, 8), torch.randint(0, 8, (64,))
    weights = class_weights(LossSpec(class_weights=weighting), labels, 8)
    expected = functional.cross_entropy(logits, labels, weights)
    assert float(cross_entropy(logits, labels, weights)) == pytest.approx(float(expected), rel=1e-6)
    together = cross_entropy(torch.stack([logits, 2 * logits]), torch.stack([labels, labels]), weights.expand(2, 8))
    assert float(together[0]) == pytest.approx(float(expected), rel=1e-6)
    assert together.shape == (2,)


def test_cages_weights_of_seven_classes_are_the_inverse_counts() -> None:
    counts = np.array([74874, 134415, 25459, 14090, 6378, 3803, 24882])
    inverse = (1 / counts) / (1 / counts).sum()
    assert np.allclose(CAGE_WEIGHTS[7], inverse, atol=2e-6)


LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)


def rows_of(sampling: Any, epoch: int, seed: int = 0) -> torch.Tensor:
    plan = EpochPlan(TrainingRecipe(batch_size=5, sampling=sampling), seed, LABELS, 3)
    return plan.draw(epoch).batches


def test_shuffling_sees_every_sample_once() -> None:
    for epoch in (1, 2):
        assert sorted(rows_of("shuffle", epoch).flatten().tolist()) == list(range(100))
    assert not torch.equal(rows_of("shuffle", 1), rows_of("shuffle", 2))
    assert torch.equal(rows_of("shuffle", 1), rows_of("shuffle", 1))
    assert not torch.equal(rows_of("shuffle", 1), rows_of("shuffle", 1, seed=1))


def test_inverse_frequency_sampling_balances_the_classes() -> None:
    drawn = torch.cat([rows_of("inverse_frequency", epoch).flatten() for epoch in range(1, 200)])
    shares = torch.bincount(LABELS[drawn]) / len(drawn)
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert len(drawn) == 199 * 100


def test_drawn_once_means_the_same_samples_in_every_epoch_in_another_order() -> None:
    for sampling, size in (("inverse_frequency_once", 100), ("min_class", 30)):
        first, second = rows_of(sampling, 1).flatten(), rows_of(sampling, 2).flatten()
        assert len(first) == size
        assert first.sort().values.tolist() == second.sort().values.tolist()
        assert first.tolist() != second.tolist()
        assert rows_of(sampling, 1, seed=1).flatten().sort().values.tolist() != first.sort().values.tolist()
    balanced = rows_of("min_class", 1).flatten()
    assert torch.bincount(LABELS[balanced]).tolist() == [10, 10, 10]
    assert len(set(balanced.tolist())) == 30


def test_masking_takes_a_random_number_of_values_from_some_groups() -> None:
    groups = (("a", 10), ("b", 4))
    params = torch.ones(20_000, 14)
    uniform = torch.rand(20_000, 14 + 4, generator=torch.Generator().manual_seed(0))
    masked = mask_params(params, groups, 0.1, uniform)
    for columns, size in ((masked[:, :10], 10), (masked[:, 10:], 4)):
        lost = (columns == 0).sum(1)
        assert float((lost > 0).float().mean()) == pytest.approx(0.1, abs=0.01)
        counts = torch.bincount(lost[lost > 0], minlength=size + 1)[1:]
        assert counts.min() > 0.6 * counts.float().mean()
        assert len(counts) == size
    assert torch.equal(mask_params(params, groups, 0.0, uniform), params)


def rates(recipe: TrainingRecipe, steps: int, epochs: int, dev_losses: list[float] | None = None) -> list[float]:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer(recipe, [weight])
    schedule = Schedule(recipe, optimizer, steps)
    found = []
    for epoch in range(epochs):
        for _ in range(steps):
            found.append(schedule.rate)
            weight.grad = torch.ones(1)
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch((dev_losses or [0.0] * epochs)[epoch])
    return found


def test_schedules() -> None:
    cyclic = rates(TrainingRecipe(base_lr=1e-5, max_lr=1e-3, half_cycle=4), steps=8, epochs=2)
    assert cyclic[0] == cyclic[8] == pytest.approx(1e-5)
    assert cyclic[4] == max(cyclic) == pytest.approx(1e-3)
    cosine = rates(TrainingRecipe(schedule="cosine", base_lr=0, max_lr=4e-5, half_cycle=8), steps=8, epochs=3)
    for step in (0, 3, 8, 11, 16, 20):
        # CAGE's schedule goes on oscillating after its half cycle.
        assert cosine[step] == pytest.approx(2e-5 * (1 + math.cos(math.pi * step / 8)), abs=1e-12)
    exponential = rates(TrainingRecipe(schedule="exponential", max_lr=1e-2, lr_factor=0.6), steps=2, epochs=3)
    assert exponential == pytest.approx([1e-2, 1e-2, 6e-3, 6e-3, 3.6e-3, 3.6e-3])
    stepped = rates(TrainingRecipe(schedule="step", max_lr=1e-2, lr_epochs=2, lr_factor=0.1), steps=1, epochs=5)
    assert stepped == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4])
    plateau = TrainingRecipe(schedule="plateau", max_lr=1e-2, lr_factor=0.1)
    assert rates(plateau, 1, 5, [3, 2, 2, 1, 1]) == pytest.approx([1e-2, 1e-2, 1e-2, 1e-3, 1e-3])
    assert rates(TrainingRecipe(schedule="constant", max_lr=1e-2), 2, 2) == [1e-2] * 4


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_optimizers_are_torchs(name: Any, kind: Any) -> None:
    made = make_optimizer(TrainingRecipe(optimizer=name, weight_decay=0.1), [torch.nn.Parameter(torch.ones(2))])
    assert type(made) is kind
    assert made.param_groups[0]["weight_decay"] == 0.1
    sgd = make_optimizer(TrainingRecipe(optimizer="sgd", momentum=0.8), [torch.nn.Parameter(torch.ones(2))])
    assert sgd.param_groups[0]["momentum"] == 0.8


def test_sharpness_aware_steps_use_the_gradient_uphill() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def backward() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (weight**4).sum()
        loss.backward()
        return loss.detach()

    before = weight.detach().clone()
    gradient = 4 * before**3
    uphill = before + 0.05 * gradient / gradient.norm()
    assert float(sam_step(torch.nn.Identity(), optimizer, 0.05, backward, lambda: None)) == pytest.approx(17)
    assert torch.allclose(weight, before - 0.1 * 4 * uphill**3)


def test_recipes_that_make_no_sense_are_refused() -> None:
    for changed, message in (
        ({"base_lr": 1.0, "max_lr": 0.1}, "base_lr 1 is above max_lr 0.1"),
        ({"base_lr": 0.0}, "a cyclic learning rate begins there"),
        ({"sam_rho": 0.0}, "greater than 0"),
        ({"sampling": "sometimes"}, "shuffle"),
    ):
        with pytest.raises(ValidationError, match=message):
            TrainingRecipe(**changed)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="has no cross entropy that class_weights could weight"):
        LossSpec(va_terms="ccc", class_weights="cage")
    with pytest.raises(ValidationError, match="published_residual has layers of its own"):
        Mlp3dSpec(representation="smirk", subset="short", variant="published_residual", width=64)
    with pytest.raises(ValidationError, match="only ddamfn has them, not maxvit_t"):
        IntermediateSpec(backbone="maxvit_t", representation="smirk", subset="short", heads=2)
    with pytest.raises(ValidationError, match="maxvit_t's windows fit 224 only"):
        CageSpec(image_size=112)
    with pytest.raises(ValidationError, match="a second training is for valence and arousal alone"):
        Mlp3dSpec(
            representation="emoca",
            subset="short",
            then={"loss": {"va_terms": "mse"}, "recipe": {}},  # type: ignore[arg-type]
        )


def test_published_confusion_matrices_give_their_figures() -> None:
    published = json.loads(CONFUSIONS.read_text())
    assert len(published) == 29
    for name, case in published.items():
        counts = np.array(case["counts_rows_actual"])
        labels = np.repeat(np.arange(len(counts)), counts.sum(1))
        predicted = np.concatenate([np.repeat(np.arange(len(row)), row) for row in counts])
        assert (confusion_matrix(labels, predicted, labels=np.arange(len(counts))) == counts).all()
        found = metrics.score(Task.EXPRESSION, np.eye(len(counts))[predicted], labels)
        assert len(labels) == case["n"], name
        assert round(found["accuracy"], 4) == case["acc"], name
        for average in ("weighted", "macro"):
            ours = [found[f"{average}_{metric}"] for metric in ("f1", "precision", "recall")]
            assert [round(value, 4) for value in ours] == pytest.approx(case[f"{average}_f1_p_r"], abs=1e-9), name
            p, r, f1, _ = precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)
            assert ours == pytest.approx([f1, p, r])


NUMBERS = st.floats(min_value=0, max_value=1e20, allow_nan=False)


@given(st.sampled_from(["fixed", "mse", "ccc"]), NUMBERS, NUMBERS, NUMBERS)
def test_whatever_a_loss_weighs_its_member_has_a_name_that_a_spec_can_hold(
    terms: Any, a: float, b: float, c: float
) -> None:
    loss = LossSpec(va_terms=terms, alpha=a, beta=b, gamma=c + 1, w1=a, w2=b)
    name = CageSpec(loss=loss).name
    assert TypeAdapter(MemberName).validate_python(name) == name


def test_the_second_pass_of_sharpness_aware_steps_leaves_running_statistics_alone() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    x = torch.randn(16, 4)
    expected = torch.nn.BatchNorm1d(3)
    expected(network[0](x))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def backward() -> torch.Tensor:
        optimizer.zero_grad()
        loss = network(x).square().mean() + network[0].weight.square().sum()
        loss.backward()
        return loss.detach()

    sam_step(network, optimizer, 0.5, backward, lambda: None)
    norm = network[1]
    assert torch.equal(norm.running_mean, expected.running_mean)
    assert torch.equal(norm.running_var, expected.running_var)
    assert int(norm.num_batches_tracked) == 1
    assert norm.track_running_stats
