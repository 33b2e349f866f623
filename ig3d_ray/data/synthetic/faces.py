"""The built-in data set: drawn faces with expressions, and 3D parameters as an encoder might output them.

Both views depend on the same eight expression coefficients, each with its own distortions. Images vary
in pose, light, color, occlusion, blur and noise. The parameters are not affected by these but are
regressions: each coefficient has its own error, occasionally a large one, and each representation
lacks what its real counterpart lacks. EMOCA-like `exp` hardly encodes the eyelids, its `detail` encodes
wrinkles; SMIRK-like `expression` leaves the mouth's opening to `jaw` and the eyes to `eyelid`, which the
short subset drops. So the views fail on different faces, which late fusion exploits.
"""

import io
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from ig3d_ray.data.datasets import dataset
from ig3d_ray.data.encoder_record import forget_encoders
from ig3d_ray.data.images import pack_images
from ig3d_ray.data.representations import Representation, groups_of, width_of
from ig3d_ray.data.samples import Samples
from ig3d_ray.data.synthetic.drawing import (
    HAIRS,
    OCCLUDERS,
    SIZE,
    SKINS,
    Color,
    Expression,
    Look,
    draw_face,
    encode_face,
)
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.store import Store

# Coefficients in the order of drawing.Expression, then valence and arousal, at full intensity.
_PROTOTYPES = {
    "Surprise": ((1.0, 0.1, 0.0, 1.0, 0.0, 1.0, -0.5, 0.0), (0.15, 0.80)),
    "Fear": ((0.6, 0.9, 0.2, 0.9, -0.4, 0.4, 0.7, 0.0), (-0.60, 0.75)),
    "Disgust": ((-0.1, 0.0, 0.6, -0.6, -0.5, 0.1, 0.0, 1.0), (-0.65, 0.35)),
    "Happy": ((0.1, 0.0, 0.0, -0.2, 1.0, 0.45, 0.7, 0.0), (0.85, 0.45)),
    "Sad": ((0.0, 1.0, 0.1, -0.5, -0.9, 0.0, -0.1, 0.0), (-0.70, -0.35)),
    "Anger": ((-0.2, 0.0, 1.0, 0.3, -0.5, 0.15, 0.2, 0.3), (-0.65, 0.65)),
    "Neutral": ((0.0,) * 8, (0.0, 0.0)),
}
# RAF-DB's test set: 329, 74, 160, 1185, 478, 162, 680 of 3,068.
_SHARES = np.array([329, 74, 160, 1185, 478, 162, 680]) / 3068
_SPLIT_SHARES = {"train": 0.6, "dev": 0.15, "test": 0.25}
# Standard deviation of each coefficient's error in a representation's own expression code.
_CODE_ERROR = {
    "emoca": np.array([0.30, 0.30, 0.30, 0.90, 0.22, 0.25, 0.30, 0.60]),
    "smirk": np.array([0.28, 0.28, 0.34, 0.95, 0.24, 0.90, 0.34, 0.45]),
}
_GROSS_ERROR_SHARE = 0.10
_MISSING_SHARE = {"emoca": 0.002, "smirk": 0.02}
MIN_SAMPLES = 200


def make_faces(store: Store, samples: int = 4000, seed: int = 0) -> Samples:
    """Draw the data set and publish it in a store; the same arguments give the same bytes.

    Args:
        samples: how many faces, at least 200; 60 % train, 15 % dev, 25 % test.
        seed: random seed; it determines everything random.

    Raises:
        Ig3dError: fewer than 200 samples, or the store can't be written.
    """
    table, coefficients, looks = _table(samples, seed)
    ids = table["sample_id"].to_pylist()
    encoded = {i: encode_face(Expression(*c), look) for i, c, look in zip(ids, coefficients, looks, strict=True)}
    places = pack_images(store, "faces", encoded)
    table = table.set_column(2, "image", pa.array([places[i] for i in ids]))
    made = Samples("faces", table)
    forget_encoders(store, "faces")
    made.save(store)
    return made


def undrawn_faces(samples: int, seed: int) -> Samples:
    """The table of the data set that `make_faces` would draw, with images that are not there: for forecasts.

    Args:
        samples: how many faces, at least 200.
        seed: random seed.

    Raises:
        Ig3dError: fewer than 200 samples.
    """
    return Samples("faces", _table(samples, seed)[0])


