"""3D parameters of a data set's images, in pieces that are stored when complete: any process can resume."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ig3d_ray.data.encoder_record import EncoderRecord, encoder_records, write_encoder_record
from ig3d_ray.data.images import DECODING_THREADS, ImageSet, UnreadableImageError, decode_image, open_image
from ig3d_ray.data.ingest.build import Skips, write_skipped
from ig3d_ray.data.representations import Representation, width_of
from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.checkpoint import from_bytes, to_bytes
from ig3d_ray.models.face3d.crops import LandmarkFinder, cut, face_box
from ig3d_ray.models.face3d.encoders import IMAGE_SIZE
from ig3d_ray.models.face3d.files import encoder_of, load_encoder
from ig3d_ray.models.precision import tf32
from ig3d_ray.storage import paths
from ig3d_ray.storage.leases import Fence
from ig3d_ray.storage.local_files import read_regular
from ig3d_ray.storage.parquet import table_from_bytes, table_to_bytes
from ig3d_ray.storage.store import Store, at_once

PER_PIECE = 512
ON_GPU, ON_CPU = 64, 16
"""Batch sizes; a CPU's cache has room for few images."""
NOT_FINITE = "the encoder's output is not finite"


def bring_encoder(store: Store, representation: Representation, file: Path, landmarks: Path | None) -> EncoderRecord:
    """Put an encoder's weights into the storage, and the landmark model that faces are cropped by.

    Raises:
        Ig3dError: a file is missing, broken or another model's.
    """
    network, _ = load_encoder(representation, file)
    data = to_bytes({"representation": representation, "state_dict": network.state_dict()})
    digest = hashlib.sha256(data).hexdigest()
    name = paths.encoder_weights(representation, digest)
    if not store.exists(name):
        store.write(name, data)
    return EncoderRecord(name, digest, _bring_landmarks(store, landmarks) if landmarks else None)


def _bring_landmarks(store: Store, file: Path) -> str:
    try:
        model = read_regular(file)
    except OSError as error:
        raise Ig3dError(f"--crop {file}: cannot be read ({error.strerror})") from error
    LandmarkFinder(model, str(file))
    name = paths.landmark_model(hashlib.sha256(model).hexdigest())
    if not store.exists(name):
        store.write(name, model)
    return name


class Extractor:
    """A loaded encoder: images to parameters, in fp32 on any device.

    Args:
        store: where its weights are stored.
        record: which ones.

    Raises:
        Ig3dError: they are missing, or not those of the record.
    """

    def __init__(
        self, store: Store, representation: Representation, record: EncoderRecord, device: torch.device | None = None
    ) -> None:
        self.representation, self.device = representation, device or torch.device("cpu")
        data, where = store.read(record.weights), store.locate(record.weights)
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise Ig3dError(f"{where}: SHA-256 is not the one that is on record; extract again with the checkpoint")
        weights = from_bytes(data, where)["state_dict"]
        # On GPUs, cuDNN compiles depthwise convolutions for channels last anew for every shape.
        self.layout = torch.contiguous_format if self.device.type == "cuda" else torch.channels_last
        network = encoder_of(representation, weights, where).to(self.device)
        self.network = network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.landmarks = record.landmarks
        self._find = LandmarkFinder(store.read(record.landmarks), record.landmarks) if record.landmarks else None

    def image(self, data: bytes, what: str) -> np.ndarray | None:
        """An encoded image as input of the encoder, `[3, 224, 224]` uint8; None if no face is found to crop.

        Raises:
            Ig3dError: it is no image; the message begins with `what`.
        """
        if self._find is None:
            return decode_image(data, IMAGE_SIZE, what)
        image = open_image(data, what)
        landmarks = self._find(image)
        return None if landmarks is None else cut(image, face_box(landmarks, self.representation), IMAGE_SIZE)

    @torch.inference_mode()
    def parameters(self, images_BCHW: np.ndarray) -> np.ndarray:
        """`[B, 3, 224, 224]` uint8 to `[B, 334 | 358]` float32, a batch at a time."""
        found = np.empty((len(images_BCHW), width_of(self.representation)), np.float32)
        size = ON_GPU if self.device.type == "cuda" else ON_CPU
        with tf32(False):
            for start in range(0, len(images_BCHW), size):
                images = torch.from_numpy(np.ascontiguousarray(images_BCHW[start : start + size]))
                batch = images.to(self.device).contiguous(memory_format=self.layout).float() / 255
                found[start : start + len(batch)] = self.network(batch).cpu().numpy()
        return found

    def __call__(self, encoded: Callable[[int], tuple[bytes, str]], count: int) -> tuple[np.ndarray, list[str]]:
        """Parameters of encoded images.

        Args:
            encoded: the bytes of image i, and what to call it.

        Returns:
            `[count, width]`, and for each why it has none; empty where it has.
        """
        vectors, why = np.zeros((count, width_of(self.representation)), np.float32), [""] * count

        def prepared(index: int) -> np.ndarray | None:
            try:
                found = self.image(*encoded(index))
            # A storage error is not an error of the image: it aborts the piece.
            except UnreadableImageError as error:
                why[index] = str(error)
                return None
            if found is None:
                why[index] = "no face found"
            return found

        # All threads share one MediaPipe landmarker; decoding is multithreaded.
        with ThreadPoolExecutor(1 if self._find else DECODING_THREADS) as pool:
            images = list(pool.map(prepared, range(count)))
        usable = [index for index, image in enumerate(images) if image is not None]
        if usable:
            vectors[usable] = self.parameters(np.stack([p for p in images if p is not None]))
        for index in np.flatnonzero(~np.isfinite(vectors).all(axis=1)):
            vectors[index], why[index] = 0.0, NOT_FINITE
        return vectors, why


