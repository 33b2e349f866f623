"""Supported image inputs: a folder, files, bytes, arrays, Pillow images."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ig3d_ray.data.images import IMAGE_SUFFIXES, UNDECODABLE, UnreadableImageError, decode_image, in_rgb
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.local_files import read_regular

# Dimensions of an array that holds several images.
SEVERAL = 4
ImageLike = str | Path | bytes | np.ndarray | Image.Image


@dataclass(frozen=True)
class Item:
    """One image.

    Attributes:
        name: of it.
        content: encoded, or decoded `[H, W, 3]`; None if it could not be read.
        why: the reason, if it could not be read.
    """

    name: str
    content: bytes | np.ndarray | None
    why: str = "cannot be read"


def items_of(images: ImageLike | Sequence[ImageLike]) -> list[tuple[str, ImageLike]]:
    """(name, content) of each image; names are relative paths in a folder, given paths of files, or numbers.

    Args:
        images: a folder, or one image or several: files, encoded bytes, `[H, W, 3]` arrays or Pillow images. An array
            `[N, H, W, 3]` is N images.

    Raises:
        Ig3dError: no such file, or a folder without images; an empty list.
    """
    if isinstance(images, str | Path):
        return _files(Path(images))
    if isinstance(images, bytes | bytearray | memoryview | Image.Image) or (
        isinstance(images, np.ndarray) and images.ndim != SEVERAL
    ):
        images = [bytes(images) if isinstance(images, bytearray | memoryview) else images]
    found: list[tuple[str, ImageLike]] = []
    for number, image in enumerate(images):
        if isinstance(image, str | Path):
            # Several folders may contain images of the same name, so the folders' names are added.
            within = f"{Path(image).as_posix()}/" if len(images) > 1 and Path(image).is_dir() else ""
            found += [(within + name, file) for name, file in _files(Path(image))]
        else:
            found.append((str(number), image))
    if not found:
        raise Ig3dError("no images; give a folder, files, arrays or Pillow images")
    if len({name for name, _ in found}) < len(found):
        names = [name for name, _ in found]
        twice = next(name for name in names if names.count(name) > 1)
        raise Ig3dError(f"{twice}: two images have this name; give each once")
    return found


def _files(path: Path) -> list[tuple[str, ImageLike]]:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not inside:
            raise Ig3dError(f"{path}: no images in this folder; known endings: {' '.join(sorted(IMAGE_SUFFIXES))}")
        return [(p.relative_to(path).as_posix(), p) for p in inside]
    if not path.is_file():
        raise Ig3dError(f"{path}: no such file or folder of images")
    return [(str(path), path)]


def read_item(name: str, content: ImageLike) -> Item:
    """An image ready for the networks; a file that can't be read has no content."""
    if isinstance(content, str | Path):
        try:
            return Item(name, read_regular(Path(content)))
        except OSError as error:
            return Item(name, None, f"cannot be read ({error.strerror or type(error).__name__})")
    if isinstance(content, Image.Image):
        try:
            return Item(name, np.asarray(in_rgb(content)))
        except UNDECODABLE as error:
            return Item(name, None, f"cannot be decoded ({type(error).__name__})")
    if not isinstance(content, bytes | np.ndarray):
        why = f"a {type(content).__name__} is no image; give a file, bytes, an array or a Pillow image"
        return Item(name, None, why)
    return Item(name, content)


def decoded(item: Item, size: int) -> np.ndarray:
    """`[3, size, size]` uint8.

    Raises:
        Ig3dError: it is no image.
    """
    if isinstance(item.content, bytes):
        return decode_image(item.content, size, item.name)
    if item.content is None:
        raise UnreadableImageError(f"{item.name}: {item.why}")
    image = _pillow(item.content, item.name)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def encoded(item: Item) -> bytes:
    """The image as a file's bytes, without loss.

    Raises:
        Ig3dError: it is no image.
    """
    if isinstance(item.content, bytes):
        return item.content
    if item.content is None:
        raise UnreadableImageError(f"{item.name}: {item.why}")
    buffer = io.BytesIO()
    _pillow(item.content, item.name).save(buffer, "bmp")
    return buffer.getvalue()


def _pillow(array: np.ndarray, name: str) -> Image.Image:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        message = f"an array {array.shape} of {array.dtype}; images are [height, width, 3] uint8 RGB"
        raise UnreadableImageError(f"{name}: {message}")
    return Image.fromarray(array)
