"""Decoding of sample images, and the augmentation of training batches.

A sample's `image` is a path below `datasets/<dataset>/`, or `<pack>.parquet#<sample_id>`: a row of a
Parquet file that holds many encoded pictures, so that a store isn't asked for each one.
"""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, UnidentifiedImageError

from ig3d_ray.data.samples import Samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import Store
from ig3d_ray.tables import table_from_bytes, table_to_bytes

DECODING_THREADS = 8


def pack_images(store: Store, dataset: str, encoded: dict[str, bytes]) -> dict[str, str]:
    """Publish encoded pictures as one Parquet file named by their content.

    Returns:
        sample_id -> the value of the samples table's `image` column.
    """
    content = hashlib.sha256()
    for sample_id in sorted(encoded):
        content.update(sample_id.encode() + b"\0" + hashlib.sha256(encoded[sample_id]).digest())
    pack = f"images-{content.hexdigest()[:16]}.parquet"
    name = f"datasets/{dataset}/{pack}"
    if not store.exists(name):
        table = pa.table({"sample_id": list(encoded), "image": pa.array(encoded.values(), pa.binary())})
        store.write(name, table_to_bytes(table, compression="none", use_dictionary=False))
    return {sample_id: f"{pack}#{sample_id}" for sample_id in encoded}


def load_images(store: Store, samples: Samples, size: int) -> np.ndarray:
    """The pictures of samples that all have one, decoded and resized.

    Returns:
        `[N, 3, size, size]` uint8, RGB, in the order of the samples.

    Raises:
        Ig3dError: a picture is missing or can't be decoded; the message names the sample.
    """
    places = samples.table["image"].to_pylist()
    packs = {place.split("#", 1)[0] for place in places if place and "#" in place}
    packed = {pack: _read_pack(store, samples.dataset, pack) for pack in sorted(packs)}

    def picture(sample_id: str, place: str | None) -> np.ndarray:
        if place is None:
            raise Ig3dError(f"{samples.dataset}: sample {sample_id} has no image")
        if "#" in place:
            pack, key = place.split("#", 1)
            if key not in packed[pack]:
                raise Ig3dError(f"{samples.dataset}: sample {sample_id}: {pack} holds no image {key!r}")
            return decode_image(packed[pack][key], size, f"{samples.dataset}: sample {sample_id}")
        name = f"datasets/{samples.dataset}/{place}"
        return decode_image(store.read(name), size, store.locate(name))

    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        pictures = list(pool.map(picture, samples.ids.tolist(), places))
    return np.stack(pictures) if pictures else np.zeros((0, 3, size, size), np.uint8)


def decode_image(data: bytes, size: int, what: str) -> np.ndarray:
    """One encoded picture as `[3, size, size]` uint8 RGB.

    Raises:
        Ig3dError: it is no picture; the message begins with `what`.
    """
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise Ig3dError(f"{what}: not a readable image; replace it or leave its `image` null") from error
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A training batch with random mirror images and one erased rectangle in every fourth picture.

    Args:
        images: `[B, 3, H, W]` float, any scale whose middle grey is 0.
        generator: CPU generator; the same state gives the same batch.

    Returns:
        `[B, 3, H, W]`, a new tensor.
    """
    batch, _, height, width = images.shape
    mirrored = torch.rand(batch, generator=generator) < 0.5
    erased = torch.rand(batch, generator=generator) < 0.25
    sides = 0.15 + 0.25 * torch.rand(batch, 2, generator=generator)
    corners = torch.rand(batch, 2, generator=generator) * (1 - sides)
    where = mirrored.to(images.device)[:, None, None, None]
    images = torch.where(where, images.flip(3), images)
    rows = torch.arange(height)[None] / height
    columns = torch.arange(width)[None] / width
    in_rows = (rows >= corners[:, :1]) & (rows < corners[:, :1] + sides[:, :1])
    in_columns = (columns >= corners[:, 1:]) & (columns < corners[:, 1:] + sides[:, 1:])
    hole = erased[:, None, None] & in_rows[:, :, None] & in_columns[:, None, :]
    return images.masked_fill(hole[:, None].to(images.device), 0.0)


def _read_pack(store: Store, dataset: str, pack: str) -> dict[str, bytes]:
    name = f"datasets/{dataset}/{pack}"
    try:
        table = table_from_bytes(store.read(name))
    except pa.ArrowInvalid as error:
        raise Ig3dError(f"{store.locate(name)}: not a whole Parquet file ({error}); make it again") from error
    return dict(zip(table["sample_id"].to_pylist(), table["image"].to_pylist(), strict=True))