@dataclass(frozen=True)
class Extraction:
    """The extraction of one representation for a data set, in pieces that follow from data and encoder alone.

    Attributes:
        record: the encoder.
        samples: those with an image, in the order of the pieces.
        bounds: the first sample of each piece, and one past the last.
    """

    store: Store
    representation: Representation
    record: EncoderRecord
    samples: Samples
    bounds: tuple[int, ...]
    folder: str

    @staticmethod
    def of(store: Store, samples: Samples, representation: Representation, record: EncoderRecord) -> "Extraction":
        """Divide a data set's images into pieces; the images of a piece are in one pack.

        Raises:
            Ig3dError: no sample has an image.
        """
        shown = samples.with_feature("image")
        if len(shown) == 0:
            raise Ig3dError(f"{samples.dataset}: no sample has an image to extract parameters from")
        places = np.array(shown.table["image"].to_pylist())
        shown = Samples(samples.dataset, shown.table.take(pa.array(np.argsort(places, kind="stable"))))
        places = np.sort(places, kind="stable")
        packs = [place.split("#")[0] if "#" in place else "" for place in places.tolist()]
        bounds = [0]
        for row in range(1, len(packs)):
            if packs[row] != packs[row - 1] or row - bounds[-1] == PER_PIECE:
                bounds.append(row)
        identity = json.dumps([record.sha256, record.landmarks, shown.ids.tolist(), places.tolist()])
        key = hashlib.sha256(identity.encode()).hexdigest()[:16]
        folder = paths.extraction_folder(samples.dataset, representation, key)
        return Extraction(store, representation, record, shown, (*bounds, len(shown)), folder)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def _name(self, piece: int) -> str:
        return f"{self.folder}/{piece:05d}.parquet"

    def missing(self) -> list[int]:
        """The pieces that are not done yet."""
        done = set(self.store.names(self.folder))
        return [piece for piece in range(len(self)) if self._name(piece) not in done]

    def rows(self, piece: int) -> range:
        """The samples of a piece."""
        return range(self.bounds[piece], self.bounds[piece + 1])

    def write(self, piece: int, vectors: np.ndarray, why: Sequence[str]) -> None:
        """Publish a piece."""
        flat = pa.array(vectors.reshape(-1))
        columns = {"parameters": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]), "why": pa.array(why)}
        self.store.write(self._name(piece), table_to_bytes(pa.table(columns)))

    def _read(self, piece: int) -> tuple[np.ndarray, list[str]]:
        where = self.store.locate(self._name(piece))
        try:
            table = table_from_bytes(self.store.read(self._name(piece)))
            flat = table["parameters"].combine_chunks().flatten().to_numpy()
            return flat.reshape(len(table), -1), table["why"].to_pylist()
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            raise Ig3dError(f"{where}: cut short or no piece of an extraction; delete it and extract again") from error

    def is_published(self, samples: Samples) -> bool:
        """Whether a data set's table has this encoder's parameters of every image that gives any."""
        records = encoder_records(self.store, samples.dataset)
        there = not samples.missing(self.representation).all()
        return there and records.get(self.representation) == self.record and len(self.missing()) == len(self)

    def publish(self, samples: Samples, fence: Fence | None = None) -> tuple[Samples, Skips]:
        """Write the parameters of all pieces to the data set's table; failed images are listed and have none.

        Args:
            samples: the whole data set, as it is now.
            fence: looked at before anything is written; the table is then published over what it saw.

        Raises:
            Ig3dError: no image could be used, or the images have changed.
        """
        now = samples.with_feature("image")
        if dict(zip(now.ids, now.table["image"].to_pylist(), strict=True)) != dict(
            zip(self.samples.ids, self.samples.table["image"].to_pylist(), strict=True)
        ):
            raise Ig3dError(f"{samples.dataset}: its images changed during the extraction; start it again")
        pieces = at_once(self._read, range(len(self)))
        vectors = np.concatenate([vectors for vectors, _ in pieces])
        why = [reason for _, reasons in pieces for reason in reasons]
        skipped = [(str(i), reason) for i, reason in zip(self.samples.ids, why, strict=True) if reason]
        if len(skipped) == len(why):
            raise Ig3dError(f"{samples.dataset}: no image gave parameters; the first: {skipped[0][0]}: {why[0]}")
        row_of = {str(i): row for row, i in enumerate(self.samples.ids) if not why[row]}
        found = np.array([row_of.get(str(i), -1) for i in samples.ids])
        new = samples.without(self.representation).with_parameters(self.representation, vectors, found)
        # A process killed in between leaves parameters of an unknown encoder, not of a wrong one.
        if fence is not None:
            fence.verify()
        write_encoder_record(self.store, samples.dataset, self.representation, None)
        new.save(self.store, None if fence is None else fence.over)
        write_encoder_record(self.store, samples.dataset, self.representation, self.record)
        write_skipped(self.store, samples.dataset, self.representation, skipped)
        self.store.remove(self.folder)
        return new, skipped


