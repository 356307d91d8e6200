"""Measures of pictures: blockiness against real JPEG files and other damage, distances against their formula."""

import io

import numpy as np
import pytest
from glitch_lora.demo.datasets import dataset_scene
from glitch_lora.demo.measures import blockiness, nearest, spacing
from glitch_lora.demo.scenes import draw
from PIL import Image

FLAT = [draw(dataset_scene("vhs", index)) for index in range(24)]


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def mean_blockiness(pictures: list[np.ndarray]) -> float:
    return float(np.mean([blockiness(picture) for picture in pictures]))


def test_blockiness_grows_as_pillows_jpeg_gets_worse():
    qualities = (90, 50, 20, 8)
    measured = [mean_blockiness(FLAT), *(mean_blockiness([jpeg(p, q) for p in FLAT]) for q in qualities)]
    assert measured == sorted(measured)
    assert abs(measured[0]) < 0.1 and measured[-1] > 1


def test_other_damage_is_not_blockiness():
    """Noise, and errors of whole 4x4 blocks as a bad latent makes them, have no edges at 8 pixels only."""
    noise = np.random.Generator(np.random.PCG64(0))
    pixels = [(p + noise.normal(0, 4, p.shape)).clip(0, 255).astype(np.uint8) for p in FLAT]
    blocks = [
        (p + noise.normal(0, 4, (16, 16, 3)).repeat(4, 0).repeat(4, 1)).clip(0, 255).astype(np.uint8) for p in FLAT
    ]
    rotted = mean_blockiness([jpeg(p, 8) for p in FLAT])
    assert abs(mean_blockiness(pixels)) < 0.1 * rotted
    assert abs(mean_blockiness(blocks)) < 0.3 * rotted


def test_distances_are_root_mean_squares():
    black, grey, white = (np.full((4, 4, 3), level, np.uint8) for level in (0, 100, 255))
    assert nearest(grey, [black, white]) == 100
    assert spacing([black, grey, white]) == pytest.approx((100 + 100 + 155) / 3)


def test_one_picture_has_no_spacing():
    with pytest.raises(ValueError, match="got 1, allowed two or more"):
        spacing(FLAT[:1])
