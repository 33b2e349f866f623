"""What is done to training images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ig3d_ray.data.augment import AUGMENTATIONS, Augmentation, Draws, augment, erase
from ig3d_ray.data.images import decode_image


def random_images(count: int = 8, size: int = 32) -> torch.Tensor:
    return 255 * torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def done(how: Augmentation, images: torch.Tensor, seed: int = 5, mine: slice = slice(None)) -> torch.Tensor:
    draws = Draws(len(images), mine, torch.Generator().manual_seed(seed), torch.device("cpu"))
    changed = augment(images[mine], how, draws)
    assert changed.min() >= -1e-3
    assert changed.max() <= 255.001
    return erase((changed - 128) / 64, how, draws)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_depends_on_its_generator_alone(name: str) -> None:
    images, how = random_images(), AUGMENTATIONS[name]
    first = done(how, images)
    assert first.shape == images.shape
    assert torch.isfinite(first).all()
    assert torch.equal(first, done(how, images))
    if name == "none":
        assert torch.equal(first, (images - 128) / 64)
    else:
        assert not torch.equal(first, done(how, images, seed=6))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_workers_do_to_their_shares_what_one_does_to_the_batch(name: str) -> None:
    images, how = random_images(), AUGMENTATIONS[name]
    whole = done(how, images)
    for rank in range(2):
        share = done(how, images, mine=slice(rank, None, 2))
        assert torch.allclose(share, whole[rank::2], atol=1e-4)


def test_nothing_but_mirroring_mirrors() -> None:
    images = random_images()
    turned = done(Augmentation(flip=1.0), images) * 64 + 128
    assert torch.allclose(turned, images.flip(3), atol=1e-3)
    upside_down = done(Augmentation(flip_rows=1.0), images) * 64 + 128
    assert torch.allclose(upside_down, images.flip(2), atol=1e-3)


def test_a_shift_moves_a_image_by_whole_pixels_and_leaves_black_behind() -> None:
    dot = torch.zeros(400, 3, 33, 33)
    dot[:, :, 16, 16] = 255
    moved = augment(dot, Augmentation(warp=1.0, shift=0.2), Draws(400, slice(None), torch.Generator(), dot.device))
    mass = moved.sum(1)
    places = torch.arange(33.0)
    rows = (mass.sum(2) * places).sum(1) / mass.sum((1, 2))
    columns = (mass.sum(1) * places).sum(1) / mass.sum((1, 2))
    for where in (rows, columns):
        assert 16 - 0.2 * 33 - 0.6 <= where.min() < 16 - 0.15 * 33
        assert 16 + 0.15 * 33 < where.max() <= 16 + 0.2 * 33 + 0.6


def test_a_rotation_turns_by_no_more_than_its_degrees() -> None:
    line = torch.zeros(200, 3, 65, 65)
    line[:, :, 31:34, 50:60] = 255
    draws = Draws(200, slice(None), torch.Generator().manual_seed(1), line.device)
    turned = augment(line, Augmentation(warp=1.0, degrees=20), draws).sum(1)
    places = torch.arange(65.0) - 32
    y = (turned.sum(2) * places).sum(1) / turned.sum((1, 2))
    x = (turned.sum(1) * places).sum(1) / turned.sum((1, 2))
    angles = torch.rad2deg(torch.atan2(y, x))
    assert 15 < angles.abs().max() <= 20.5
    assert angles.min() < -15 < 15 < angles.max()


def test_erased_areas_are_as_large_as_they_say() -> None:
    how = Augmentation(erase=1.0, area=(0.05, 0.05))
    images = torch.ones(200, 3, 112, 112)
    holes = erase(images, how, Draws(200, slice(None), torch.Generator().manual_seed(2), images.device)) == 0
    shares = holes[:, 0].float().mean((1, 2))
    assert float(shares.mean()) == pytest.approx(0.05, abs=0.004)
    assert (shares > 0.03).all()
    assert (shares < 0.07).all()
    noisy = erase(
        images,
        Augmentation(erase=1.0, erase_with_noise=True),
        Draws(200, slice(None), torch.Generator(), images.device),
    )
    inside = noisy[noisy != 1]
    assert abs(float(inside.mean())) < 0.01
    assert float(inside.std()) == pytest.approx(1, abs=0.01)


def test_losing_color_and_turning_hue_keep_the_luma() -> None:
    images = 60 + 0.5 * random_images()
    gray = augment(images, Augmentation(gray=1.0), Draws(8, slice(None), torch.Generator(), images.device))
    assert torch.allclose(gray[:, 0], gray[:, 1])
    weights = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]
    assert torch.allclose((images * weights).sum(1), gray[:, 0], atol=1e-3)
    hue = Augmentation(jitter=(0.0, 0.0, 0.0, 0.05))
    turned = augment(images, hue, Draws(8, slice(None), torch.Generator().manual_seed(3), images.device))
    assert float((turned - images).abs().max()) > 1
    assert torch.allclose((turned * weights).sum(1), (images * weights).sum(1), atol=0.5)


def encoded(image: Image.Image, path: Path) -> bytes:
    image.save(path)
    return path.read_bytes()


def test_grey_and_16_bit_images_decode_to_the_same_greys(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    color = decode_image(encoded(Image.fromarray(ramp).convert("RGB"), tmp_path / "rgb.png"), 8, "x")
    for name, image in {
        "gray": Image.fromarray(ramp),
        "deep": Image.fromarray(ramp.astype(np.uint16) * 257),
        "alpha": Image.fromarray(ramp).convert("LA"),
        "palette": Image.fromarray(ramp).convert("P"),
    }.items():
        found = decode_image(encoded(image, tmp_path / f"{name}.png"), 8, "x")
        assert found.shape == (3, 8, 8)
        assert np.abs(found.astype(int) - color).max() <= 1, name
