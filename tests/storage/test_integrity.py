"""Damaged files: refused, and named with what to do, or of the same content; never read as another content."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from trained import World

from ig3d_ray.data import datasets, representations
from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.declarations import published
from ig3d_ray.data.encoder_record import EncoderRecord, encoder_records, write_encoder_record
from ig3d_ray.ensembles.spec import parse_ensemble
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitTable
from ig3d_ray.importing.checkpoints import read_state_dict
from ig3d_ray.models.build import build_network
from ig3d_ray.models.checkpoint import load_checkpoint, save_checkpoint, to_bytes
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.storage import paths
from ig3d_ray.storage.json_files import sealed, unsealed
from ig3d_ray.storage.store import Store

TRIES = int(os.environ.get("IG3D_FUZZ", "200"))
SPEC = Mlp3dSpec(representation="emoca", subset="short", width=8)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A file with a flipped bit, changed or exchanged blocks, bytes lost or repeated, or its end cut off."""
    changed, at = bytearray(data), rng.randrange(len(data))
    kind = rng.choice(("bit", "bit", "block", "zeros", "lost", "repeated", "exchanged", "cut"))
    length = min(rng.choice((1, 4, 64, 512)), len(data) - at)
    if kind == "bit":
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == "block":
        changed[at : at + length] = rng.randbytes(length)
    elif kind == "zeros":
        changed[at : at + length] = bytes(length)
    elif kind == "lost":
        del changed[at : at + length]
    elif kind == "repeated":
        changed[at:at] = changed[at : at + length]
    elif kind == "exchanged":
        other = rng.randrange(len(data) - length)
        changed[at : at + length], changed[other : other + length] = (
            data[other : other + length],
            data[at : at + length],
        )
    else:
        del changed[at:]
    return bytes(changed)


def count_of_other_contents(data: bytes, read: Callable[[bytes], object], same: Callable[[object], bool]) -> int:
    rng, others, messages = random.Random(0), 0, set[str]()
    for _ in range(TRIES):
        try:
            found = read(damaged(data, rng))
        except Ig3dError as error:
            messages.add(str(error))
            continue
        others += not same(found)
    assert messages, "nothing was damaged"
    for message in messages:
        assert "\n" not in message
        assert any(word in message for word in ("delete", "again", "restore")), message
    return others


def test_a_damaged_checkpoint_is_never_read_as_other_weights(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    network = build_network(SPEC, datasets.dataset("rafdb"))
    save_checkpoint(store, "rafdb", "m", SPEC, network)
    name = paths.checkpoint("rafdb", "m")
    right = network.state_dict()

    def read(data: bytes) -> object:
        Path(store.locate(name)).write_bytes(data)
        return load_checkpoint(store, "rafdb", "m").state_dict()

    def same(found: object) -> bool:
        assert isinstance(found, dict)
        return found.keys() == right.keys() and all(torch.equal(found[key], right[key]) for key in right)

    data = store.read(name)
    assert same(read(data))
    assert count_of_other_contents(data, read, same) == 0


def test_a_damaged_table_is_never_read_as_other_outputs() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 7)).astype(np.float32)
    ids = np.array([f"face_{row:04d}" for row in range(300)])
    table = LogitTable("rafdb", "test", "m", "name", "2d", "{}", "", ids, logits, None)

    def same(found: object) -> bool:
        return (
            found == found
            and vars(found).keys()
            and all(  # type: ignore[return-value]
                np.array_equal(getattr(found, key), getattr(table, key)) for key in vars(table)
            )
        )

    data = table.to_bytes()
    assert same(LogitTable.from_bytes(data, "x"))
    assert count_of_other_contents(data, lambda some: LogitTable.from_bytes(some, "x"), same) == 0


