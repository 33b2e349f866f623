"""Mutated inputs on every reader: read, or refused in one line; no traceback, no hang, no other exception.

`make fuzz` runs many more, with other seeds.
"""

import csv
import io
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMALL_SPACE
from PIL import Image

from ig3d_ray.config.load import load_space
from ig3d_ray.data import datasets
from ig3d_ray.data.datasets import read_declaration as read_dataset
from ig3d_ray.data.images import decode_image
from ig3d_ray.data.ingest.build import _checked
from ig3d_ray.data.ingest.feature_files import _bytes as feature_bytes
from ig3d_ray.data.ingest.features import read_parameters
from ig3d_ray.data.ingest.layouts import Entry
from ig3d_ray.data.labels import find_labels
from ig3d_ray.data.representations import groups_of
from ig3d_ray.data.representations import read_declaration as read_representation
from ig3d_ray.data.samples import load_samples
from ig3d_ray.ensembles.inputs import read_item
from ig3d_ray.ensembles.requests import Limits, RefusedError, parse_request
from ig3d_ray.ensembles.spec import parse_ensemble
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.checkpoints import read_state_dict
from ig3d_ray.importing.reading import Reading
from ig3d_ray.importing.tables import read_rows
from ig3d_ray.importing.truth import read_labels_of
from ig3d_ray.launch.read import read_cluster
from ig3d_ray.models.face3d.files import load_encoder
from ig3d_ray.search.results import results_from_bytes
from ig3d_ray.storage.store import Store

EACH = int(os.environ.get("IG3D_FUZZ", "40"))
SEED = int(os.environ.get("IG3D_FUZZ_SEED", "0"))
SECONDS = 10
ROOT = Path(__file__).resolve().parents[1]
# What belongs nowhere: in place of a value, a number, a name.
STRANGE: list[Any] = [
    None,
    True,
    "",
    "nan",
    "inf",
    -1,
    1e308,
    10**30,
    [],
    {},
    [[]],
    "\x1b[31m",
    "[red]",
    "\ud800",
    "é" * 300,
]
STRANGE_TEXT = ["NaN", "Infinity", "1" * 5000, "0x1F", "1e999", "1+2j", "2026-01-01", "true", "\x00", '"', "\n", ",,,,"]


class HangError(BaseException):
    """A reader went on for too long."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """A hang is an error, and none that a reader takes for one of its file's."""

    def stop(*_: object) -> None:
        raise HangError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


MOST_MIB = 400
"""What no reader may take for an input of some kilobytes."""