class PieceWorker:
    """Processes pieces of an extraction one after another; the pack of the last piece stays in memory."""

    def __init__(self, extraction: Extraction, device: torch.device | None = None) -> None:
        self.extraction = extraction
        self.extractor = Extractor(extraction.store, extraction.representation, extraction.record, device)
        self._pack, self._start = "", 0
        self._images: ImageSet | None = None

    def __call__(self, piece: int) -> int:
        """Process and publish a piece; returns the number of images without parameters."""
        extraction, rows = self.extraction, self.extraction.rows(piece)
        place = extraction.samples.table["image"][rows[0]].as_py()
        pack = place.split("#")[0] if "#" in place else ""
        if self._images is None or not pack or pack != self._pack:
            self._images, self._start = self._open(pack, rows)
            self._pack = pack
        images, start = self._images, self._start
        vectors, why = self.extractor(lambda index: images.encoded(rows[index] - start), len(rows))
        extraction.write(piece, vectors, why)
        return sum(map(bool, why))

    def _open(self, pack: str, rows: range) -> tuple[ImageSet, int]:
        """The images of a whole pack, or of a piece whose images are files; and where they start."""
        samples, last = self.extraction.samples, rows.stop
        first = rows.start
        if pack:
            of_pack = [row for row, p in enumerate(samples.table["image"].to_pylist()) if p.startswith(f"{pack}#")]
            first, last = of_pack[0], of_pack[-1] + 1
        part = Samples(samples.dataset, samples.table.slice(first, last - first))
        return ImageSet(self.extraction.store, part, IMAGE_SIZE), first


def check_extractable(
    store: Store, samples: Samples, representation: Representation, replace: bool, begun: bool = False
) -> None:
    """Check whether an extraction would overwrite imported parameters.

    Args:
        begun: whether this one was begun before, and so was allowed.

    Raises:
        Ig3dError: there are parameters of another source, and `replace` is not given.
    """
    if begun:
        return
    there = int((~samples.missing(representation)).sum())
    if there and not replace and representation not in encoder_records(store, samples.dataset):
        raise Ig3dError(
            f"{samples.dataset}: {there} samples have {representation} parameters from elsewhere, and members may be"
            " trained on them; use --replace, or another --storage"
        )
