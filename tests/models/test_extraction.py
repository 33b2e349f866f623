"""3D parameters from images: what an encoder sees, piece by piece, killed and continued, and on record."""

import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from trained import smirk_checkpoint

from ig3d_ray.data.encoder_record import encoder_records, write_encoder_record
from ig3d_ray.data.images import ImageSet, pack_images
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.data.synthetic.faces import make_faces
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.face3d.crops import cut, face_box
from ig3d_ray.models.face3d.encoders import EmocaEncoder, SmirkEncoder
from ig3d_ray.models.face3d.extraction import Extraction, PieceWorker, bring_encoder, check_extractable
from ig3d_ray.storage.store import Store

PACKS, PER_PACK, BROKEN = 6, 8, 13


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SMIRK's encoder with random weights, as its file is published."""
    return smirk_checkpoint(tmp_path_factory.mktemp("smirk"))


@functools.cache
def drawn_faces() -> tuple[pa.Table, list[bytes]]:
    """The table of the first faces, and their images."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        table = make_faces(store, samples=240, seed=3).table.slice(0, PACKS * PER_PACK)
        images = ImageSet(store, Samples("faces", table), 64)
        return table, [images.encoded(row)[0] for row in range(len(images))]


def few_faces(store: Store, broken: bool = True, packs: int = PACKS, per_pack: int = PER_PACK) -> Samples:
    """Faces without parameters in packs of their own, one image of which doesn't decode."""
    table, images = drawn_faces()
    table, encoded = table.slice(0, packs * per_pack), images[: packs * per_pack]
    ids = table["sample_id"].to_pylist()
    if broken:
        encoded[BROKEN] = encoded[BROKEN][:100]
    places: dict[str, str] = {}
    for pack in range(packs):
        rows = range(pack * per_pack, (pack + 1) * per_pack)
        places |= pack_images(store, "faces", {ids[row]: encoded[row] for row in rows})
    table = table.drop_columns(["image", "emoca", "smirk"]).append_column("image", pa.array(places.values()))
    made = Samples("faces", table)
    made.save(store)
    return made


def test_emocas_parameters_come_of_its_lightning_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = EmocaEncoder().eval()
    content = {"state_dict": {f"deca.{name}": value for name, value in network.state_dict().items()}, "epoch": 3}
    torch.save(content, tmp_path / "emoca.ckpt")
    store = Store(str(tmp_path / "store"))
    samples = few_faces(store, broken=False, packs=1, per_pack=3)
    extraction = Extraction.of(store, samples, "emoca", bring_encoder(store, "emoca", tmp_path / "emoca.ckpt", None))
    work = PieceWorker(extraction)
    assert [work(piece) for piece in extraction.missing()] == [0]
    seen, skipped = extraction.publish(samples)
    assert skipped == []
    assert load_samples(store, "faces").with_feature("emoca").ids.tolist() == seen.ids.tolist()
    images = torch.from_numpy(ImageSet(store, seen, 224).some()).float() / 255
    with torch.inference_mode():
        expected = network(images).numpy()
    assert np.abs(seen.params("emoca") - expected).max() <= 1e-4 * np.abs(expected).max()


def test_every_image_gets_what_the_encoder_sees_in_it(tmp_path: Path, checkpoint: Path) -> None:
    store = Store(str(tmp_path))
    samples = few_faces(store)
    record = bring_encoder(store, "smirk", checkpoint, None)
    extraction = Extraction.of(store, samples, "smirk", record)
    assert len(extraction) == PACKS
    work = PieceWorker(extraction)
    without = {piece: work(piece) for piece in (4, 0, 5, 1, 2, 3)}
    assert sum(without.values()) == 1
    new, skipped = extraction.publish(samples)
    ((lost, why),) = skipped
    assert lost == samples.ids[BROKEN]
    assert "not a readable image" in why
    assert lost in store.read("datasets/faces/skipped.csv").decode()
    seen = new.with_feature("smirk")
    assert sorted(seen.ids) == sorted(set(samples.ids) - {lost})
    images = ImageSet(store, seen, 224)
    network = SmirkEncoder().eval()
    network.load_state_dict({k.removeprefix("smirk_encoder."): v for k, v in torch.load(checkpoint).items()})
    with torch.inference_mode():
        expected = network(torch.from_numpy(images.some()).float() / 255).numpy()
    assert np.abs(seen.params("smirk") - expected).max() < 1e-4
    assert expected.std(axis=0).max() > 1e-4, "an encoder that sees no difference would pass"
    assert encoder_records(store, "faces") == {"smirk": record}
    assert store.names("extracted") == []


