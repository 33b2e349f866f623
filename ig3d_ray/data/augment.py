"""Augmentation of training images: a whole batch at once, on its device, with separate random numbers per image.

The published scripts augment one image at a time on the CPU. Here the numbers are drawn for the whole batch
from a seeded generator, so that the result doesn't depend on how workers divide it, and one resampling
does all geometric transforms. Rotations and affine maps are bilinear where torchvision's default is the nearest pixel.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

Range = tuple[float, float]


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges; 0 disables an augmentation.

    Attributes:
        flip: probability of mirroring left-right.
        flip_rows: probability of mirroring upside down.
        warp: probability of rotation (up to `degrees` each way), shift and scale.
        shift: largest shift as a share of the side.
        scale: of the image's content.
        perspective: largest move of a corner, as a share of half the side.
        perspective_p: its probability.
        elastic: displacement in pixels at 224; its field is smoothed with deviation `elastic_smooth` pixels.
        blur: range of the Gaussian's deviation in pixels.
        jitter: brightness, contrast, saturation (factor 1 +- it) and hue (turns).
        gray: probability of losing color.
        autocontrast: of stretching each channel to its full range.
        erase: probability of an erased rectangle; `area` its share, `ratio` of its sides; noise instead of the
            mean.
    """

    flip: float = 0.0
    flip_rows: float = 0.0
    warp: float = 0.0
    degrees: float = 0.0
    shift: float = 0.0
    scale: Range = (1.0, 1.0)
    perspective: float = 0.0
    perspective_p: float = 0.0
    elastic: float = 0.0
    elastic_smooth: float = 5.0
    blur: Range | None = None
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    gray: float = 0.0
    autocontrast: float = 0.0
    erase: float = 0.0
    area: Range = (0.02, 0.33)
    ratio: Range = (0.3, 3.3)
    erase_with_noise: bool = False


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    # Mirror images, and a hole in every fourth image.
    "mirror": Augmentation(flip=0.5, erase=0.25, area=(0.03, 0.15), ratio=(0.5, 2.0)),
    # DDAMFN on AffectNet, and all of Ig3D's classification scripts.
    "ddamfn": Augmentation(flip=0.5, warp=0.7, degrees=20, shift=0.2, scale=(0.8, 1.0), erase=0.5),
    "ddamfn++": Augmentation(flip=0.5, warp=0.7, degrees=20, shift=0.2, scale=(0.8, 1.0), erase=1.0, area=(0.05, 0.05)),
    # DDAMFN on RAF-DB: the crop of 112 from an image padded by 8 is a shift by up to 8/112.
    "rafdb": Augmentation(flip=0.5, warp=0.2, degrees=5, shift=8 / 112, erase=0.5, area=(0.02, 0.25)),
    "rafdb++": Augmentation(flip=0.5, warp=0.5, degrees=5, shift=8 / 112, erase=0.5, area=(0.02, 0.25)),
    # CAGE's combined and valence-arousal trainings.
    "cage": Augmentation(
        flip=0.5,
        warp=1.0,
        degrees=10,
        perspective=0.2,
        perspective_p=0.5,
        jitter=(0.2, 0.2, 0.2, 0.1),
        gray=0.01,
        erase=0.5,
        area=(0.02, 0.2),
        erase_with_noise=True,
    ),
    # CAGE's discrete training; it turns images upside down, not left-right.
    "cage_discrete": Augmentation(
        flip_rows=0.5,
        warp=1.0,
        degrees=15,
        elastic=5.0,
        blur=(0.1, 5.0),
        jitter=(0.15, 0.15, 0.15, 0.0),
        gray=0.1,
        autocontrast=0.4,
    ),
}


