"""Networks, losses, training and checkpoints, without Ray."""

import copy
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_members import CNN, MLP, RECIPE, ignore, some_states_inside_epochs

from ig3d_ray.data import datasets
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.build import build_network
from ig3d_ray.models.checkpoint import from_bytes, load_checkpoint, save_checkpoint, to_bytes
from ig3d_ray.models.cnn.network import Cnn
from ig3d_ray.models.inference import logit_table, network_scores
from ig3d_ray.models.inputs import member_inputs, member_samples
from ig3d_ray.models.mlp3d.network import Mlp3d
from ig3d_ray.models.recipe import LossSpec, TrainingRecipe
from ig3d_ray.models.registry import parse_spec
from ig3d_ray.models.scaling import Scaling
from ig3d_ray.models.spec import fingerprint, spec_json
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store
from ig3d_ray.training.losses import ccc, inverse_frequencies, member_loss, pcc, va_terms, va_weights
from ig3d_ray.training.optim import Schedule, make_optimizer
from ig3d_ray.training.state import Epoch, NonFiniteLoss
from ig3d_ray.training.trainer import Labeled, Trainer
from ig3d_ray.workflow.inventory import check_trainable


def test_the_3d_classifier_is_the_papers() -> None:
    for inputs, parameters in ((156, 12_947_466), (334, 13_312_010), (353, 13_350_922), (358, 13_361_162)):
        assert sum(p.numel() for p in Mlp3d(inputs, 10).parameters()) == parameters
    network = Mlp3d(156, 10)
    assert (network.dropout1.p, network.dropout2.p, network.activation.negative_slope) == (0.5, 0.4, 0.2)
    assert [m for m in network.state_dict() if m.endswith("weight")] == [
        f"{kind}{i}.weight" for i in range(1, 5) for kind in ("fc", "bn")
    ] + ["output.weight"]


def test_the_networks_take_and_give_what_they_say() -> None:
    assert Mlp3d(156, 9, width=8).eval()(torch.zeros(3, 156)).shape == (3, 9)
    assert Cnn(9, width=4).eval()(torch.zeros(3, 3, 64, 64)).shape == (3, 9)


def test_ccc_and_pcc_against_numpy() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, (64, 2))
    predicted = 0.5 * truth + 0.3 * rng.standard_normal((64, 2)) + 0.1
    p, t = torch.from_numpy(predicted), torch.from_numpy(truth)
    for column in range(2):
        a, b = predicted[:, column], truth[:, column]
        assert float(pcc(p, t)[column]) == pytest.approx(np.corrcoef(a, b)[0, 1])
        covariance = np.cov(a, b, ddof=0)
        expected = 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (a.mean() - b.mean()) ** 2)
        assert float(ccc(p, t)[column]) == pytest.approx(expected)
    assert ccc(t, t).tolist() == pytest.approx([1, 1])
    assert torch.isfinite(ccc(torch.zeros(4, 2), torch.zeros(4, 2))).all()


def test_equation_1_by_hand() -> None:
    truth = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    predicted = torch.tensor([[0.0, 0.5], [1.0, 0.5]])
    # Valence is perfect; arousal is constant: MSE 0.25, CCC and PCC 0. Sum of MSEs 0.25, mean CCC and PCC 0.5.
    scores = torch.cat([torch.zeros(2, 3), predicted], dim=1)
    spec = LossSpec(va_terms="fixed", alpha=1, beta=2, gamma=1)
    weights = va_weights(spec, torch.zeros(1, 3))[0]
    assert float(va_terms(predicted, truth, weights)) == pytest.approx((1 * 0.25 + 2 * 0.5 + 1 * 0.5) / 4)
    total = member_loss(scores, torch.tensor([0, 2]), truth, 3, torch.ones(3), weights)
    assert float(total) == pytest.approx(math.log(3) + (0.25 + 1.0 + 0.5) / 4)


def test_class_weights_are_inverse_frequencies_with_mean_one() -> None:
    weights = inverse_frequencies(torch.tensor([0, 0, 0, 1]), 3)
    assert weights.tolist() == pytest.approx([0.5, 1.5, 0.0])