def test_an_encoder_that_fails_everywhere_changes_nothing(tmp_path: Path, checkpoint: Path) -> None:
    store = Store(str(tmp_path))
    samples = few_faces(store)
    record = bring_encoder(store, "smirk", checkpoint, None)
    extraction = Extraction.of(store, samples, "smirk", record)
    for piece in range(len(extraction)):
        rows = extraction.rows(piece)
        extraction.write(piece, np.zeros((len(rows), 358), np.float32), ["no face found"] * len(rows))
    with pytest.raises(Ig3dError, match=r"no image gave parameters; the first: .*: no face found"):
        extraction.publish(samples)
    assert load_samples(store, "faces").fingerprint == samples.fingerprint


def test_parameters_from_elsewhere_are_not_overwritten_unasked(tmp_path: Path, checkpoint: Path) -> None:
    store = Store(str(tmp_path))
    samples = make_faces(store, samples=200, seed=3)
    with pytest.raises(Ig3dError, match=r"198 samples have smirk parameters from elsewhere|use --replace"):
        check_extractable(store, samples, "smirk", replace=False)
    check_extractable(store, samples, "smirk", replace=True)
    record = bring_encoder(store, "smirk", checkpoint, None)
    write_encoder_record(store, "faces", "smirk", record)
    check_extractable(store, samples, "smirk", replace=False)


def test_imported_parameters_are_of_no_known_encoder(tmp_path: Path, checkpoint: Path) -> None:
    from ig3d_ray.data.ingest.features import import_features

    store = Store(str(tmp_path / "store"))
    samples = few_faces(store, broken=False)
    write_encoder_record(store, "faces", "smirk", bring_encoder(store, "smirk", checkpoint, None))
    np.savez(tmp_path / "smirk.npz", sample_id=samples.ids, smirk=np.ones((len(samples), 358), np.float32))
    import_features(store, samples, "smirk", tmp_path / "smirk.npz")
    assert encoder_records(store, "faces") == {}


def test_weights_that_were_changed_are_not_used(tmp_path: Path, checkpoint: Path) -> None:
    store = Store(str(tmp_path))
    samples = few_faces(store)
    record = bring_encoder(store, "smirk", checkpoint, None)
    store.write(record.weights, store.read(record.weights)[:-1] + b"x")
    with pytest.raises(Ig3dError, match="SHA-256 is not the one that is on record"):
        PieceWorker(Extraction.of(store, samples, "smirk", record))


def test_the_square_around_a_face() -> None:
    landmarks = np.full((478, 2), 50.0)
    landmarks[152], landmarks[105] = (50, 90), (50, 30)
    landmarks[234], landmarks[454] = (20, 60), (80, 60)
    landmarks[10] = (50, 10)  # the forehead's top: SMIRK's square has it, EMOCA's not
    assert face_box(landmarks, "smirk") == pytest.approx((1.0, 1.0, 99.0, 99.0))
    assert face_box(landmarks, "emoca") == pytest.approx((8.75, 18.75, 91.25, 101.25))


def test_what_lies_beyond_the_image_is_black() -> None:
    image = Image.fromarray(np.full((100, 100, 3), 200, np.uint8))
    square = cut(image, (-50.0, 0.0, 50.0, 100.0), 224)
    assert square.shape == (3, 224, 224)
    assert (square[:, :, :110] == 0).all()
    assert (square[:, :, 114:] == 200).all()


def test_cropping_says_what_it_needs(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "face_landmarker.task").write_bytes(b"not a model")
    # Without MediaPipe the message names it; with it, the message says that this is none of its models.
    with pytest.raises(Ig3dError, match=r"ig3d-ray\[crop\]|not MediaPipe's face landmarker"):
        bring_encoder(Store(str(tmp_path / "store")), "smirk", checkpoint, tmp_path / "face_landmarker.task")
    with pytest.raises(Ig3dError, match=r"none\.task: cannot be read"):
        bring_encoder(Store(str(tmp_path / "store")), "smirk", checkpoint, tmp_path / "none.task")


