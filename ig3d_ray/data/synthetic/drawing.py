"""Draws one face from expression coefficients: head, hair, eyes, brows, nose, mouth, and occluders.

Coordinates are those of the face: x to the right and y down, the head about 0.78 wide and 1 high to
each side of its center. `Pen` maps them to pixels by yaw, pitch, roll, scale and shift.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 112
SUPERSAMPLING = 3

Color = tuple[int, int, int]
SKINS: tuple[Color, ...] = (
    (250, 221, 196),
    (240, 200, 168),
    (222, 176, 138),
    (198, 146, 106),
    (156, 106, 72),
    (112, 74, 50),
)
HAIRS: tuple[Color, ...] = ((38, 28, 24), (78, 50, 32), (128, 84, 46), (196, 156, 92), (150, 70, 40), (150, 148, 146))
OCCLUDERS = ("none", "sunglasses", "mask", "fringe", "hand", "patch")


@dataclass(frozen=True)
class Look:
    """All parameters of an image except the expression.

    Attributes:
        skin: a color.
        hair: a color.
        iris: a color.
        background: a color.
        cloth: a color.
        jaw_width: a factor of identity, about 1.
        eye_gap: a factor of identity, about 1.
        brow_weight: a factor of identity, about 1.
        lip: a factor of identity, about 1.
        long_hair: whether hair falls beside the face.
        yaw: head pose, radians.
        pitch: head pose, radians.
        roll: head pose, radians.
        scale: size of the head, in units of the image.
        shift: place of its center, in units of the image.
        light: brightness.
        slope: its change across the image.
        tint: factor per color channel.
        occluder: one of `OCCLUDERS`.
        occluder_at: where, in face coordinates.
        blur: radius in pixels.
        noise: standard deviation in gray levels.
        noise_seed: its seed.
    """

    skin: Color
    hair: Color
    iris: Color
    background: Color
    cloth: Color
    jaw_width: float
    eye_gap: float
    brow_weight: float
    lip: float
    long_hair: bool
    yaw: float
    pitch: float
    roll: float
    scale: float
    shift: tuple[float, float]
    light: float
    slope: tuple[float, float]
    tint: tuple[float, float, float]
    occluder: str
    occluder_at: tuple[float, float]
    blur: float
    noise: float
    noise_seed: int


@dataclass(frozen=True)
class Expression:
    """Expression coefficients, 0 at rest; 1 is a full movement and some go to -1.

    Attributes:
        brow_raise: both brows up.
        inner_raise: their inner ends up.
        brow_lower: down and together.
        eye_open: wide (+) or narrowed (-).
        smile: corners of the mouth up (+) or down (-).
        mouth_open: jaw dropped.
        mouth_wide: lips stretched (+) or rounded (-).
        nose_wrinkle: upper lip raised, nose wrinkled.
    """

    brow_raise: float
    inner_raise: float
    brow_lower: float
    eye_open: float
    smile: float
    mouth_open: float
    mouth_wide: float
    nose_wrinkle: float


class Pen:
    """Draws polygons and lines, given in face coordinates `[P, 2]`, onto an image."""

    def __init__(self, canvas: ImageDraw.ImageDraw, look: Look, pixels: int) -> None:
        self.canvas, self.pixels, self.look = canvas, pixels, look

    def place(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Face coordinates to pixels: the face is convex towards the viewer, so pose moves its center most."""
        look = self.look
        x, y = points[:, 0], points[:, 1]
        depth = 0.62 * np.sqrt(np.clip(1.0 - (x / 0.85) ** 2 - (y / 1.1) ** 2, 0.0, 1.0))
        x = x * np.cos(look.yaw) + depth * np.sin(look.yaw)
        y = y * np.cos(look.pitch) + depth * np.sin(look.pitch)
        cos, sin = np.cos(look.roll), np.sin(look.roll)
        x, y = x * cos - y * sin, x * sin + y * cos
        half = 0.5 * self.pixels
        px = half * (1.0 + look.shift[0] + look.scale * x)
        py = half * (1.0 + look.shift[1] + look.scale * y)
        return list(zip(px.tolist(), py.tolist(), strict=True))

    def fill(self, points: np.ndarray, color: Color) -> None:
        """Fill a closed outline."""
        self.canvas.polygon(self.place(points), fill=color)

    def stroke(self, points: np.ndarray, color: Color, width: float) -> None:
        """Draw a line; its width is in face units."""
        pixels = max(1, round(0.5 * self.pixels * self.look.scale * width))
        placed = self.place(points)
        self.canvas.line(placed, fill=color, width=pixels, joint="curve")
        radius = pixels / 2
        for x, y in (placed[0], placed[-1]):
            self.canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def draw_face(expression: Expression, look: Look) -> Image.Image:
    """A 112 x 112 RGB image of a face; the same arguments give the same image."""
    pixels = SIZE * SUPERSAMPLING
    image = Image.new("RGB", (pixels, pixels), look.background)
    pen = Pen(ImageDraw.Draw(image), look, pixels)
    _draw_behind(pen, look)
    _draw_head(pen, expression, look)
    _draw_nose(pen, expression, look)
    _draw_mouth(pen, expression, look)
    for side in (-1.0, 1.0):
        _draw_eye(pen, expression, look, side)
        _draw_brow(pen, expression, look, side)
    _draw_hair(pen, look)
    _draw_occluder(pen, look)
    return _photograph(image, look)