def resident(key: str) -> float:
    """A process's resident memory in MiB: `VmRSS` now, `VmHWM` the highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


@pytest.fixture(autouse=True)
def within_memory() -> Iterator[None]:
    """No input makes the process grow by more than a constant."""
    peak = Path("/proc/self/clear_refs")
    if not peak.exists():
        yield
        return
    peak.write_text("5")
    before = resident("VmRSS")
    yield
    assert resident("VmHWM") - before < MOST_MIB


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, exchanged, lost, repeated; strange text put in."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(changed) + 1)
        length = min(rng.choice((1, 2, 8, 100)), len(changed) - at)
        kind = rng.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length] * rng.choice((1, 50))
        elif kind == 4:
            changed[at:at] = rng.choice(STRANGE_TEXT).encode()
        else:
            del changed[at:]
    return bytes(changed)


def mutated(content: Any, rng: random.Random) -> Any:
    """A copy of nested lists and mappings with one place changed."""
    if isinstance(content, dict) and content and rng.random() < 0.8:
        key = rng.choice(list(content))
        copy = dict(content)
        kind = rng.random()
        if kind < 0.15:
            del copy[key]
        elif kind < 0.3:
            copy[f"{key}_"] = copy.pop(key)
        else:
            copy[key] = mutated(copy[key], rng)
        return copy
    if isinstance(content, list) and content and rng.random() < 0.8:
        at = rng.randrange(len(content))
        kind = rng.random()
        if kind < 0.15:
            return content[:at] + content[at + 1 :]
        if kind < 0.3:
            return content[: at + 1] + content[at:]
        return [*content[:at], mutated(content[at], rng), *content[at + 1 :]]
    return rng.choice(STRANGE)


IDS = [f"face_{row:03d}" for row in range(12)]
FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 7)), columns=[f"logit_{c}" for c in range(7)])
FRAME = FRAME.assign(sample_id=IDS, label=[row % 7 for row in range(12)])
NAMES = [f"{group}_{i}" for group, width in groups_of("emoca") for i in range(width)]
VECTORS = np.random.default_rng(0).normal(size=(12, 334)).astype(np.float32)


def saved(write: Callable[[Path], object], place: Path) -> bytes:
    write(place)
    return place.read_bytes()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (90, 120, 150)).save(buffer, "png")
    return buffer.getvalue()


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (90, 120, 150)).save(buffer, "jpeg")
    return buffer.getvalue()


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode("utf-8", "surrogatepass")


def as_csv(rows: Any) -> bytes:
    text = io.StringIO()
    for row in rows if isinstance(rows, list) else [rows]:
        csv.writer(text).writerow(row if isinstance(row, list) else [row])
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_yaml(content: Any) -> bytes:
    return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass")


def as_npz(content: Any) -> bytes:
    arrays = {}
    for name, value in (content if isinstance(content, dict) else {"x": content}).items():
        try:
            arrays[str(name).replace("/", "_").replace("\x00", "") or "_"] = np.asarray(value)
        except (ValueError, OverflowError):
            arrays["ragged"] = np.zeros((0, 3))
    return npz(**{name: value for name, value in arrays.items() if value.dtype != object})


def as_parquet(content: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        pd.DataFrame(content).to_parquet(buffer)
    except Exception:  # it is no table
        return as_json(content)
    return buffer.getvalue()


TABLE = FRAME.to_dict("list")
RECORDS = FRAME.to_dict("records")
SPACE = yaml.safe_load(SMALL_SPACE.read_text())
CLUSTER = yaml.safe_load((ROOT / "clusters" / "aws.yaml").read_text())
DATASET = {"name": "mine_fuzz", "classes": ["happy", "sad"], "va": {"range": [-1, 1]}}
REPRESENTATION = {"name": "mine_fuzz_r", "groups": {"a": 3, "b": 4}, "subsets": {"full": ["a", "b"]}}
Writer = Callable[[Any], bytes]
READERS: dict[str, tuple[str, Any, Writer, Callable[[Path], object]]] = {
    "table.csv": ("t.csv", [list(FRAME), *FRAME.to_numpy().tolist()], as_csv, lambda f: rows(f)),
    "table.json": ("t.json", RECORDS, as_json, lambda f: rows(f)),
    "columns.json": ("t.json", TABLE, as_json, lambda f: rows(f)),
    "table.npz": ("t.npz", TABLE, as_npz, lambda f: rows(f)),
    "table.parquet": ("t.parquet", TABLE, as_parquet, lambda f: rows(f)),
    "labels.csv": (
        "l.csv",
        [["sample_id", "label"], *([i, row % 7] for row, i in enumerate(IDS))],
        as_csv,
        lambda f: read_labels_of(f, datasets.dataset("rafdb"), Reading()),
    ),
    "space.yaml": ("s.yaml", SPACE, as_yaml, load_space),
    "dataset.yaml": ("d.yaml", DATASET, as_yaml, read_dataset),
    "representation.yaml": ("r.yaml", REPRESENTATION, as_yaml, read_representation),
    "cluster.yaml": ("c.yaml", CLUSTER, as_yaml, read_cluster),
    "features.csv": (
        "f.csv",
        [["name", *NAMES], *([i, *vector.tolist()] for i, vector in zip(IDS[:3], VECTORS, strict=False))],
        as_csv,
        lambda f: read_parameters(f, "emoca", None),
    ),
    "features.npz": (
        "f.npz",
        {"sample_id": IDS, "emoca": VECTORS.tolist()},
        as_npz,
        lambda f: read_parameters(f, "emoca", None),
    ),
    "features/x.json": (
        "folder/x.json",
        {"exp": [0.1] * 50, "pose": [0.1] * 6, "shape": [0.1] * 100, "tex": [0.1] * 50, "detail": [0.1] * 128},
        as_json,
        lambda f: read_parameters(f.parent, "emoca", None),
    ),
    "request.json": (
        "q.json",
        {"images": [None], "parameters": {"smirk": [[0.0] * 358]}, "missing": "fail"},
        as_json,
        lambda f: parse_request("application/json", f.read_bytes(), Limits()),
    ),
}


def rows(file: Path) -> object:
    return read_rows(file, datasets.dataset("rafdb"), Reading())


def refused_in_a_line(read: Callable[[Path], object], file: Path) -> None:
    """Read a file; it may be refused, by the exceptions that users see as one line."""
    try:
        with within(SECONDS):
            read(file)
    except (Ig3dError, RefusedError) as error:
        message = str(error)
        assert message
    except Exception as error:
        raise AssertionError(f"{file.read_bytes()[:400]!r}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("way", ["structure", "bytes"])
def test_a_mutated_input_is_read_or_refused_in_a_line(reader: str, way: str, tmp_path: Path) -> None:
    name, content, write, read = READERS[reader]
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    whole = write(content)
    file.write_bytes(whole)
    read(file)
    rng = random.Random(f"{SEED} {reader} {way}")
    for _ in range(EACH):
        if way == "structure":
            changed = content
            for _ in range(rng.choice((1, 1, 2))):
                changed = mutated(changed, rng)
            data = write(changed)
        else:
            data = mutated_bytes(whole, rng)
        file.write_bytes(data)
        refused_in_a_line(read, file)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_mutated_image_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    rng, whole = random.Random(f"{SEED} {kind}"), {"png": png, "jpeg": jpeg}[kind]()
    file = tmp_path / "x"
    for _ in range(EACH):
        file.write_bytes(mutated_bytes(whole, rng))
        refused_in_a_line(lambda f: decode_image(f.read_bytes(), 32, "x"), file)


def test_what_a_store_holds_is_read_or_refused(world_files: dict[str, bytes], tmp_path: Path) -> None:
    readers: dict[str, Callable[[Path], object]] = {
        "spec": lambda f: parse_ensemble(f.read_bytes().decode(errors="replace"), "spec"),
        "candidates": lambda f: results_from_bytes(f.read_bytes(), "x"),
        "samples": lambda f: load_samples(Store(str(tmp_path)), "faces"),
        "labels": lambda f: find_labels(Store(str(tmp_path)), "rafdb", "test"),
        "checkpoint": read_state_dict,
    }
    places = {"samples": "datasets/faces/samples.parquet", "labels": "datasets/rafdb/labels-test.parquet"}
    for kind, read in readers.items():
        rng, file = random.Random(f"{SEED} {kind}"), tmp_path / places.get(kind, kind)
        file.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(EACH):
            file.write_bytes(mutated_bytes(world_files[kind], rng))
            refused_in_a_line(read, file)


@pytest.fixture(scope="module")
def world_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files as this package writes them."""
    import torch

    from ig3d_ray.data.labels import Labels, save_labels
    from ig3d_ray.data.synthetic.faces import undrawn_faces
    from ig3d_ray.search.results import results_to_bytes

    place = tmp_path_factory.mktemp("files")
    store = Store(str(place))
    undrawn_faces(200, 0).save(store)
    ids = np.array(IDS)
    save_labels(store, Labels("rafdb", "test", ids, np.arange(12) % 7, np.full((12, 2), np.nan, np.float32)))
    buffer = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(3, 4)}}, buffer)
    return {
        "spec": json.dumps({"schema_version": 2, "dataset": "faces", "members": []}).encode(),
        "candidates": results_to_bytes([]),
        "samples": store.read("datasets/faces/samples.parquet"),
        "labels": store.read("datasets/rafdb/labels-test.parquet"),
        "checkpoint": buffer.getvalue(),
    }


