"""Published checkpoints as members: recognized, put in our order, run without their code."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import SMALL_SPACE
from torch import nn
from typer.testing import CliRunner

from ig3d_ray.cli.app import app
from ig3d_ray.config.load import load_space
from ig3d_ray.data import datasets
from ig3d_ray.data.images import ImageSet, pack_images
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitStore
from ig3d_ray.importing.checkpoints import import_checkpoint, import_weights, read_state_dict
from ig3d_ray.importing.identify import identify
from ig3d_ray.models.cage.network import cage_network
from ig3d_ray.models.checkpoint import load_checkpoint, read_weights
from ig3d_ray.models.ddamfn.network import Ddamfn
from ig3d_ray.models.intermediate.network import DdamfnWithParams
from ig3d_ray.models.mlp3d.network import Mlp3d, ResidualMlp3d
from ig3d_ray.models.spec import ImportedSpec, Origin, fingerprint
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.inventory import take_inventory

ORIGIN = Origin(name="theirs", sha256="0" * 64)


def saved(path: Path, network: nn.Module, wrapped: str | None = None, prefix: str = "") -> Path:
    state = OrderedDict((prefix + name, value) for name, value in network.state_dict().items())
    torch.save({"iter": 25, wrapped: state, "optimizer_state_dict": {}} if wrapped else state, path)
    return path


def of(network: nn.Module, kind: Any, dataset: str, **options: Any) -> Any:
    return identify(dict(network.state_dict()), kind, dataset, ORIGIN, **options)


@pytest.fixture
def rafdb(store: Store, small_faces: tuple[Store, Samples]) -> tuple[Store, Samples]:
    """RAF-DB of 20 drawn images with parameters, two of them without."""
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(20)]
    emoca = [None if i in (3, 12) else rng.standard_normal(334).tolist() for i in range(20)]
    images = ImageSet(*small_faces, 112)
    places = pack_images(store, "rafdb", {name: images.encoded(i)[0] for i, name in enumerate(ids)})
    table = pa.table(
        {
            "sample_id": ids,
            "split": ["dev"] * 8 + ["test"] * 12,
            "image": [places[name] for name in ids],
            "expression": [i % 7 for i in range(20)],
            "emoca": pa.array(emoca, pa.list_(pa.float32(), 334)),
        }
    )
    samples = Samples("rafdb", table)
    samples.save(store)
    return store, samples


@pytest.mark.parametrize("wrapped", [None, "model_state_dict", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_dicts_are_found_wherever_they_are(tmp_path: Path, wrapped: str | None, prefix: str) -> None:
    weights, digest = read_state_dict(saved(tmp_path / "a.pth", ResidualMlp3d(353, 10), wrapped, prefix))
    assert list(weights) == list(ResidualMlp3d(353, 10).state_dict())
    assert len(digest) == 64


def test_a_pickled_module_is_refused_without_running_it(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.write_text, (tmp_path / "ran", "code"))

    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    for name in ("module", "trap"):
        with pytest.raises(Ig3dError, match=rf"{name}.pth: not weights alone .* torch.save\(model.state_dict\(\)"):
            read_state_dict(tmp_path / f"{name}.pth")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "cut.pth").write_bytes(saved(tmp_path / "whole.pth", nn.Linear(9, 9)).read_bytes()[:300])
    with pytest.raises(Ig3dError, match=r"cut.pth: not a whole checkpoint"):
        read_state_dict(tmp_path / "cut.pth")
    with pytest.raises(Ig3dError, match=r"none.pth: cannot be read"):
        read_state_dict(tmp_path / "none.pth")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(Ig3dError, match=r"other.pth: holds no state dict"):
        read_state_dict(tmp_path / "other.pth")


def test_ddamfns_classes_are_put_into_rafdbs_order() -> None:
    torch.manual_seed(0)
    network = Ddamfn(7).eval()
    image = torch.randn(2, 3, 112, 112)
    theirs = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger")
    with torch.inference_mode():
        said = network(image)
        found = of(network, "ddamfn", "rafdb")
        ours = found.network.network(image)
    for index, name in enumerate(datasets.dataset("rafdb").class_names):
        assert torch.allclose(ours[:, index], said[:, theirs.index(name)], atol=1e-5), name
    assert any("DDAMFN's order" in note for note in found.notes)
    with torch.inference_mode():
        assert torch.allclose(
            of(network, "ddamfn", "rafdb", class_order="ours").network.network(image), said, atol=1e-5
        )
    # On AffectNet both have the same order.
    eight = Ddamfn(8)
    state = of(eight, "ddamfn", "affectnet8").network.network.state_dict()
    assert torch.equal(state["fc.weight"], eight.state_dict()["fc.weight"])


def test_pixels_reach_ddamfn_as_its_authors_normalize_them() -> None:
    found = of(Ddamfn(7), "ddamfn", "rafdb")
    gray = torch.full((1, 3, 2, 2), 128, dtype=torch.uint8)
    (scaled,) = found.network.standardize((gray,))
    expected = [(128 / 255 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    assert scaled[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("inputs", "order", "arousal_first"),
    [
        (156, None, False),
        (334, None, True),
        (358, None, True),
        (334, "valence-first", False),
        (156, "arousal-first", True),
    ],
)
def test_valence_comes_before_arousal(inputs: int, order: Any, arousal_first: bool) -> None:
    torch.manual_seed(1)
    network = Mlp3d(inputs, 10, width=32).eval()
    x = torch.randn(3, inputs)
    found = of(network, "mlp3d", "affectnet8", va_order=order)
    with torch.inference_mode():
        theirs, ours = network(x), found.network(x)
    assert torch.allclose(ours[:, :8], theirs[:, :8], atol=1e-5)
    expected = theirs[:, [9, 8]] if arousal_first else theirs[:, [8, 9]]
    assert torch.allclose(ours[:, 8:], expected, atol=1e-5)
    assert found.spec.loss.has_va


def test_dead_outputs_are_left_out_and_residual_networks_known() -> None:
    torch.manual_seed(2)
    network = Mlp3d(334, 10, width=32).eval()
    x = torch.randn(3, 334)
    found = of(network, "mlp3d", "rafdb")
    with torch.inference_mode():
        assert torch.allclose(found.network(x), network(x)[:, :7], atol=1e-5)
    assert (found.spec.representation, found.spec.subset, found.spec.loss.label) == ("emoca", "full", "ce")
    residual = of(ResidualMlp3d(353, 10), "mlp3d", "affectnet8")
    assert (residual.spec.variant, residual.spec.subset) == ("published_residual", "short")
    va = of(Mlp3d(156, 2, width=32), "mlp3d", "affectnet_va")
    assert not va.spec.last_loss.has_classes
    assert va.spec.monitor == "ccc_mean"


@pytest.mark.parametrize(
    ("backbone", "outputs", "label"),
    [("maxvit_t", 10, "eq2"), ("efficientnet_v2_s", 8, "ce"), ("swin_v2_t", 2, "eq3"), ("maxvit_t", 2, "eq3")],
)
def test_cages_networks_are_told_by_their_layers(backbone: Any, outputs: int, label: str) -> None:
    found = of(cage_network(backbone, outputs), "cage", "affectnet8")
    assert (found.spec.backbone, found.spec.loss.label) == (backbone, label)


def test_intermediate_fusion_is_told_by_its_layers() -> None:
    torch.manual_seed(3)
    network = DdamfnWithParams(156, 10, 8, heads=1).eval()
    found = of(network, "intermediate", "affectnet8")
    assert (found.spec.representation, found.spec.heads, found.spec.params) == ("emoca", 1, "raw")
    image, params = torch.randint(0, 255, (2, 3, 112, 112), dtype=torch.uint8), torch.randn(2, 156)
    with torch.inference_mode():
        expected = network(found.network.standardize((image, params))[0], params)
        assert torch.allclose(found.network(image, params), expected, atol=1e-5)
    assert of(DdamfnWithParams(358, 7, 7, heads=2), "intermediate", "rafdb").spec.heads == 2


@pytest.mark.parametrize(
    ("network", "kind", "dataset", "message"),
    [
        (Ddamfn(8), "ddamfn", "rafdb", "ddamfn has 8 outputs; of rafdb it would have 7: check --dataset"),
        (Ddamfn(8), "mlp3d", "rafdb", "not a published mlp3d: there is no layer fc1.weight"),
        (Mlp3d(150, 10, 32), "mlp3d", "affectnet8", "this mlp3d takes 150 parameters; known: 156, 334, 353, 358"),
        (
            nn.Sequential(OrderedDict(fc=nn.Linear(512, 7))),
            "ddamfn",
            "rafdb",
            "not a published ddamfn: there is no layer cat_head0",
        ),
        (cage_network("maxvit_t", 9), "cage", "rafdb", "cage has 9 outputs; of rafdb it would have 7"),
    ],
)
def test_what_does_not_fit_says_why(network: nn.Module, kind: Any, dataset: str, message: str) -> None:
    with pytest.raises(Ig3dError, match=message):
        of(network, kind, dataset)


def test_a_checkpoint_becomes_a_member_with_its_logits(rafdb: tuple[Store, Samples], tmp_path: Path) -> None:
    store, samples = rafdb
    torch.manual_seed(4)
    network = Mlp3d(334, 10, width=32).eval()
    file = saved(tmp_path / "RAFDB_Emoca334.pth", network, "model_state_dict")
    done = import_checkpoint(store, file, "mlp3d", "rafdb", "emoca334")
    assert done.written == {"dev": 7, "test": 11}
    member = fingerprint("rafdb", "", ImportedSpec(name="emoca334", view="3d"))
    table = LogitStore(store).read("rafdb", member, "test")
    assert "s12" not in table.ids
    chosen = samples.in_split("test").with_feature("emoca")
    with torch.inference_mode():
        expected = network(torch.from_numpy(chosen.params("emoca").copy()))[:, :7].numpy()
    assert table.logits is not None
    theirs = dict(zip(chosen.ids.tolist(), expected, strict=True))
    for sample, row in zip(table.ids.tolist(), table.logits, strict=True):
        assert np.allclose(row, theirs[sample], atol=1e-5), sample
    right = (expected.argmax(1) == chosen.expression).mean()
    assert done.scores["test"]["accuracy"] == pytest.approx(right)
    with torch.inference_mode():
        again = load_checkpoint(store, "rafdb", member)(torch.from_numpy(chosen.params("emoca").copy()))
    assert np.allclose(again.numpy(), expected, atol=1e-5)
    # A space names it like any model that was made elsewhere.
    space_file = tmp_path / "space.yaml"
    space_file.write_text(
        "dataset: rafdb\nobjective: accuracy\npool:\n  - {kind: imported, name: emoca334, view: 3d}\n"
        "  - {kind: imported, name: mynet, view: 2d}\n"
    )
    inventory = take_inventory(store, load_space(space_file))
    assert [wanted.cached for wanted in inventory.wanted] == [("dev", "test"), ()]
    # The same again is the same; other weights want another name.
    import_checkpoint(store, file, "mlp3d", "rafdb", "emoca334")
    other = saved(tmp_path / "other.pth", Mlp3d(334, 10, width=32))
    with pytest.raises(Ig3dError, match=r"other.pth: there is a member emoca334 already"):
        import_checkpoint(store, other, "mlp3d", "rafdb", "emoca334")
    import_checkpoint(store, other, "mlp3d", "rafdb", "emoca334", replace=True)


def test_the_command_brings_ddamfn_and_an_ensemble_of_both_predicts(
    rafdb: tuple[Store, Samples], tmp_path: Path
) -> None:
    store, _ = rafdb
    torch.manual_seed(5)
    runner = CliRunner()
    files = {
        "ddamfn": saved(tmp_path / "ddamfn.pth", Ddamfn(7), "model_state_dict"),
        "mlp3d": saved(tmp_path / "mlp.pth", Mlp3d(334, 10, width=32)),
    }
    for kind, file in files.items():
        words = ["import", "checkpoint", str(file), "--as", kind, "--dataset", "rafdb", "--storage", store.uri]
        done = runner.invoke(app, words)
        assert done.exit_code == 0, done.output
        assert f"{kind} (" in done.output
        assert "on test: accuracy" in done.output
    assert "note: its classes were reordered from DDAMFN's order into RAF-DB's" not in done.output
    space_file = tmp_path / "rafdb.yaml"
    space_file.write_text(
        "dataset: rafdb\nobjective: accuracy\npool:\n  - {kind: imported, name: ddamfn, view: 2d}\n"
        "  - {kind: imported, name: mlp3d, view: 3d}\nfusion: {methods: []}\nsearch: {budget: 0}\n"
    )
    found = runner.invoke(app, ["search", str(space_file), "--storage", store.uri])
    assert found.exit_code == 0, found.output
    spec = found.output.split("spec: ")[1].strip()
    out = tmp_path / "out.parquet"
    predicted = runner.invoke(app, ["predict", spec, "--storage", store.uri, "--out", str(out)])
    assert predicted.exit_code == 0, predicted.output
    assert out.exists()


def test_weights_to_start_from_are_brought_once(store: Store, tmp_path: Path) -> None:
    file = saved(tmp_path / "mfn.pth", Ddamfn(7))
    assert import_weights(store, file, "mfn") == 1190
    assert torch.equal(read_weights(store, "mfn")["fc.weight"], torch.load(file)["fc.weight"])
    import_weights(store, file, "mfn")
    with pytest.raises(Ig3dError, match=r"mfn.pt: other weights have this name"):
        import_weights(store, saved(tmp_path / "other.pth", Ddamfn(7)), "mfn")
    with pytest.raises(
        Ig3dError, match=r"none.pt: no such weights; import them with `ig3d import weights --name none`"
    ):
        read_weights(store, "none")


def test_weights_that_are_not_there_are_asked_for_before_ray_starts(tmp_path: Path) -> None:
    from ig3d_ray.workflow.pipeline import run
    from ig3d_ray.workflow.progress import Reporter

    content = SMALL_SPACE.read_text().replace("  - kind: cnn\n    width: 4\n    image_size: 32\n", "  - kind: ddamfn\n")
    content = content.replace("    loss: {va_terms: fixed}\n", "    start_from: mfn\n    loss: {va_terms: fixed}\n", 1)
    (tmp_path / "space.yaml").write_text(content)
    with pytest.raises(Ig3dError, match=r"weights/mfn.pt: ddamfn-eq1fixed-s0 starts from these weights; import them"):
        run(Store(str(tmp_path / "runs")), load_space(tmp_path / "space.yaml"), "s", None, Reporter())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--as", "ddamfn", "--dataset", "fer"], "unknown dataset 'fer'"),
        (["--as", "ddamfn", "--dataset", "rafdb", "--name", "a b"], "--name a b: letters, digits"),
    ],
)
def test_mistakes_in_the_command_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["import", "checkpoint", "f.pth", *words, "--storage", str(tmp_path)])
    assert isinstance(done.exception, Ig3dError)
    assert message in str(done.exception)