def test_standardization_uses_train_statistics_and_forgives_constants() -> None:
    scaling = Scaling((2,), fitted=True)
    scaling.fit_to(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert scaling(torch.tensor([[3.0, 6.0]])).tolist() == [[1.0, 1.0]]


def test_fingerprints_tell_members_apart() -> None:
    marks = {
        fingerprint("faces", "aa", MLP),
        fingerprint("faces", "bb", MLP),
        fingerprint("rafdb", "aa", MLP),
        fingerprint("faces", "aa", MLP.model_copy(update={"seed": 1})),
        fingerprint("faces", "aa", CNN),
    }
    assert len(marks) == 5
    assert fingerprint("faces", "aa", parse_spec(spec_json(MLP))) == fingerprint("faces", "aa", MLP)


def trainer(spec: Any, faces: tuple[Store, Samples], monitor: str = "accuracy") -> Trainer:
    store, samples = faces
    torch.manual_seed(spec.seed)

    def labeled(split: str) -> Labeled:
        chosen = member_samples(spec, samples, split)
        va = torch.from_numpy(chosen.va)
        return Labeled(member_inputs(spec, chosen, store), torch.from_numpy(chosen.expression), va)

    network = build_network(spec, datasets.dataset("faces"))
    data = (labeled("train"), labeled("dev"))
    return Trainer(network, *data, spec.stages[0], spec.seed, 7, monitor)


@pytest.mark.parametrize("spec", [MLP, CNN], ids=lambda spec: spec.kind)
def test_going_on_from_any_epoch_gives_the_same_weights_bit_for_bit(
    spec: Any, small_faces: tuple[Store, Samples]
) -> None:
    states: dict[int, bytes] = {}
    whole = trainer(spec, small_faces)
    history = whole.run(lambda epoch, state: states.__setitem__(epoch.number, to_bytes(state())))
    assert len(history) == len(states) > 1
    inside = some_states_inside_epochs(trainer(spec, small_faces))
    assert len(inside) > 1
    for number, state in enumerate([*states.values(), *inside]):
        resumed = trainer(spec, small_faces)
        assert resumed.run(ignore, from_bytes(state, "state")) == history
        for name, value in whole.network.state_dict().items():
            assert torch.equal(value, resumed.network.state_dict()[name]), (number, name)


def test_training_learns_and_keeps_the_best_epoch(small_faces: tuple[Store, Samples]) -> None:
    spec = MLP.model_copy(update={"width": 32, "recipe": RECIPE.model_copy(update={"epochs": 12, "patience": 12})})
    epochs: list[Epoch] = []
    one = trainer(spec, small_faces)
    history = one.run(lambda epoch, state: epochs.append(epoch))
    assert history[-1]["loss"] < history[0]["loss"]
    best = max(row["score"] for row in history)
    assert best > 0.5
    assert epochs[-1].best_score == best
    predicted = network_scores(one.network, one.dev.x)[:, :7].argmax(axis=1)
    assert (predicted == one.dev.labels.numpy()).mean() == pytest.approx(best)


def test_patience_ends_a_training(small_faces: tuple[Store, Samples]) -> None:
    recipe = TrainingRecipe(batch_size=16, epochs=50, patience=2, base_lr=1e-12, max_lr=1e-12)
    spec = MLP.model_copy(update={"recipe": recipe})
    history = trainer(spec, small_faces).run(ignore)
    assert 3 <= len(history) < 50


def test_the_learning_rate_climbs_and_falls_within_an_epoch(small_faces: tuple[Store, Samples]) -> None:
    one = trainer(MLP, small_faces)
    steps = len(one.train.labels) // RECIPE.batch_size
    optimizer = make_optimizer(RECIPE, one.network.parameters())
    schedule = Schedule(RECIPE, optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(schedule.rate)
        optimizer.step()
        schedule.after_step()
    assert rates[0] == pytest.approx(RECIPE.base_lr)
    assert max(rates) == pytest.approx(RECIPE.max_lr)
    assert rates.index(max(rates)) == steps // 2


def test_every_epoch_has_an_order_of_its_own(
    small_faces: tuple[Store, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[list[int]] = []
    permute = torch.randperm

    def listen(*args: Any, **kwargs: Any) -> torch.Tensor:
        orders.append(permute(*args, **kwargs).tolist())
        return torch.tensor(orders[-1])

    monkeypatch.setattr(torch, "randperm", listen)
    history = trainer(MLP, small_faces).run(ignore)
    assert len({tuple(order) for order in orders}) == len(orders) == len(history) > 1


def test_a_loss_that_is_not_finite_stops_the_member(small_faces: tuple[Store, Samples]) -> None:
    one = trainer(MLP.model_copy(update={"recipe": RECIPE.model_copy(update={"max_lr": 1e30})}), small_faces)
    with pytest.raises(
        NonFiniteLoss, match=r"the loss became (nan|inf) in epoch \d+, about step \d+; lower recipe.max_lr"
    ):
        one.run(ignore)


def test_scores_do_not_depend_on_the_batch_size(small_faces: tuple[Store, Samples]) -> None:
    for spec in (MLP, CNN):
        one = trainer(spec, small_faces)
        one.fit_scalings()
        scores = [network_scores(one.network, one.dev.x, batch) for batch in (1, 7, 512)]
        for other in scores[1:]:
            assert np.abs(other - scores[0]).max() < 1e-5
            assert (other.argmax(axis=1) == scores[0].argmax(axis=1)).all()


def test_a_checkpoint_gives_back_the_same_outputs(store: Store, small_faces: tuple[Store, Samples]) -> None:
    images, samples = small_faces
    one = trainer(MLP, small_faces)
    one.run(ignore)
    save_checkpoint(store, "faces", "abc", MLP, one.network)
    digest = hashlib.sha256(store.read(paths.checkpoint("faces", "abc"))).hexdigest()
    loaded = load_checkpoint(store, "faces", "abc", digest)
    tables = [logit_table(network, MLP, "abc", samples, "test", images) for network in (one.network, loaded)]
    assert tables[0].to_bytes() == tables[1].to_bytes()
    assert tables[0].ids.tolist() == samples.in_split("test").with_feature("emoca").ids.tolist()
    assert tables[0].va is not None


def test_the_same_weights_give_the_same_checkpoint_bytes(tmp_path: Path) -> None:
    network = build_network(MLP, datasets.dataset("faces"))
    stores = [Store(str(tmp_path / name)) for name in "ab"]
    for one in stores:
        save_checkpoint(one, "faces", "abc", MLP, copy.deepcopy(network))
    assert stores[0].read(paths.checkpoint("faces", "abc")) == stores[1].read(paths.checkpoint("faces", "abc"))


def test_a_checkpoint_that_is_not_the_specs_is_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    save_checkpoint(store, "faces", "abc", MLP, build_network(MLP, datasets.dataset("faces")))
    name = paths.checkpoint("faces", "abc")
    with pytest.raises(Ig3dError, match=rf"{name}: SHA-256 is not the one in the spec \(0000"):
        load_checkpoint(store, "faces", "abc", "0" * 64)
    store.write(name, store.read(name)[:1000])
    with pytest.raises(Ig3dError, match=rf"{name}: not a whole checkpoint .* delete it and run again"):
        load_checkpoint(store, "faces", "abc")
    save_checkpoint(store, "rafdb", "abc", MLP, build_network(MLP, datasets.dataset("faces")))
    store.write(name, store.read(paths.checkpoint("rafdb", "abc")))
    with pytest.raises(Ig3dError, match="not a format 3 checkpoint of faces"):
        load_checkpoint(store, "faces", "abc")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.write_text, (tmp_path / "ran", "code"))

    with pytest.raises(Ig3dError, match="file: not a whole checkpoint"):
        from_bytes(to_bytes({"x": Evil()}), "file")
    assert not (tmp_path / "ran").exists()


def test_a_member_without_samples_says_so(small_faces: tuple[Store, Samples]) -> None:
    _, samples = small_faces
    without = Samples("faces", samples.table.drop_columns(["emoca"]))
    with pytest.raises(Ig3dError, match="faces: no test sample has emoca, which mlp3d-emoca-short"):
        member_samples(MLP, without, "test")


def test_only_members_that_learn_valence_and_arousal_need_them(small_faces: tuple[Store, Samples]) -> None:
    _, samples = small_faces
    without = Samples("faces", samples.table.drop_columns(["valence"]))
    classes, both = (MLP.model_copy(update={"loss": LossSpec(va_terms=terms)}) for terms in ("none", "mse"))
    check_trainable(without, [classes])
    with pytest.raises(Ig3dError, match=rf"no valence and arousal \(\d+ such\), which {both.name} needs to train"):
        check_trainable(without, [classes, both])