def encode_face(expression: Expression, look: Look) -> bytes:
    """The image as JPEG."""
    buffer = io.BytesIO()
    draw_face(expression, look).save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def _shade(color: Color, factor: float) -> Color:
    r, g, b = (int(min(255, max(0, channel * factor))) for channel in color)
    return (r, g, b)


def _ellipse(x: float, y: float, width: float, height: float, points: int = 28) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], axis=1)


def _curve(start: tuple[float, float], middle: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """Points of the parabola that leaves start, is drawn towards middle, and reaches end: `[12, 2]`."""
    t = np.linspace(0, 1, 12)[:, None]
    return (1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(middle) + t**2 * np.array(end)


def _draw_behind(pen: Pen, look: Look) -> None:
    pen.fill(np.array([[-1.5, 2.2], [-1.2, 1.35], [-0.4, 1.1], [0.4, 1.1], [1.2, 1.35], [1.5, 2.2]]), look.cloth)
    if look.long_hair:
        pen.fill(_ellipse(0, 0.15, 1.0, 1.22), look.hair)
    pen.fill(np.array([[-0.34, 0.6], [0.34, 0.6], [0.4, 1.25], [0.0, 1.4], [-0.4, 1.25]]), _shade(look.skin, 0.82))


def _draw_head(pen: Pen, expression: Expression, look: Look) -> None:
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x, y = 0.78 * np.cos(angle), np.sin(angle)
    chin = np.clip(y, 0, 1)
    x = x * (1 - (0.28 - 0.2 * (look.jaw_width - 1)) * chin**2)
    y = y + 0.16 * expression.mouth_open * chin**2
    for side in (-1.0, 1.0):
        pen.fill(_ellipse(side * 0.8, 0.02, 0.11, 0.2), _shade(look.skin, 0.9))
    pen.fill(np.stack([x, y], axis=1), look.skin)
    blush = _shade(look.skin, 0.95)
    for side in (-1.0, 1.0):
        lift = 0.06 * max(expression.smile, 0.0)
        pen.fill(_ellipse(side * 0.46, 0.24 - lift, 0.15, 0.1), (blush[0], int(blush[1] * 0.93), int(blush[2] * 0.92)))


def _draw_nose(pen: Pen, expression: Expression, look: Look) -> None:
    dark, up = _shade(look.skin, 0.72), 0.05 * expression.nose_wrinkle
    pen.stroke(_curve((-0.07, -0.12), (-0.13, 0.12), (-0.15, 0.2 - up)), _shade(look.skin, 0.86), 0.025)
    pen.stroke(_curve((-0.15, 0.2 - up), (0.0, 0.3 - up), (0.15, 0.2 - up)), dark, 0.03)
    for side in (-1.0, 1.0):
        pen.fill(_ellipse(side * 0.07, 0.225 - up, 0.035, 0.02), _shade(look.skin, 0.5))
        if expression.nose_wrinkle > 0.25:
            fade = _shade(look.skin, 1 - 0.38 * min(1.0, expression.nose_wrinkle))
            for step in (0.0, 0.07):
                line = _curve((side * 0.06, -0.08 + step), (side * 0.13, -0.1 + step), (side * 0.19, 0.0 + step))
                pen.stroke(line, fade, 0.022)
        fold = max(expression.smile, expression.nose_wrinkle)
        if fold > 0.3:
            fade = _shade(look.skin, 1 - 0.25 * min(1.0, fold))
            pen.stroke(_curve((side * 0.18, 0.2), (side * 0.36, 0.28), (side * 0.42, 0.5)), fade, 0.022)


def _draw_mouth(pen: Pen, expression: Expression, look: Look) -> None:
    e = expression
    half = 0.3 * (1 + 0.28 * e.mouth_wide + 0.14 * max(e.smile, 0) - 0.18 * e.mouth_open * (1 - max(e.smile, 0)))
    corner = 0.52 - 0.15 * e.smile + 0.05 * e.mouth_open
    top = 0.5 + 0.05 * e.smile - 0.09 * e.nose_wrinkle - 0.03 * e.mouth_open
    gap = 0.36 * max(e.mouth_open, 0.0) + 0.05 * max(e.nose_wrinkle - 0.4, 0.0)
    bottom = top + 0.05 + gap + 0.06 * max(e.smile, 0)
    thick = 0.065 * look.lip
    left, right = (-half, corner), (half, corner)
    upper = _curve(left, (0, 2 * (top - thick) - corner), right)
    lower = _curve(right, (0, 2 * (bottom + thick) - corner), left)
    lips = _shade((205, 96, 92), 0.55 + 0.5 * sum(look.skin) / 765)
    pen.fill(np.concatenate([upper, lower]), lips)
    inner_top = _curve((-half * 0.9, corner), (0, 2 * top - corner), (half * 0.9, corner))
    inner_bottom = _curve(
        (half * 0.9, corner), (0, 2 * (top + gap + 0.02 * max(e.smile, 0)) - corner), (-half * 0.9, corner)
    )
    if gap > 0.04:
        pen.fill(np.concatenate([inner_top, inner_bottom]), (58, 20, 24))
        teeth = min(0.08, 0.5 * gap) * (0.35 + 0.65 * min(1.0, max(e.smile, e.mouth_wide, e.nose_wrinkle, 0.0)))
        pen.fill(np.concatenate([inner_top[2:-2], inner_top[2:-2][::-1] + [0, teeth]]), (245, 242, 236))
    else:
        pen.stroke(inner_top, _shade(lips, 0.5), 0.028)


def _draw_eye(pen: Pen, expression: Expression, look: Look, side: float) -> None:
    x, y = side * 0.33 * look.eye_gap, -0.12
    wide = expression.eye_open
    squint = 0.035 * max(expression.smile, 0) + 0.03 * max(expression.nose_wrinkle, 0)
    above = max(0.03, 0.1 * (1 + 0.75 * wide))
    below = max(0.012, 0.055 * (1 + 0.35 * wide) - squint)
    t = np.linspace(-1, 1, 15)
    arch = np.sqrt(np.clip(1 - t**2, 0, 1))
    upper = np.stack([x + 0.16 * t, y - above * arch], axis=1)
    lower = np.stack([x + 0.16 * t[::-1], y + below * arch], axis=1)
    pen.fill(np.concatenate([upper, lower]), (248, 247, 244))
    for radius, color in ((0.082, look.iris), (0.042, (18, 16, 18))):
        iris = _ellipse(x, y - 0.02, radius, radius)
        # The eyelids cover what is above and below them.
        span = np.sqrt(np.clip(1 - ((iris[:, 0] - x) / 0.16) ** 2, 0, 1))
        iris[:, 1] = np.clip(iris[:, 1], y - above * span, y + below * span)
        pen.fill(iris, color)
    pen.stroke(upper, _shade(look.skin, 0.35), 0.032)
    pen.stroke(lower, _shade(look.skin, 0.62), 0.016)
    if squint > 0.02:
        pen.stroke(lower[2:-2] + [0, 0.05], _shade(look.skin, 0.8), 0.018)


def _draw_brow(pen: Pen, expression: Expression, look: Look, side: float) -> None:
    e = expression
    inner_x = side * (0.15 - 0.05 * e.brow_lower) * look.eye_gap
    inner_y = -0.34 - 0.12 * e.brow_raise - 0.13 * e.inner_raise + 0.15 * e.brow_lower
    outer_y = -0.32 - 0.1 * e.brow_raise + 0.06 * e.inner_raise - 0.03 * e.brow_lower
    peak = 0.5 * (inner_y + outer_y) - 0.09 - 0.05 * e.brow_raise
    line = _curve((inner_x, inner_y), (side * 0.34, peak), (side * 0.55 * look.eye_gap, outer_y))
    pen.stroke(line, _shade(look.hair, 0.8), 0.062 * look.brow_weight)
    if e.brow_lower > 0.3:
        fade = _shade(look.skin, 1 - 0.4 * min(1.0, e.brow_lower))
        pen.stroke(_curve((side * 0.045, -0.38), (side * 0.03, -0.3), (side * 0.05, -0.2)), fade, 0.024)
    if e.brow_raise > 0.45 and side > 0:
        fade = _shade(look.skin, 1 - 0.22 * min(1.0, e.brow_raise))
        for step in (0.0, 0.08):
            pen.stroke(_curve((-0.34, -0.6 - step), (0, -0.66 - step), (0.34, -0.6 - step)), fade, 0.02)


def _draw_hair(pen: Pen, look: Look) -> None:
    angle = np.linspace(np.pi * 1.03, np.pi * 1.97, 24)
    outer = np.stack([0.86 * np.cos(angle), 1.1 * np.sin(angle)], axis=1)
    inner = np.stack([0.72 * np.cos(angle[::-1]), -0.2 + 0.55 * np.sin(angle[::-1])], axis=1)
    pen.fill(np.concatenate([outer, inner]), look.hair)


def _draw_occluder(pen: Pen, look: Look) -> None:
    x, y = look.occluder_at
    if look.occluder == "sunglasses":
        for side in (-1.0, 1.0):
            pen.fill(_ellipse(side * 0.33, -0.12, 0.26, 0.2), (24, 24, 28))
        pen.stroke(np.array([[-0.75, -0.18], [0.75, -0.18]]), (24, 24, 28), 0.06)
    elif look.occluder == "mask":
        pen.fill(np.array([[-0.72, 0.12], [0, 0.02], [0.72, 0.12], [0.55, 0.78], [0, 1.08], [-0.55, 0.78]]), look.cloth)
    elif look.occluder == "fringe":
        pen.fill(_ellipse(0.1 * x, -0.62, 0.78, 0.42), look.hair)
    elif look.occluder == "hand":
        color = _shade(look.skin, 0.93)
        for finger in range(4):
            pen.stroke(
                np.array([[x + 0.14 * finger, y + 1.2], [x + 0.14 * finger - 0.05, y + 0.1 * abs(finger - 1.5)]]),
                color,
                0.13,
            )
            pen.stroke(
                np.array([[x + 0.14 * finger + 0.07, y + 1.2], [x + 0.14 * finger + 0.02, y + 0.25]]),
                _shade(color, 0.75),
                0.02,
            )
    elif look.occluder == "patch":
        pen.fill(
            np.array([[x - 0.4, y - 0.4], [x + 0.4, y - 0.4], [x + 0.4, y + 0.4], [x - 0.4, y + 0.4]]), look.background
        )


def _photograph(image: Image.Image, look: Look) -> Image.Image:
    """Light, tint, blur and noise, at the final size."""
    small = image.resize((SIZE, SIZE), Image.Resampling.BOX)
    if look.blur > 0.05:
        small = small.filter(ImageFilter.GaussianBlur(look.blur))
    pixels = np.asarray(small, dtype=np.float32)
    ramp = np.linspace(-1, 1, SIZE, dtype=np.float32)
    light = look.light + look.slope[0] * ramp[None, :] + look.slope[1] * ramp[:, None]
    pixels = pixels * np.clip(light, 0.08, None)[:, :, None] * np.asarray(look.tint, dtype=np.float32)
    noise = np.random.default_rng(look.noise_seed).standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.clip(pixels + look.noise * noise, 0, 255).astype(np.uint8))