def test_a_damaged_published_checkpoint_is_never_read_as_other_weights(tmp_path: Path) -> None:
    weights = {"a.weight": torch.randn(40, 30), "a.bias": torch.randn(40)}
    file = tmp_path / "x.pth"

    def read(data: bytes) -> object:
        file.write_bytes(data)
        return read_state_dict(file)[0]

    def same(found: object) -> bool:
        assert isinstance(found, dict)
        return found.keys() == weights.keys() and all(torch.equal(found[key], weights[key]) for key in weights)

    assert count_of_other_contents(to_bytes(weights), read, same) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("network.0.bias", None) or state.pop(min(state)), "is missing"),
        (lambda state: state.update(more=torch.zeros(1)), "tensor more is not one of the network"),
        (lambda state: state.update({min(state): state[min(state)].double()}), "torch.float64 .*the network's is"),
        (lambda state: state.update({min(state): state[min(state)] * float("nan")}), "is not finite"),
    ],
)
def test_tensors_that_are_not_the_networks_are_refused(
    change: Callable[[dict[str, torch.Tensor]], None], message: str, tmp_path: Path
) -> None:
    store, network = Store(str(tmp_path)), build_network(SPEC, datasets.dataset("rafdb"))
    state = dict(network.state_dict())
    change(state)
    network.state_dict = lambda: state  # type: ignore[method-assign,assignment]
    save_checkpoint(store, "rafdb", "m", SPEC, network)
    with pytest.raises(Ig3dError, match=message):
        load_checkpoint(store, "rafdb", "m")


def test_what_an_older_version_wrote_is_read(tmp_path: Path) -> None:
    store, network = Store(str(tmp_path)), build_network(SPEC, datasets.dataset("rafdb"))
    save_checkpoint(store, "rafdb", "m", SPEC, network)
    name = paths.checkpoint("rafdb", "m")
    content = torch.load(store.locate(name), weights_only=True)
    del content["sha256"]
    store.write(name, to_bytes(content))
    assert load_checkpoint(store, "rafdb", "m").state_dict().keys() == network.state_dict().keys()


def test_a_damaged_json_file_is_never_read_as_other_content(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    about = representations.Declaration(name="mine_sealed", groups={"eyes": 6, "mouth": 4}, subsets={"all": ["eyes"]})
    mine = Dataset(name="mine_sealed_set", classes=["happy", "sad", "calm"])
    record = EncoderRecord("encoders/smirk/0123.pt", "0123" * 16, None)
    store.write(paths.declared_representation(about.name), sealed(about.model_dump(mode="json")).encode())
    store.write(paths.declaration(mine.name), sealed(mine.model_dump(mode="json")).encode())
    write_encoder_record(store, "faces", "smirk", record)

    def reading(name: str, read: Callable[[], object]) -> tuple[str, Callable[[bytes], object], object]:
        def of_bytes(data: bytes) -> object:
            Path(store.locate(name)).write_bytes(data)
            return read()

        return name, of_bytes, read()

    kinds = [
        reading(
            paths.declared_representation(about.name),
            lambda: published(representations.Declaration, store, paths.declared_representation(about.name)),
        ),
        reading(paths.declaration(mine.name), lambda: published(Dataset, store, paths.declaration(mine.name))),
        reading(paths.encoder_records("faces"), lambda: encoder_records(store, "faces")),
    ]
    for name, read, right in kinds:
        data = store.read(name)
        assert read(data) == right
        assert count_of_other_contents(data, read, lambda found, right=right: found == right) == 0, name  # type: ignore[misc]


def test_a_damaged_spec_is_never_read_as_another_ensemble(world: World) -> None:
    data = world.spec.to_json().encode()
    assert parse_ensemble(data.decode(), "spec") == world.spec

    def read(some: bytes) -> object:
        return parse_ensemble(some.decode(errors="replace"), "spec")

    assert count_of_other_contents(data, read, lambda found: found == world.spec) == 0


def test_what_people_write_needs_no_seal_and_what_they_edit_says_so() -> None:
    written = sealed({"name": "x", "size": 0.1 + 0.2, "é": [1, None, True]})
    assert unsealed(written) == unsealed(json.dumps({"name": "x", "size": 0.1 + 0.2, "é": [1, None, True]}))
    with pytest.raises(ValueError, match="if you edited it, remove its content_sha256"):
        unsealed(written.replace('"x"', '"y"'))
    with pytest.raises(ValueError, match="occurs twice"):
        unsealed('{"a": 1, "a": 2}')
