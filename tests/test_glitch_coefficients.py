"""Bent frequencies, against what they are in pixels.

A block whose every frequency but its mean is flipped is the block mirrored at its mean, swapped is transposed, and so
on: no transform is needed to say what must come out. Means of blocks are scikit-image's.
"""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image
from skimage.measure import block_reduce


def apply(name: str, image: Image.Image, severity: float = 1.0, seed: int = 0, **values) -> np.ndarray:
    return np.asarray(find_operation(name).apply(image, generator(seed), severity, **values)).astype(float)


def faint(width: int = 96, height: int = 64) -> Image.Image:
    """Return noise of low contrast: nothing that is done to it is clipped."""
    return Image.fromarray(generator(0).integers(118, 138, (height, width, 3), np.uint8))


def means(image: Image.Image, side: int = 8) -> np.ndarray:
    return block_reduce(np.asarray(image, float), (side, side, 1), np.mean).repeat(side, 0).repeat(side, 1)


@pytest.mark.parametrize(("action", "factor"), [("flip sign", -1), ("zero", 0), ("scale", 5)])
def test_every_block_is_scaled_around_its_mean(action: str, factor: float) -> None:
    image = faint()
    found = apply("dct_bend", image, action=action, low=1, high=14, factor=5.0, fraction=1.0)
    expected = means(image) + factor * (np.asarray(image) - means(image))
    assert np.abs(found - expected).max() <= 0.51


def test_swapped_frequencies_transpose_the_blocks() -> None:
    image = faint()
    found = apply("dct_bend", image, action="swap", low=0, high=14, fraction=1.0).reshape(8, 8, 12, 8, 3)
    assert np.array_equal(found, np.asarray(image).reshape(8, 8, 12, 8, 3).swapaxes(1, 3))


def test_severity_goes_part_of_the_way() -> None:
    image = faint()
    found = apply("dct_bend", image, 0.25, action="zero", fraction=1.0)
    assert np.abs(found - (0.75 * np.asarray(image) + 0.25 * means(image))).max() <= 0.51


def test_signs_flip_for_the_part_that_severity_says() -> None:
    """Half of the flips cost half of the energy that all of them cost: cosines are orthonormal."""
    image = faint(256, 256)
    half, full = (
        np.square(apply("dct_bend", image, severity, fraction=1.0) - np.asarray(image)).mean()
        for severity in (0.5, 1.0)
    )
    assert half / full == pytest.approx(0.5, abs=0.03)


def test_a_band_leaves_other_frequencies_alone() -> None:
    """A picture of one cosine, 3 half waves across: only the band of 3 bends it."""
    wave = 128 + 50 * np.cos(np.pi * 3 * (2 * np.arange(64) + 1) / 16)
    image = Image.fromarray(np.rint(np.broadcast_to(wave[None, :, None], (16, 64, 3))).astype(np.uint8))
    gone, left = (apply("dct_bend", image, action="zero", fraction=1.0, low=band, high=band) for band in (3, 5))
    assert np.abs(gone - 128).max() <= 1.5 and np.abs(left - np.asarray(image)).max() <= 1.5


def test_the_fraction_of_blocks_is_damaged() -> None:
    image = faint(400, 400)
    changed = (apply("dct_bend", image, fraction=0.3) != np.asarray(image)).reshape(50, 8, 50, 8, 3).any((1, 3, 4))
    assert changed.mean() == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("levels", [1, 3])
def test_details_that_round_to_nothing_leave_block_means(levels: int) -> None:
    image, side = faint(), 2**levels
    found = apply("wavelet_bend", image, levels=levels, amount=4.0)
    origins = [(top, left) for top in range(side) for left in range(side)]
    flat = [
        np.ptp(
            found[top : top + 64 - side, left : left + 96 - side].reshape(-1, side, 96 // side - 1, side, 3), (1, 3)
        ).max()
        for top, left in origins
    ]
    assert flat.count(0) == 1
    top, left = origins[flat.index(0)]
    inner = (slice(top, top + 64 - side), slice(left, left + 96 - side))
    expected = means(Image.fromarray(np.asarray(image)[inner]), side)
    assert np.abs(found[inner] - expected).max() <= 0.51


def test_rounded_details_are_off_by_no_more_than_their_steps() -> None:
    """Each of n levels adds up to half a step for each of its three details."""
    image = photograph("coffee")
    found = apply("wavelet_bend", image, 0.1, levels=2, amount=1.0)
    assert 1 < np.abs(found - np.asarray(image)).max() <= 2 * 3 * 0.5 * 3.2 + 0.5


def test_shaken_details_keep_the_means_of_squares() -> None:
    image = faint(128, 128)
    found = apply("wavelet_bend", image, action="noise", levels=1)
    origins = [(top, left) for top in (0, 1) for left in (0, 1)]
    error = np.abs(found - np.asarray(image, float))
    changes = [
        block_reduce((found - np.asarray(image))[top : top + 126, left : left + 126], (2, 2, 1), np.mean)
        for top, left in origins
    ]
    assert error.max() > 20 and min(np.abs(change).max() for change in changes) <= 0.51


def test_the_grid_of_squares_begins_elsewhere_for_another_picture() -> None:
    image = photograph("chelsea").resize((128, 128))
    assert len({apply("wavelet_bend", image, seed=seed).tobytes() for seed in range(5)}) == 5