def predicted_image(file: Path) -> None:
    """As prediction reads an image: it says why it has none."""
    item = read_item("x", file)
    assert item.content is None
    raise Ig3dError(item.why)


def ingested_image(file: Path) -> None:
    """As a data set's images are read."""
    content, why = _checked(Entry("x", "train", file, 0))
    assert content is None
    raise Ig3dError(why)


FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    name: (file, read)
    for name, (file, _, _, read) in READERS.items()
    if name not in ("request.json", "features/x.json")
} | {
    "checkpoint": ("w.pt", read_state_dict),
    "encoder": ("smirk.pt", lambda f: load_encoder("smirk", f)),
    "image to predict": ("x.png", predicted_image),
    "image of a data set": ("x.png", ingested_image),
    "one of many parameter files": ("x.npy", lambda f: feature_bytes(str(f))),
}


@pytest.mark.parametrize("reader", FILES)
def test_what_is_no_file_is_refused_at_once(reader: str, tmp_path: Path) -> None:
    name, read = FILES[reader]
    for kind in ("missing", "folder", "pipe", "unreadable", "name"):
        file = tmp_path / kind / name
        file.parent.mkdir()
        if kind == "folder":
            file.mkdir()
        elif kind == "pipe":
            os.mkfifo(file)
        elif kind == "unreadable":
            file.symlink_to(file)
        elif kind == "name":
            file = Path(os.fsdecode(os.fsencode(file.parent) + b"/\xff" + os.fsencode(name)))
        with within(SECONDS), pytest.raises((Ig3dError, OSError) if reader.startswith("one of many") else Ig3dError):
            read(file)


def test_a_table_without_columns_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    for some in (pd.DataFrame(), pd.DataFrame(index=range(3))):
        some.to_parquet(file, index=False)
        with pytest.raises(Ig3dError, match=r"t\.parquet: "):
            rows(file)


@pytest.mark.parametrize("kind", ["t.csv", "t.json"])
def test_one_text_of_many_characters_does_not_take_gigabytes(kind: str, tmp_path: Path) -> None:
    frame = pd.concat([FRAME] * 1500, ignore_index=True)
    frame["sample_id"] = [f"face_{row}" for row in range(len(frame))]
    frame.loc[7, "sample_id"] = "x" * 130_000
    file = tmp_path / kind
    frame.to_csv(file, index=False) if kind == "t.csv" else file.write_text(frame.to_json(orient="records"))
    with within(SECONDS), pytest.raises(Ig3dError, match=rf"{kind}: row 8: a text of 130000 characters"):
        rows(file)