class Draws:
    """Uniform numbers in [0, 1) for each image of a batch, in a fixed order, of which a worker takes its share.

    Args:
        batch: images of all workers together.
        mine: the slice of the images on this worker.
        generator: CPU generator.
        device: where the numbers are placed.
    """

    def __init__(self, batch: int, mine: slice, generator: torch.Generator, device: torch.device) -> None:
        self.batch, self.mine, self.generator, self.device = batch, mine, generator, device

    def uniform(self, *shape: int) -> torch.Tensor:
        """`[B, *shape]` for the images on this worker."""
        drawn = torch.rand(self.batch, *shape, generator=self.generator)[self.mine]
        return drawn.to(self.device, non_blocking=True)

    def noise(self, *shape: int) -> torch.Tensor:
        """`[B, *shape]` normal noise for the images on this worker, generated on the device to avoid a transfer."""
        seed = int(torch.randint(2**31, (1,), generator=self.generator))
        own = torch.Generator(self.device).manual_seed(seed)
        return torch.randn(self.batch, *shape, generator=own, device=self.device)[self.mine]

    def between(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """The same in [low, high)."""
        return low + (high - low) * self.uniform(*shape)

    def chance(self, probability: float) -> torch.Tensor:
        """`[B]` bool."""
        return self.uniform() < probability


def augment(images: torch.Tensor, how: Augmentation, draws: Draws) -> torch.Tensor:
    """All augmentations except erasing, which is applied to the standardized images (`erase`).

    Args:
        images: `[B, 3, H, W]` uint8 or float in 0..255.

    Returns:
        `[B, 3, H, W]` float in 0..255.
    """
    images = images.float()
    if how.flip:
        images = torch.where(draws.chance(how.flip)[:, None, None, None], images.flip(3), images)
    if how.flip_rows:
        images = torch.where(draws.chance(how.flip_rows)[:, None, None, None], images.flip(2), images)
    if how.warp or how.elastic:
        images = _resample(images, how, draws)
    if how.blur:
        images = _blur(images, draws.between(*how.blur))
    if any(how.jitter):
        images = _jitter(images, how.jitter, draws)
    if how.gray:
        images = torch.where(draws.chance(how.gray)[:, None, None, None], _grey(images), images)
    if how.autocontrast:
        images = torch.where(draws.chance(how.autocontrast)[:, None, None, None], _stretched(images), images)
    return images


def erase(images: torch.Tensor, how: Augmentation, draws: Draws) -> torch.Tensor:
    """One rectangle of some images replaced by 0, the mean, or by noise.

    Args:
        images: `[B, 3, H, W]` standardized.
    """
    if not how.erase:
        return images
    height, width = images.shape[2:]
    hit, area = draws.chance(how.erase), draws.between(*how.area)
    ratio = torch.exp(draws.between(math.log(how.ratio[0]), math.log(how.ratio[1])))
    sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1.0)
    corners = draws.uniform(2) * (1 - sides)
    rows = torch.arange(height, device=images.device)[None] / height
    columns = torch.arange(width, device=images.device)[None] / width
    in_rows = (rows >= corners[:, :1]) & (rows < corners[:, :1] + sides[:, :1])
    in_columns = (columns >= corners[:, 1:]) & (columns < corners[:, 1:] + sides[:, 1:])
    hole = (hit[:, None, None] & in_rows[:, :, None] & in_columns[:, None, :])[:, None]
    if not how.erase_with_noise:
        return images.masked_fill(hole, 0.0)
    return torch.where(hole, draws.noise(3, height, width), images)