def _table(samples: int, seed: int) -> tuple[pa.Table, np.ndarray, list[Look]]:
    """The samples table with images that are still to be drawn, the coefficients `[N, 8]`, and the looks."""
    if samples < MIN_SAMPLES:
        raise Ig3dError(f"--samples {samples}: at least {MIN_SAMPLES}, so that each split has every expression")
    rng = np.random.default_rng([seed, samples])
    labels, split = _labels_and_splits(samples, rng)
    coefficients, va = _expressions(labels, rng)
    looks = list(_looks(samples, rng))
    emoca = _emoca(coefficients, looks, rng)
    smirk = _smirk(coefficients, looks, rng)
    ids = [f"face-{number:05d}" for number in range(samples)]
    table = pa.table(
        {
            "sample_id": ids,
            "split": split,
            "image": [f"{i}.png" for i in ids],
            "expression": labels.astype(np.int8),
            "valence": va[:, 0].astype(np.float32),
            "arousal": va[:, 1].astype(np.float32),
            "emoca": _feature_column("emoca", emoca, rng),
            "smirk": _feature_column("smirk", smirk, rng),
        }
    )
    return table, coefficients, looks


def contact_sheet(seed: int = 0, columns: int = 10) -> bytes:
    """A PNG with a labeled row of drawn faces for each expression."""
    rng = np.random.default_rng([seed, 1])
    names = dataset("faces").class_names
    sheet = Image.new("RGB", (72 + columns * SIZE, len(names) * SIZE), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        pen.text((8, row * SIZE + SIZE // 2), name, fill=(0, 0, 0))
        coefficients, _ = _expressions(np.full(columns, row), rng)
        for column, look in enumerate(_looks(columns, rng)):
            sheet.paste(draw_face(Expression(*coefficients[column]), look), (72 + column * SIZE, row * SIZE))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _labels_and_splits(samples: int, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Classes `[N]` and splits, both in exact shares (largest remainder), stratified, then shuffled."""
    labels, split = [], []
    for label, count in enumerate(_apportion(samples, _SHARES)):
        parts = _apportion(count, np.array(list(_SPLIT_SHARES.values())))
        labels += [label] * count
        split += [name for name, part in zip(_SPLIT_SHARES, parts, strict=True) for _ in range(part)]
    order = rng.permutation(samples)
    return np.array(labels)[order], [split[i] for i in order]


def _apportion(total: int, shares: np.ndarray) -> list[int]:
    exact = total * shares / shares.sum()
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return [int(count) for count in counts]


def _expressions(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients `[N, 8]` and valence-arousal `[N, 2]` of faces that show their class more or less."""
    prototypes = np.array([_PROTOTYPES[name][0] for name in dataset("faces").class_names])
    va = np.array([_PROTOTYPES[name][1] for name in dataset("faces").class_names])
    intensity = 0.45 + 0.55 * rng.beta(2.0, 1.3, size=(len(labels), 1))
    coefficients = prototypes[labels] * intensity + 0.10 * rng.standard_normal((len(labels), 8))
    noisy_va = va[labels] * intensity + 0.10 * rng.standard_normal((len(labels), 2))
    return np.clip(coefficients, -1.0, 1.2), np.clip(noisy_va, -1.0, 1.0)


def _looks(samples: int, rng: np.random.Generator) -> Iterator[Look]:
    occluders = rng.choice(OCCLUDERS, size=samples, p=[0.50, 0.11, 0.12, 0.09, 0.09, 0.09])
    for occluder in occluders:
        pick = rng.random(4)
        hue = rng.integers(40, 235, size=(3, 3))
        yield Look(
            skin=SKINS[int(pick[0] * len(SKINS))],
            hair=HAIRS[int(pick[1] * len(HAIRS))],
            iris=_color(hue[0] // 2),
            background=_color(60 + hue[1] // 2),
            cloth=_color(hue[2]),
            jaw_width=1 + 0.12 * rng.standard_normal(),
            eye_gap=1 + 0.06 * rng.standard_normal(),
            brow_weight=float(np.clip(1 + 0.25 * rng.standard_normal(), 0.5, 1.7)),
            lip=float(np.clip(1 + 0.3 * rng.standard_normal(), 0.4, 1.8)),
            long_hair=bool(pick[2] < 0.5),
            yaw=0.22 * rng.standard_normal(),
            pitch=0.12 * rng.standard_normal(),
            roll=0.10 * rng.standard_normal(),
            scale=float(rng.uniform(0.74, 0.86)),
            shift=(0.03 * rng.standard_normal(), 0.03 * rng.standard_normal()),
            light=float(np.clip(1 + 0.16 * rng.standard_normal(), 0.4, 1.5)),
            slope=(0.16 * rng.standard_normal(), 0.10 * rng.standard_normal()),
            tint=tuple(np.clip(1 + 0.07 * rng.standard_normal(3), 0.7, 1.3).tolist()),
            occluder=str(occluder),
            occluder_at=(float(rng.uniform(-0.5, 0.3)), float(rng.uniform(-0.3, 0.6))),
            blur=float(rng.uniform(0.6, 2.2)) if pick[3] < 0.25 else 0.0,
            noise=float(rng.uniform(1, 10)),
            noise_seed=int(rng.integers(2**31)),
        )


def _color(channels: np.ndarray) -> Color:
    r, g, b = (int(channel) for channel in channels)
    return (r, g, b)


def _read_coefficients(coefficients: np.ndarray, error: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulated regression output for the coefficients: each with an error, some samples with large errors. `[N, 8]`"""
    spread = np.where(rng.random((len(coefficients), 1)) < _GROSS_ERROR_SHARE, 3.0, 1.0)
    return coefficients + spread * error * rng.standard_normal(coefficients.shape)


def _code(values: np.ndarray, width: int, axes_seed: int, rng: np.random.Generator) -> np.ndarray:
    """Values `[N, K]` mixed into a code `[N, width]` along fixed random axes of decreasing strength, plus noise."""
    axes = np.random.default_rng(axes_seed).standard_normal((values.shape[1], width))
    strength = np.exp(-np.arange(width) / (0.4 * width))
    return (values @ axes / np.sqrt(values.shape[1]) + 0.35 * rng.standard_normal((len(values), width))) * strength


def _pose(looks: list[Look], rng: np.random.Generator) -> np.ndarray:
    true = np.array([[look.pitch, look.yaw, look.roll] for look in looks])
    return true + 0.05 * rng.standard_normal(true.shape)


def _appearance(looks: list[Look]) -> np.ndarray:
    return np.array([[*look.skin, 255 * look.light, *look.hair] for look in looks]) / 128.0 - 1.0


def _identity(looks: list[Look]) -> np.ndarray:
    return np.array([[look.jaw_width, look.eye_gap, look.brow_weight, look.lip] for look in looks]) - 1.0


def _emoca(coefficients: np.ndarray, looks: list[Look], rng: np.random.Generator) -> np.ndarray:
    sizes = dict(groups_of("emoca"))
    seen = _read_coefficients(coefficients, _CODE_ERROR["emoca"], rng)
    jaw = np.stack([seen[:, 5], *(0.1 * rng.standard_normal((2, len(looks))))], axis=1)
    wrinkles = coefficients[:, [2, 7, 0]] + 0.35 * rng.standard_normal((len(looks), 3))
    groups = {
        "exp": _code(seen, sizes["exp"], 11, rng),
        "pose": np.concatenate([_pose(looks, rng), 0.2 * jaw], axis=1),
        "tex": _code(_appearance(looks), sizes["tex"], 12, rng),
        "detail": _code(wrinkles, sizes["detail"], 13, rng),
        "shape": _code(_identity(looks), sizes["shape"], 14, rng),
    }
    return np.concatenate([groups[name] for name, _ in groups_of("emoca")], axis=1).astype(np.float32)


def _smirk(coefficients: np.ndarray, looks: list[Look], rng: np.random.Generator) -> np.ndarray:
    sizes = dict(groups_of("smirk"))
    seen = _read_coefficients(coefficients, _CODE_ERROR["smirk"], rng)
    lids = 0.5 - 0.35 * coefficients[:, [3, 3]] + 0.14 * rng.standard_normal((len(looks), 2))
    jaw = np.stack(
        [
            0.25 * coefficients[:, 5] + 0.06 * rng.standard_normal(len(looks)),
            *(0.05 * rng.standard_normal((2, len(looks)))),
        ],
        axis=1,
    )
    groups = {
        "pose": _pose(looks, rng),
        "shape": _code(_identity(looks), sizes["shape"], 21, rng),
        "expression": _code(seen, sizes["expression"], 22, rng),
        "eyelid": np.clip(lids, 0.0, 1.0),
        "jaw": np.concatenate([np.maximum(jaw[:, :1], 0.0), np.clip(jaw[:, 1:], -0.2, 0.2)], axis=1),
    }
    return np.concatenate([groups[name] for name, _ in groups_of("smirk")], axis=1).astype(np.float32)


def _feature_column(name: Representation, values: np.ndarray, rng: np.random.Generator) -> pa.Array:
    """The column with some samples set to null, because real encoders find no face in some images."""
    missing = rng.random(len(values)) < _MISSING_SHARE[name]
    flat = pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(pa.float32(), width_of(name)), mask=pa.array(missing))
