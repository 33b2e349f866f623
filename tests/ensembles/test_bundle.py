"""The exported bundle: onnxruntime says what torch says, anywhere, and the same files come out every time."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ensembles_of import pool_of
from trained import World

from ig3d_ray import load_ensemble
from ig3d_ray.data import datasets
from ig3d_ray.ensembles.bundle.card import model_card
from ig3d_ray.ensembles.bundle.graph import EnsembleGraph, onnx_bytes
from ig3d_ray.ensembles.bundle.writing import packed_encoders, write_bundle
from ig3d_ray.ensembles.inputs import decoded, read_item
from ig3d_ray.ensembles.predictor import Ensemble
from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.fusion.correction import Correction
from ig3d_ray.fusion.gating import Gate
from ig3d_ray.models.build import build_network
from ig3d_ray.models.registry import parse_spec
from ig3d_ray.types import Task

RUNTIME = (
    "numpy",
    "onnxruntime",
    "flatbuffers",
    "google",
    "packaging",
    "sympy",
    "mpmath",
    "coloredlogs",
    "humanfriendly",
)


@pytest.fixture(scope="module")
def bundle(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    write_bundle(load_ensemble(world.uri, device="cpu"), folder)
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has onnxruntime, numpy and what these need, and nothing else."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False)
    (packages,) = home.glob("lib/python*/site-packages")
    for name in RUNTIME:
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            (packages / name).symlink_to(place)
            if (libraries := Path(f"{place}.libs")).is_dir():
                (packages / libraries.name).symlink_to(libraries)
    return home / "bin" / "python"


def run_bare(python: Path, *words: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), *words], capture_output=True, text=True, timeout=120, env=clean, cwd=python.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_runs_where_neither_torch_nor_ray_nor_this_package_is(bundle: Path, bare: Path) -> None:
    for missing in ("torch", "ray", "ig3d_ray", "PIL"):
        message = run_bare(bare, "-c", f"import importlib.util; print(importlib.util.find_spec({missing!r}))")
        assert message == "None\n"
    message = run_bare(bare, str(bundle / "example.py"))
    differences = [float(line.split(":")[1]) for line in message.splitlines() if line.startswith("largest difference")]
    assert len(differences) == 2
    assert max(differences) < 1e-3  # the example resizes by itself, and SMIRK's encoder is in it


def test_photographs_alone_are_predicted_as_the_package_does(world: World, bundle: Path, tmp_path: Path) -> None:
    names, contents = world.images()
    for name, content in list(zip(names, contents, strict=True))[:5]:
        (tmp_path / f"{name}.png").write_bytes(content)
    done = subprocess.run(
        [sys.executable, str(bundle / "example.py"), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "without emoca: the spec's fallback"
    ours = load_ensemble(world.uri, device="cpu").predict(tmp_path, missing="fallback")
    assert [Path(line.split()[0]).name for line in lines] == ours["sample_id"].tolist()
    assert [line.split()[1] for line in lines] == ours["predicted"].tolist()
    theirs = np.array([json.loads(line[line.index("[") :]) for line in lines])
    assert np.abs(theirs - ours.filter(like="probability_").to_numpy()).max() < 1e-3
    nothing = subprocess.run(
        [sys.executable, str(bundle / "example.py"), str(bundle)], capture_output=True, text=True, timeout=120
    )
    assert nothing.returncode == 1
    assert "no photographs in" in nothing.stderr


def test_onnxruntime_says_of_the_test_images_what_the_search_fused(world: World, bundle: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(bundle / "ensemble.onnx")
    encoder = onnxruntime.InferenceSession(bundle / "encoder_smirk.onnx")
    names, contents = world.images()
    items = [read_item(name, content) for name, content in zip(names, contents, strict=True)]
    faces = np.stack([decoded(item, 224) for item in items])
    part = world.samples.in_split("test").with_feature("image").with_feature("smirk").with_feature("emoca")
    inputs = {"emoca": part.params("emoca"), "smirk": encoder.run(None, {"image_224": faces})[0]}
    inputs |= {f"image_{size}": np.stack([decoded(item, size) for item in items]) for size in (32, 48)}
    assert {i.name for i in session.get_inputs()} == set(inputs)
    (fused,) = session.run(["fused"], inputs)
    pool = pool_of(world, world.spec)
    place = {name: row for row, name in enumerate(names)}
    expected = world.spec.predict(pool)
    assert np.abs(fused[[place[name] for name in pool.ids]] - expected).max() < 1e-3 * np.abs(expected).max()


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_ensemble_gives_the_same_files(world: World, tmp_path: Path) -> None:
    # Without an encoder, whose graph takes longest.
    few = [m for m in world.spec.members if "smirk" not in m.features][1:]
    fusion = Fusion(strategy="mean", space="logits", weights=None)
    spec = world.spec.model_copy(update={"members": tuple(few), "fusion": fusion, "encoders": {}, "fallbacks": ()})
    for name in ("one", "other"):
        write_bundle(Ensemble(spec, world.store), tmp_path / name)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "other")


def test_a_bundle_is_hashed_and_tells_nothing_of_the_machine(world: World, bundle: Path) -> None:
    files = files_of(bundle)
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["sha256"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    here = [str(Path(__file__).parents[2]).encode(), world.store.uri.encode(), sys.prefix.encode()]
    for name, content in files.items():
        assert not any(place in content for place in here), name
    assert "Not for" in files["README.md"].decode()


def test_an_encoder_that_crops_is_not_in_the_bundle(world: World) -> None:
    cropping = {"smirk": world.spec.encoders["smirk"].model_copy(update={"landmarks": "encoders/landmarks-0.task"})}
    ensemble = load_ensemble(world.uri, device="cpu")
    ensemble.spec = world.spec.model_copy(update={"encoders": cropping})
    assert packed_encoders(ensemble) == []
    assert "smirk: finds and crops the face first, so it is not in the bundle" in model_card(ensemble.spec)


def test_weights_are_the_members(world: World, bundle: Path) -> None:
    from safetensors.torch import load_file

    ensemble = load_ensemble(world.uri, device="cpu")
    for member in world.spec.members:
        weights = load_file(bundle / "weights" / f"{member.name}.safetensors")
        own = ensemble.network(member.name).state_dict()
        assert weights.keys() == own.keys()
        assert all(torch.equal(weights[name], own[name]) for name in own)


def test_what_cannot_be_exported_says_so(world: World, bundle: Path, tmp_path: Path) -> None:
    ensemble = load_ensemble(world.uri, device="cpu")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(Ig3dError, match="already exists; give a new folder"):
        write_bundle(ensemble, tmp_path / "full")
    first = world.spec.members[0]
    imported = {"spec": {"kind": "imported", "name": "theirs", "view": "2d"}, "name": "theirs", "checkpoint": None}
    spec = world.spec.model_copy(update={"members": (first.model_copy(update=imported), *world.spec.members[1:])})
    with pytest.raises(Ig3dError, match="theirs: was imported as predictions; there is no network to export"):
        write_bundle(Ensemble(spec, world.store), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == [tmp_path / "full"]


def test_the_same_bundle_may_be_there_and_another_one_not(world: World, tmp_path: Path) -> None:
    # Of two image networks, without an encoder: as a bundle is written three times.
    fusion = Fusion(strategy="mean", space="logits", weights=None)
    few = {"members": world.spec.members[:2], "fusion": fusion, "encoders": {}, "fallbacks": ()}
    ensemble, copy = Ensemble(world.spec.model_copy(update=few), world.store, "cpu"), tmp_path / "copy"
    assert write_bundle(ensemble, copy)
    before = {file: file.stat().st_mtime_ns for file in copy.rglob("*")}
    assert write_bundle(ensemble, copy)
    assert {file: file.stat().st_mtime_ns for file in copy.rglob("*")} == before
    (copy / "README.md").write_text("changed")
    with pytest.raises(Ig3dError, match="already exists with another bundle; give a new folder"):
        write_bundle(ensemble, copy)
    assert (copy / "README.md").read_text() == "changed"


def graph_of(
    world: World, specs: list[dict[str, Any]], fusion: Fusion, ensemble: EnsembleSpec | None = None
) -> EnsembleGraph:
    """An ensemble of untrained networks, whose batch norms have seen something."""
    parsed = [parse_spec(json.dumps(spec)) for spec in specs]
    torch.manual_seed(0)
    networks = [build_network(spec, datasets.dataset("faces")).eval() for spec in parsed]  # type: ignore[arg-type]
    members = [
        world.spec.members[0].model_copy(update={"name": str(i), "spec": spec.model_dump(mode="json")})
        for i, spec in enumerate(parsed)
    ]

    class Made:
        spec = (ensemble or world.spec).model_copy(update={"members": tuple(members), "fusion": fusion})
        features = tuple(sorted({feature for member in members for feature in member.features}))
        representations = tuple(name for name in features if name != "image")

        def network(self, name: str) -> torch.nn.Module:
            return networks[int(name)]

    return EnsembleGraph(Made())  # type: ignore[arg-type]


MLP = {"kind": "mlp3d", "representation": "emoca", "subset": "short", "width": 16}
MATRIX = tuple(tuple(round(0.1 * ((3 * row + column) % 5 - 2), 1) for column in range(7)) for row in range(7))
FUSIONS = [
    Fusion(strategy="max", space="logits", weights=None),
    Fusion(strategy="min", space="log_probabilities", weights=None, temperatures=(0.5, 2.0)),
    Fusion(strategy="mean", space="probabilities", weights=None, temperatures=(3.0, 0.7)),
    Fusion(strategy="weighted", space="logits", weights=None, weights_by_column=((0.1,) * 7, tuple(np.arange(7.0)))),
    Fusion(strategy="weighted", space="logits", weights=(0.3, 1.2), temperatures=(0.5, 2.0), floors=(0.001, 0.2)),
    Fusion(strategy="weighted", space="probabilities", weights=(0.3, 0.7), temperatures=(0.5, 2.0), floors=(1e-6, 0.2)),
    Fusion(
        strategy="weighted",
        space="logits",
        weights=(0.3, 0.7),
        temperatures=(0.5, 2.0),
        floors=(1e-6, 0.2),
        gate=Gate(
            members=(1, 0),
            center=(0.5, -0.5),
            scale=(0.5, 2.0),
            knots=((0.1,), (-0.2,)),
            slopes=((1.0, -0.5, 0.3, 0.2), (-0.4, 0.2, 0.9, -1.0)),
        ),
        correction=Correction(matrices=(MATRIX, MATRIX[::-1]), bias=(0.3, -0.2, 0.1, 0.0, 0.4, 0.0, -0.5)),
    ),
    Fusion(
        strategy="weighted",
        space="logits",
        weights=(0.3, 0.7),
        gate=Gate(
            members=(1,),
            center=(0.5, -0.5, 0.2),
            scale=(0.5, 2.0, 0.7),
            knots=((0.1,), (-0.2,), (0.3,)),
            slopes=((1.0, -0.5, 0.3, 0.2, -0.4, 0.9),),
            representation="emoca",
            parameters=(233, 51),
        ),
    ),
]


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: fusion.label)
def test_the_graph_fuses_as_the_spec_does(world: World, fusion: Fusion) -> None:
    graph = graph_of(world, [MLP, MLP | {"subset": "full", "seed": 1}], fusion)
    example = graph.example(5)
    with torch.inference_mode():
        outputs = [
            network(example["emoca"][:, : network.scalings[0].mean.numel()])
            for network in graph.networks  # type: ignore[index,union-attr,operator]
        ]
        fused, _ = graph(*example.values())
    short = graph.networks[0](torch.cat([example["emoca"][:, :56], example["emoca"][:, 234:]], dim=1)).detach()
    members = np.stack([short[:, :7].numpy(), outputs[1][:, :7].numpy()])
    parameters = {"emoca": example["emoca"].numpy()}
    assert fused.numpy() == pytest.approx(fusion.apply(members, Task.EXPRESSION, parameters), abs=1e-5)
    if fusion.gate is not None:
        # Checked against torch while it is made.
        assert onnx_bytes(graph, "test")


def test_the_graph_corrects_valence_and_arousal_as_the_spec_does(world: World) -> None:
    matrices = (((1.5, -0.2), (0.1, 2.0)), ((-0.3, 0.0), (0.4, 0.7)))
    correction = Correction(matrices=matrices, bias=(0.3, -0.2))
    fusion = Fusion(strategy="weighted", space="logits", weights=(0.3, 0.7), correction=correction)
    graph = graph_of(world, [MLP, MLP | {"subset": "full", "seed": 1}], fusion, world.va.spec)
    example = graph.example(40)
    emoca = 30 * example["emoca"]
    short = torch.cat([emoca[:, :56], emoca[:, 234:]], dim=1)
    with torch.inference_mode():
        (fused,) = graph(emoca)
        outputs = [graph.networks[0](short), graph.networks[1](emoca)]
    columns = Task.VA.columns(len(world.va.spec.class_names))
    members = np.stack([one[:, columns].numpy() for one in outputs])
    expected = fusion.apply(members, Task.VA)
    assert fused.numpy() == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected).max() == 1.0
    assert onnx_bytes(graph, "test")


@pytest.mark.long
@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "ddamfn"},
        {"kind": "intermediate", "backbone": "ddamfn", "representation": "smirk", "subset": "full"},
        {"kind": "cage", "backbone": "swin_v2_t", "image_size": 64},
        {"kind": "cage", "backbone": "efficientnet_v2_s", "image_size": 64},
        {"kind": "cage", "backbone": "maxvit_t"},
    ],
    ids=lambda spec: "-".join(map(str, list(spec.values())[:2])),
)
def test_the_papers_networks_can_be_exported(world: World, spec: dict[str, Any]) -> None:
    # Checked against torch while it is made.
    graph = graph_of(world, [spec, MLP], Fusion(strategy="weighted", space="logits", weights=(0.6, 0.4)))
    assert len(onnx_bytes(graph, "test")) > 1e6
