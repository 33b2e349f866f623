"""Sample images: packing, lookup and decoding.

A sample's `image` is a path below `datasets/<dataset>/`, or `<pack>.parquet#<sample_id>`: a row of a
Parquet file that holds many encoded images, so that a store needs no request per image.
"""

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageOps, UnidentifiedImageError

from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.parquet import table_from_bytes, table_to_bytes
from ig3d_ray.storage.store import Store

DECODING_THREADS = 8
EXIF_ORIENTATION = 0x0112
Image.init()
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "PCX", "SGI")
    if name in Image.OPEN
)
"""Accepted formats: others can run embedded programs (EPS), or are decoded before their size is known (ICO)."""
IMAGE_SUFFIXES = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)
"""The endings of image files, in lower case, wherever images are looked for."""


class UnreadableImageError(Ig3dError):
    """The bytes are not an image, as opposed to a storage error."""


def pack_images(store: Store, dataset: str, encoded: dict[str, bytes]) -> dict[str, str]:
    """Publish encoded images as one Parquet file, named by a hash of its content.

    Returns:
        sample_id -> the value of the samples table's `image` column.
    """
    content = hashlib.sha256()
    for sample_id in sorted(encoded):
        content.update(sample_id.encode() + b"\0" + hashlib.sha256(encoded[sample_id]).digest())
    pack = f"images-{content.hexdigest()[:16]}.parquet"
    name = paths.dataset_file(dataset, pack)
    if not store.exists(name):
        table = pa.table({"sample_id": list(encoded), "image": pa.array(encoded.values(), pa.binary())})
        store.write(name, table_to_bytes(table, compression="none", use_dictionary=False))
    return {sample_id: f"{pack}#{sample_id}" for sample_id in encoded}


class ImageSet:
    """The encoded images of samples that all have one, with methods to decode them.

    Packed images are held encoded in memory, others are read on demand. A copy in another
    process of this machine (a loader's worker) shares that memory.

    Args:
        size: decoded images are `[3, size, size]`.

    Raises:
        Ig3dError: a pack is missing or broken; a sample has no image.
    """

    def __init__(self, store: Store, samples: Samples, size: int) -> None:
        self.store, self.dataset, self.size = store, samples.dataset, size
        self.ids = samples.ids.tolist()
        self.places = samples.table["image"].to_pylist()
        wanted: dict[str, list[str]] = {}
        for place in self.places:
            if place and "#" in place:
                pack, key = place.split("#", 1)
                wanted.setdefault(pack, []).append(key)
        self.packs = {pack: _read_pack(store, samples.dataset, pack, keys) for pack, keys in sorted(wanted.items())}
        self.process = os.getpid()

    def __len__(self) -> int:
        return len(self.ids)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """The bytes of one image, and its name for messages."""
        sample_id, place = self.ids[index], self.places[index]
        if place is None:
            raise Ig3dError(f"{self.dataset}: sample {sample_id} has no image")
        if "#" in place:
            pack, key = place.split("#", 1)
            rows, images = self.packs[pack]
            if key not in rows:
                raise Ig3dError(f"{self.dataset}: sample {sample_id}: {pack} holds no image {key!r}")
            return images[rows[key]].as_py(), f"{self.dataset}: sample {sample_id}"
        if self.process != os.getpid():
            # In a loader process: an S3 connection can't be shared with the parent process.
            self.store, self.process = Store(self.store.uri), os.getpid()
        _check_inside(place, f"{self.dataset}: sample {sample_id}")
        name = paths.dataset_file(self.dataset, place)
        return self.store.read(name), self.store.locate(name)

    def __getitem__(self, index: int) -> np.ndarray:
        """One image as `[3, size, size]` uint8 RGB."""
        data, what = self.encoded(index)
        return decode_image(data, self.size, what)

    def some(self, indices: range | None = None) -> np.ndarray:
        """Images, all by default, decoded by threads: `[K, 3, size, size]` uint8, in the order of the samples."""
        indices = range(len(self)) if indices is None else indices
        decoded = np.empty((len(indices), 3, self.size, self.size), np.uint8)

        def put(at: int) -> None:
            decoded[at] = self[indices[at]]

        with ThreadPoolExecutor(DECODING_THREADS) as pool:
            list(pool.map(put, range(len(indices))))
        return decoded


UNDECODABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def decode_image(data: bytes, size: int, what: str) -> np.ndarray:
    """One encoded image, gray and 16-bit ones too, as `[3, size, size]` uint8 RGB.

    Raises:
        Ig3dError: it is no image; the message begins with `what`.
    """
    image = open_image(data, what)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def open_image(data: bytes, what: str) -> Image.Image:
    """One encoded image, decoded, in RGB.

    Raises:
        UnreadableImageError: it is no image; the message begins with `what`.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UNDECODABLE as error:
        message = f"{what}: not a readable image; replace it or set its `image` to null"
        raise UnreadableImageError(message) from error
    try:
        return in_rgb(image)
    except UNDECODABLE as error:
        reason = "its file is cut short" if "truncated" in str(error) else f"cannot be decoded ({str(error)[:80]})"
        message = f"{what}: not a readable image: {reason}; replace it or set its `image` to null"
        raise UnreadableImageError(message) from error


def in_rgb(image: Image.Image) -> Image.Image:
    """Any image in RGB, upright as its EXIF orientation says.

    Pillow clips 16-bit gray at 255; here its upper eight bits are used. Floating-point images in [0, 1] are scaled.

    Raises:
        One of `UNDECODABLE`: it was opened, but can't be decoded, or its numbers are not those of an image.
    """
    image.load()
    if EXIF_ORIENTATION in image.getexif():
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        # Eight bits in a file of sixteen stay as they are.
        image = Image.fromarray((values if values.max() <= 255 else values >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """A floating-point image in [0, 1] or [0, 255] as uint8.

    Raises:
        ValueError: other numbers.
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all() or low < 0 or high > 255:
        raise ValueError(f"floating-point numbers from {low:g} to {high:g}, neither in [0, 1] nor in [0, 255]")
    return np.round(values * (255 if high <= 1 else 1)).astype(np.uint8)


def _check_inside(place: str, what: str) -> None:
    """Check that an image's place in a samples table is one below the data set's folder.

    Raises:
        Ig3dError: it leads elsewhere, where anything could be read.
    """
    if place.startswith(("/", "\\")) or ".." in place.replace("\\", "/").split("/") or "://" in place:
        raise Ig3dError(f"{what}: image {place[:100]!r} is outside the data set's folder; make the samples table again")


def _read_pack(store: Store, dataset: str, pack: str, wanted: list[str]) -> tuple[dict[str, int], pa.Array]:
    """The row of each requested image, and these images only, because a pack also holds images of other splits."""
    _check_inside(pack, dataset)
    name = paths.dataset_file(dataset, pack)
    try:
        table = table_from_bytes(store.read(name))
    except pa.ArrowInvalid as error:
        raise Ig3dError(f"{store.locate(name)}: not a whole Parquet file ({error}); make it again") from error
    if len(wanted) < len(table):
        table = table.filter(pc.is_in(table["sample_id"], value_set=pa.array(wanted, pa.string())))
    return {key: row for row, key in enumerate(table["sample_id"].to_pylist())}, table["image"].combine_chunks()