def _resample(images: torch.Tensor, how: Augmentation, draws: Draws) -> torch.Tensor:
    """Rotation, shift, scale, perspective and elastic displacement in one bilinear resampling; black outside."""
    batch, _, height, width = images.shape
    hit = draws.chance(how.warp).float()
    angle = hit * draws.between(-how.degrees, how.degrees) * math.pi / 180
    # A grid of output places in -1..1 says where each pixel comes from: the inverse of what happens to the image.
    shrink = 1 / (1 + hit * (draws.between(*how.scale) - 1))
    moved = 2 * how.shift * hit[:, None] * draws.between(-1, 1, 2)
    cos, sin = torch.cos(angle) * shrink, torch.sin(angle) * shrink
    rows = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    ys, xs = (torch.linspace(-1 + 1 / n, 1 - 1 / n, n, device=images.device) for n in (height, width))
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1).reshape(1, -1, 2).expand(batch, -1, 2)
    grid = torch.bmm(grid - moved[:, None], rows.transpose(1, 2))
    if how.perspective:
        grid = _perspective(grid, how, draws)
    grid = grid.reshape(batch, height, width, 2)
    if how.elastic:
        grid = grid + _displacement(batch, height, width, how, draws)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _perspective(grid: torch.Tensor, how: Augmentation, draws: Draws) -> torch.Tensor:
    """Positions `[B, P, 2]` under a perspective transform, as from a camera slightly to the side."""
    hit = draws.chance(how.perspective_p).float()[:, None]
    tilt = hit * how.perspective * draws.between(-0.5, 0.5, 2)
    depth = 1 + (grid * tilt[:, None]).sum(2, keepdim=True)
    return grid / depth


def _displacement(batch: int, height: int, width: int, how: Augmentation, draws: Draws) -> torch.Tensor:
    # torchvision's: uniform noise (deviation 1/sqrt(3)), smoothed, times alpha / side in the units of the grid.
    noise = draws.noise(2, height, width) / math.sqrt(3)
    smooth = _gaussian(noise, torch.full((batch,), how.elastic_smooth, device=noise.device), radius=15)
    return (smooth * (how.elastic / 224)).permute(0, 2, 3, 1)


def _gaussian(images: torch.Tensor, deviations: torch.Tensor, radius: int) -> torch.Tensor:
    """Each image blurred by its own deviation `[B]`, in pixels."""
    batch, channels, height, width = images.shape
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.softmax(-0.5 * (offsets[None] / deviations[:, None]) ** 2, dim=1).repeat_interleave(channels, 0)
    flat = functional.pad(images.reshape(1, -1, height, width), (radius,) * 4, mode="reflect")
    flat = functional.conv2d(flat, kernel[:, None, None], groups=batch * channels)
    flat = functional.conv2d(flat, kernel[:, None, :, None], groups=batch * channels)
    return flat.reshape(batch, channels, height, width)


def _blur(images: torch.Tensor, deviations: torch.Tensor) -> torch.Tensor:
    return _gaussian(images, deviations, radius=4)


def _grey(images: torch.Tensor) -> torch.Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device)[None, :, None, None]
    return (images * weights).sum(1, keepdim=True).expand_as(images)


def _stretched(images: torch.Tensor) -> torch.Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) * 255 / (high - low).clamp_min(1e-6), images)


def _jitter(images: torch.Tensor, jitter: tuple[float, float, float, float], draws: Draws) -> torch.Tensor:
    """Brightness, contrast, saturation, hue, in this order (torchvision's order is random)."""
    brightness, contrast, saturation = (draws.between(1 - j, 1 + j)[:, None, None, None] for j in jitter[:3])
    images = (images * brightness).clamp(0, 255)
    middle = _grey(images).mean((1, 2, 3), keepdim=True)
    images = (middle + contrast * (images - middle)).clamp(0, 255)
    gray = _grey(images)
    images = (gray + saturation * (images - gray)).clamp(0, 255)
    return _turn_hue(images, draws.between(-jitter[3], jitter[3])) if jitter[3] else images


def _turn_hue(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Colors rotated around the gray axis by `[B]` turns: the rotation in YIQ, which preserves luma, not in HSV."""
    to_yiq = torch.tensor(
        [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], device=images.device
    )
    angle = 2 * math.pi * turns
    rotation = torch.eye(3, device=images.device).repeat(len(turns), 1, 1)
    rotation[:, 1, 1] = rotation[:, 2, 2] = torch.cos(angle)
    rotation[:, 1, 2], rotation[:, 2, 1] = -torch.sin(angle), torch.sin(angle)
    matrix = torch.linalg.inv(to_yiq) @ rotation @ to_yiq
    return torch.einsum("bij,bjhw->bihw", matrix, images).clamp(0, 255)