def ask(store: Store, checkpoint: Path) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "ig3d_ray", "extract", "--encoder", "smirk", "--checkpoint", str(checkpoint)]
    words += ["--dataset", "faces", "--storage", store.uri]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def test_what_is_done_is_not_done_again(tmp_path: Path, checkpoint: Path) -> None:
    store = Store(str(tmp_path))
    samples = few_faces(store)
    record = bring_encoder(store, "smirk", checkpoint, None)
    begun = Extraction.of(store, samples, "smirk", record)
    marked = np.full((PER_PACK, 358), 7.0, np.float32)
    for piece in (1, 3, 4, 5):
        begun.write(piece, marked, [""] * PER_PACK)
    # As another driver sees it that starts on another machine.
    again = Extraction.of(Store(str(tmp_path)), load_samples(store, "faces"), "smirk", record)
    assert (again.folder, again.missing()) == (begun.folder, [0, 2])
    work = PieceWorker(again)
    for piece in again.missing():
        work(piece)
    new, _ = again.publish(samples)
    kept = [str(begun.samples.ids[row]) for piece in (1, 3, 4, 5) for row in begun.rows(piece)]
    values = dict(zip(new.with_feature("smirk").ids.tolist(), new.with_feature("smirk").params("smirk"), strict=True))
    assert all((values[name] == 7.0).all() for name in kept)
    assert sum(not (vector == 7.0).all() for vector in values.values()) == len(values) - len(kept) > PER_PACK


def test_what_changed_meanwhile_is_kept(tmp_path: Path, checkpoint: Path) -> None:
    store = Store(str(tmp_path))
    samples = few_faces(store, broken=False)
    record = bring_encoder(store, "smirk", checkpoint, None)
    extraction = Extraction.of(store, samples, "smirk", record)
    for piece in range(len(extraction)):
        extraction.write(piece, np.ones((len(extraction.rows(piece)), 358), np.float32), [""] * PER_PACK)
    # While it ran, somebody brought EMOCA's parameters.
    emoca = np.full((1, 334), 0.5, np.float32)
    samples.without("emoca").with_parameters("emoca", emoca, np.zeros(len(samples), int)).save(store)
    new, _ = extraction.publish(load_samples(store, "faces"))
    assert (new.params("emoca") == 0.5).all()
    assert (new.params("smirk") == 1.0).all()
    assert extraction.is_published(load_samples(store, "faces"))
    others = Samples("faces", samples.table.slice(0, 40))
    with pytest.raises(Ig3dError, match="its images changed during the extraction"):
        extraction.publish(others)


def test_a_storage_that_fails_says_nothing_of_a_image(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    samples = few_faces(store)
    extraction = Extraction.of(store, samples, "smirk", bring_encoder(store, "smirk", checkpoint, None))
    work = PieceWorker(extraction)

    def refuse(self: ImageSet, index: int) -> tuple[bytes, str]:
        raise Ig3dError("cannot read s3://bucket/face.png: SlowDown")

    monkeypatch.setattr(ImageSet, "encoded", refuse)
    with pytest.raises(Ig3dError, match="SlowDown"):
        work(0)
    assert 0 in extraction.missing()


@pytest.mark.slow
def test_a_killed_extraction_goes_on(tmp_path: Path, checkpoint: Path) -> None:
    store = Store(str(tmp_path))
    samples = few_faces(store)
    first = ask(store, checkpoint)
    deadline = time.monotonic() + 120
    while not (done := store.names("extracted/faces")) and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert 0 < len(done) < PACKS
    kept = {name: store.read(name) for name in done}
    times = {name: os.stat(tmp_path / name).st_mtime_ns for name in kept}
    # What is there is not done again: were it, this one would be put right.
    second = ask(store, checkpoint)
    while store.names("extracted/faces") and second.poll() is None:
        for name, written in times.items():
            if (tmp_path / name).exists():
                assert os.stat(tmp_path / name).st_mtime_ns == written
        time.sleep(0.05)
    message = second.communicate(timeout=120)[0].decode()
    assert second.returncode == 0, message
    assert "extract: resumed, " in message
    assert f"{len(samples) - 1} of {len(samples)} samples have smirk parameters" in message
    assert "1 x faces: sample face-00013: not a readable image" in message
    assert len(load_samples(store, "faces").with_feature("smirk")) == len(samples) - 1


def test_a_table_made_anew_is_extracted_anew(tmp_path: Path, checkpoint: Path) -> None:
    store = Store(str(tmp_path))
    samples = few_faces(store, broken=False, packs=1, per_pack=2)
    extraction = Extraction.of(store, samples, "smirk", bring_encoder(store, "smirk", checkpoint, None))
    PieceWorker(extraction)(0)
    done, _ = extraction.publish(samples)
    assert extraction.is_published(done)
    assert not extraction.is_published(samples), "a table without parameters has none of this encoder"
    make_faces(store, samples=240, seed=3)
    assert encoder_records(store, "faces") == {}, "drawn parameters are no encoder's"
