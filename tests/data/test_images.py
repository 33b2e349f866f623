"""Images as people have them: every suffix, turned by EXIF, in floating point, cut short."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ig3d_ray.data.images import FORMATS, IMAGE_SUFFIXES, ImageSet, UnreadableImageError, decode_image, open_image
from ig3d_ray.data.ingest.layouts import image_files
from ig3d_ray.data.samples import Samples
from ig3d_ray.ensembles.inputs import decoded, items_of, read_item
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.store import Store

RNG = np.random.default_rng(2)
FACE = Image.fromarray(RNG.integers(0, 255, (12, 8, 3), dtype=np.uint8)).resize((64, 96))
TURNED = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 6: "ROTATE_90", 8: "ROTATE_270"}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_is_an_image_wherever_one_is_looked_for(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"face{suffix.upper()}"
    try:
        FACE.convert("RGB").save(file)
    except (OSError, ValueError, KeyError):
        FACE.convert("L").save(file)
    assert list(image_files(tmp_path)) == [file]
    ((name, content),) = items_of(tmp_path)
    item = read_item(name, content)
    assert decoded(item, 16).shape == (3, 16, 16)
    assert open_image(file.read_bytes(), "face").mode == "RGB"


def test_other_programs_files_are_no_images() -> None:
    assert "EPS" not in FORMATS
    assert ".pdf" not in IMAGE_SUFFIXES
    assert {".jpg", ".webp", ".tif", ".jfif"} <= IMAGE_SUFFIXES


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_turned_image_is_the_upright_one(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = FACE.transpose(getattr(Image.Transpose, TURNED[orientation]))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(turned, kind, exif=exif, **options)
    upright = decode_image(encoded(FACE, "PNG"), 32, "upright")
    assert (decode_image(data, 32, "turned") == upright).all()
    with Image.open(io.BytesIO(data)) as opened:
        item = read_item("given", opened)
    assert (decoded(item, 32) == upright).all()


def test_floating_point_images_are_scaled_and_never_black() -> None:
    values = RNG.random((8, 8)).astype(np.float32)
    unit = open_image(encoded(Image.fromarray(values), "TIFF"), "unit")
    assert (np.asarray(unit)[:, :, 0] == np.round(values * 255)).all()
    bytes_ = open_image(encoded(Image.fromarray(np.round(values * 255)), "TIFF"), "bytes")
    assert (np.asarray(bytes_) == np.asarray(unit)).all()
    for wrong in (values * 1000, values - 5, values * np.nan):
        with pytest.raises(UnreadableImageError, match=r"floating-point numbers from .* neither in"):
            open_image(encoded(Image.fromarray(wrong), "TIFF"), "wrong")


def test_a_file_that_is_cut_short_has_its_own_reason() -> None:
    data = encoded(FACE, "JPEG", quality=98)
    with pytest.raises(UnreadableImageError, match="face: not a readable image: its file is cut short"):
        open_image(data[: len(data) // 2], "face")
    with pytest.raises(UnreadableImageError, match="face: not a readable image; replace it"):
        open_image(b"nothing", "face")


def test_a_thin_image_costs_no_square_of_its_length() -> None:
    import tracemalloc

    data = encoded(Image.new("L", (1, 16000)), "PNG")
    tracemalloc.start()
    assert decode_image(data, 64, "thin").shape == (3, 64, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize("place", ["../../x.png", "/etc/passwd", "a/../../../x.png", "../x.parquet#1", "s3://b/x.png"])
def test_an_image_outside_the_data_sets_folder_is_refused(place: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    (tmp_path / "x.png").write_bytes(b"secret")
    table = pa.table({"sample_id": ["a"], "split": ["test"], "image": [place], "expression": [0]})
    with pytest.raises(Ig3dError, match="is outside the data set's folder"):
        ImageSet(store, Samples("rafdb", table), 32).encoded(0)
