"""The registry of network kinds: lists expand in place, and a new kind is a folder and one line."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.intermediate.spec import IntermediateSpec
from ig3d_ray.models.registry import KINDS, expand, parse_spec, spec_class
from ig3d_ray.models.spec import fingerprint, spec_json

ROOT = Path(__file__).resolve().parents[2]
SPACE = """
dataset: faces
objective: accuracy
data: {samples: 240, seed: 3}
pool:
  - {kind: linear, representation: [emoca, smirk], subset: full, recipe: {epochs: 1, batch_size: 16}}
search: {budget: 0}
"""


def test_lists_expand_to_their_product_the_kinds_own_fields_slowest() -> None:
    item = {"kind": "mlp3d", "seed": [0, 1], "subset": ["short", "full"], "representation": "emoca", "width": [8, 16]}
    specs = list(expand(item))
    shown = [(spec.subset, spec.width, spec.seed) for spec in specs]  # type: ignore[union-attr]
    assert shown == [(subset, width, seed) for subset in ("short", "full") for width in (8, 16) for seed in (0, 1)]
    assert len({spec.name for spec in specs}) == 8


def test_every_kind_has_a_spec_that_survives_json() -> None:
    for kind in KINDS:
        needed = {
            "mlp3d": {"representation": "emoca", "subset": "full"},
            "intermediate": {"representation": "emoca", "subset": "full"},
            "module": {"factory": "networks:build", "representation": "landmarks"},
            "timm": {"model": "resnet18"},
        }.get(kind, {})
        spec = spec_class(kind)(**needed)
        assert parse_spec(spec_json(spec)) == spec
        assert spec.operations > 0
        assert spec.features
        assert spec.kind == kind


def test_a_member_trained_before_the_small_cnn_could_be_fused_keeps_its_name_on_disk() -> None:
    before = IntermediateSpec(representation="emoca", subset="full")
    assert "width" not in spec_json(before)
    assert "image_size" not in spec_json(before)
    assert fingerprint("rafdb", "0", before) == "da1950f6fe46acf2"
    small = IntermediateSpec(backbone="cnn", width=16, image_size=48, representation="emoca", subset="full")
    assert small.name == "intermediate-cnn-w16-emoca-full-ce-s0"
    assert parse_spec(spec_json(small)) == small
    assert len({fingerprint("rafdb", "0", one) for one in (before, small, small.model_copy(update={"width": 8}))}) == 3


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"width": 3}, "kind: is missing; allowed: cage, cnn"),
        ({"kind": "vgg"}, "kind: 'vgg'; allowed: cage, cnn"),
        ({"kind": "cnn", "seed": []}, "seed: is empty; list at least one"),
        ({"kind": "cnn", "workers": 2}, "workers: follows from the rest of the search space; remove it"),
    ],
)
def test_what_is_no_item_is_refused(item: dict[str, object], message: str) -> None:
    with pytest.raises(Ig3dError, match=re.escape(message)):
        list(expand(item))


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="depth"):
        list(expand({"kind": "cnn", "depth": 3}))


@pytest.mark.slow
def test_a_new_kind_is_its_folder_and_one_line_and_trains(tmp_path: Path) -> None:
    """As docs/adding-a-network.md has it, in a copy of the package."""
    package = tmp_path / "ig3d_ray"
    shutil.copytree(ROOT / "ig3d_ray", package, ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "adding-a-network.md").read_text()
    spec, network = (block for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) if block.startswith('"""'))
    kind = package / "models" / "linear"
    kind.mkdir()
    (kind / "__init__.py").write_text('"""A linear classifier."""\n')
    (kind / "spec.py").write_text(spec)
    (kind / "network.py").write_text(network)
    registry = package / "models" / "registry.py"
    registry.write_text(registry.read_text().replace('    "mlp3d",\n', '    "linear",\n    "mlp3d",\n'))
    (tmp_path / "space.yaml").write_text(SPACE)
    words = [sys.executable, "-m", "ig3d_ray", "run", "space.yaml", "--storage", "runs"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "linear-emoca-full-ce-s0" in done.stdout
    assert "linear-smirk-full-ce-s0" in done.stdout
