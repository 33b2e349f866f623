"""Requests to the service, checked before any network runs: images, parameters, limits.

A request is one encoded image (`Content-Type: image/...`, optionally with `?missing=...`), or JSON:
`{"images": [base64, ...], "parameters": {"emoca": [[334 numbers], ...]}, "missing": "fail"}`,
where `images` or parameters may be missing, and a row of parameters may be null.
"""

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ig3d_ray.data import representations
from ig3d_ray.data.images import FORMATS, UNDECODABLE
from ig3d_ray.data.representations import width_of
from ig3d_ray.ensembles.inputs import Item

BAD, TOO_SLOW, TOO_LARGE, UNKNOWN_TYPE, UNUSABLE, BROKEN = 400, 408, 413, 415, 422, 500
MISSING = ("fail", "skip", "fallback")


@dataclass(frozen=True)
class Limits:
    """Limits of one request: bytes of its body, pixels per image and in total, images, seconds to arrive."""

    body: int = 16 * 2**20
    pixels: int = 25_000_000
    all_pixels: int = 50_000_000
    images: int = 64
    seconds: float = 30.0


class RefusedError(Exception):
    """A request that can't be served, and why, with its HTTP status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class PredictRequest(BaseModel):
    """The JSON body of `POST /predict`: images, parameters, or an equal number of both."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    images: list[str | None] | None = Field(default=None, min_length=1)
    """Encoded images in base64; null where there is none."""
    parameters: dict[str, list[list[Any] | None]] = Field(default_factory=dict)
    """Representation -> its parameters of each image, such as EMOCA's 334; null where there are none."""
    missing: Literal["fail", "skip", "fallback"] = "fail"
    """What to do with an image for which an input of a member is missing."""


class PredictResponse(BaseModel):
    """The answer of `POST /predict`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    predictions: list[dict[str, Any]]
    """For each image: `sample_id`, `predicted` and `probability_<class>`, or `valence` and `arousal`; and `missing`."""
    excluded: dict[str, str]
    """Images without a prediction, and why."""


@dataclass(frozen=True)
class Request:
    """A validated request.

    Attributes:
        items: the images, numbered from 0.
        given: representation -> a vector or None for each.
        missing: what to do where an input of a member is missing.
    """

    items: list[Item]
    given: Mapping[str, list[np.ndarray | None]]
    missing: str


def parse_request(content_type: str, body: bytes, limits: Limits, missing: str = "fail") -> Request:
    """Validate the content of a request.

    Args:
        missing: what to do where an input of a member is missing, unless the content has the field.

    Raises:
        RefusedError: the content has an unsupported format, is too large, or is not an image.
    """
    if len(body) > limits.body:
        raise RefusedError(TOO_LARGE, f"a body of more than {limits.body} bytes")
    kind = content_type.split(";")[0].strip().lower()
    if missing not in MISSING:
        raise RefusedError(BAD, f"missing: allowed: {', '.join(MISSING)}")
    if kind.startswith("image/"):
        _pixels("0", body, limits)
        return Request([_image("0", body)], {}, missing)
    if kind != "application/json":
        raise RefusedError(UNKNOWN_TYPE, f"Content-Type {kind or 'missing'!r}: send image/... or application/json")
    try:
        content = orjson.loads(body)
    except ValueError as error:
        raise RefusedError(BAD, f"not JSON ({error})") from error
    return _from_json(content, limits, missing)


def _from_json(content: Any, limits: Limits, missing: str) -> Request:
    if not isinstance(content, dict):
        raise RefusedError(BAD, 'JSON, but no object: send {"images": [...]}')
    try:
        asked = PredictRequest.model_validate({"missing": missing} | content)
    except ValidationError as error:
        raise RefusedError(BAD, _first_error(error)) from error
    unknown = [name for name in asked.parameters if representations.find(name) is None]
    if unknown:
        raise RefusedError(BAD, f"parameters.{unknown[0][:40]}: known: {', '.join(representations.known())}")
    counts = {len(values) for values in (asked.images, *asked.parameters.values()) if values is not None}
    if len(counts) != 1 or not all(counts):
        raise RefusedError(BAD, "give images, parameters, or an equal number of both")
    (count,) = counts
    if count > limits.images:
        raise RefusedError(TOO_LARGE, f"{count} images at once; at most {limits.images}")
    contents = [_from_base64(str(row), image) for row, image in enumerate(asked.images or [None] * count)]
    # All sizes are checked before anything is decoded: small files may hold huge images.
    pixels = sum(_pixels(str(row), data, limits) for row, data in enumerate(contents) if data is not None)
    if pixels > limits.all_pixels:
        raise RefusedError(TOO_LARGE, f"{pixels} pixels in all; at most {limits.all_pixels}")
    items = [Item(str(row), None) if data is None else _image(str(row), data) for row, data in enumerate(contents)]
    given = {
        name: [_vector(name, row, values) for row, values in enumerate(rows)] for name, rows in asked.parameters.items()
    }
    return Request(items, given, asked.missing)


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"unknown field {field!r}; known: {', '.join(PredictRequest.model_fields)}"
    return f"{field}: {first['msg']}"


def _from_base64(name: str, text: object) -> bytes | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise RefusedError(BAD, f"images.{name}: not a string; images are base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(BAD, f"images.{name}: not base64") from error


def _image(name: str, data: bytes) -> Item:
    """Decode an image once, so that invalid data are refused."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
    except UNDECODABLE as error:
        raise RefusedError(UNUSABLE, f"image {name}: not an image that can be read") from error
    return Item(name, data)


def _pixels(name: str, data: bytes, limits: Limits) -> int:
    """The number of pixels in an encoded image's header."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except UNDECODABLE as error:
        raise RefusedError(UNUSABLE, f"image {name}: not an image that can be read") from error
    if width * height > limits.pixels:
        raise RefusedError(TOO_LARGE, f"image {name}: {width} x {height} pixels; at most {limits.pixels}")
    return width * height


def _vector(name: str, row: int, values: object) -> np.ndarray | None:
    if values is None:
        return None
    width = width_of(name)
    try:
        with np.errstate(over="ignore"):  # a number beyond float32 becomes infinity, which is refused below
            vector = np.array(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise RefusedError(UNUSABLE, f"parameters.{name}.{row}: not {width} numbers") from error
    if vector.shape != (width,) or not np.isfinite(vector).all():
        raise RefusedError(UNUSABLE, f"parameters.{name}.{row}: not {width} finite numbers")
    return vector
