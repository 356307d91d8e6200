"""Detectors on damage made here, whose size is known: they say how much, and stay silent about other damage."""

import io

import numpy as np
import pytest
from glitch_lora.metrics.blocks import block_seams, blockiness, mosaic
from glitch_lora.metrics.channels import misregistration
from glitch_lora.metrics.drawing import dead_area
from glitch_lora.metrics.lattice import spectral_peak
from glitch_lora.metrics.lines import (
    border,
    line_index,
    line_index_columns,
    sorted_run,
    tear_rate,
    tear_rate_columns,
)
from glitch_lora.metrics.runs import monotone_runs
from photographs import photograph
from PIL import Image, ImageFilter
from skimage.registration import phase_cross_correlation


def square(name: str, side: int) -> np.ndarray:
    image = photograph(name)
    least = min(image.size)
    return np.asarray(image.crop((0, 0, least, least)).resize((side, side), Image.Resampling.LANCZOS))


NAMES = ("astronaut", "chelsea", "coffee", "motorcycle")
PHOTOS = [square(name, 512) for name in NAMES]
SMALL = [square(name, 64) for name in NAMES]
BOTH = pytest.mark.parametrize("picture", [*PHOTOS, *SMALL], ids=[f"{n}-{s}" for s in (512, 64) for n in NAMES])


def source(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def blurred(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2)))


def grainy(picture: np.ndarray) -> np.ndarray:
    return (picture + source().normal(0, 12, (*picture.shape[:2], 1))).clip(0, 255).astype(np.uint8)


def apart(picture: np.ndarray, red: tuple[int, int], blue: tuple[int, int]) -> np.ndarray:
    channels = np.moveaxis(picture, 2, 0)
    moved = [np.roll(channel, by, (0, 1)) for channel, by in zip(channels, (red, (0, 0), blue), strict=True)]
    return np.stack(moved, axis=2)


def scanned(picture: np.ndarray, period: int) -> np.ndarray:
    dark = np.arange(len(picture)) % period < period // 2
    return np.where(dark[:, None, None], picture // 2, picture)


def torn(picture: np.ndarray, slices: int) -> tuple[np.ndarray, float]:
    """Return the picture with so many slices moved a tenth aside, and the percentage of rows that begin or end one."""
    moved, height = picture.copy(), len(picture)
    tops = np.arange(slices) * height // slices + 5
    for top in tops:
        moved[top : top + height // slices // 2] = np.roll(moved[top : top + height // slices // 2], height // 10, 1)
    return moved, 100 * 2 * slices / (height - 1)


def pixelated(picture: np.ndarray, cells: int) -> np.ndarray:
    small = Image.fromarray(picture).resize((cells, cells), Image.Resampling.BOX)
    return np.asarray(small.resize(picture.shape[1::-1], Image.Resampling.NEAREST))


def shuffled(picture: np.ndarray, side: int) -> np.ndarray:
    count = len(picture) // side
    blocks = picture.reshape(count, side, count, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    blocks = source().permutation(blocks)
    return blocks.reshape(count, count, side, side, 3).swapaxes(1, 2).reshape(picture.shape)


def row_sorted(picture: np.ndarray) -> np.ndarray:
    order = np.argsort(picture @ np.array([0.299, 0.587, 0.114]), axis=1, kind="stable")
    return np.take_along_axis(picture, order[..., None], axis=1)


# Blocks


@pytest.mark.parametrize(("pictures", "worst"), [(PHOTOS, 2.0), (SMALL, 1.4)], ids=["512", "64"])
def test_blockiness_grows_as_pillows_jpeg_gets_worse(pictures, worst):
    found = [np.mean([blockiness(jpeg(picture, quality)) for picture in pictures]) for quality in (95, 40, 20, 8)]
    assert max(blockiness(picture) for picture in pictures) < 1.16
    assert found == sorted(found) and found[-1] > worst


@pytest.mark.parametrize("picture", PHOTOS, ids=NAMES)
def test_blockiness_finds_the_grid_wherever_it_is(picture):
    damaged = jpeg(picture, 10)
    assert blockiness(damaged[3:, 5:]) == pytest.approx(blockiness(damaged), rel=0.1)


@BOTH
def test_blockiness_is_silent_about_other_damage(picture):
    others = (blurred, grainy, row_sorted, lambda one: scanned(one, 8), lambda one: scanned(one, 2), lambda one: one)
    bar = 1.1 if len(picture) == 512 else 1.35
    assert max(blockiness(other(picture)) for other in others) < bar
    assert blockiness(pixelated(picture, len(picture) // 4)) < bar


@pytest.mark.parametrize("picture", PHOTOS, ids=NAMES)
@pytest.mark.parametrize("cells", [171, 128, 93, 64, 32])
def test_a_mosaic_is_as_coarse_as_its_cells(picture, cells):
    assert mosaic(pixelated(picture, cells)) == pytest.approx(512 / cells, rel=0.25)


@BOTH
def test_a_mosaic_is_not_seen_in_other_damage(picture):
    others = (blurred, grainy, row_sorted, lambda one: jpeg(one, 10), lambda one: scanned(one, 8), lambda one: one)
    assert max(mosaic(other(picture)) for other in others) < 0.8


@BOTH
def test_seams_show_moved_blocks_and_little_else(picture):
    others = (blurred, grainy, lambda one: scanned(one, 4), lambda one: one, lambda one: torn(one, 12)[0])
    silent = max(block_seams(other(picture)) for other in others)
    sides = (16, 32, 64) if len(picture) == 512 else (8, 16)
    assert min(block_seams(shuffled(picture, side)) for side in sides) > silent + 0.5


# Channels


@pytest.mark.parametrize("by", [(0, 1), (0, 8), (5, -3)])
@BOTH
def test_misregistration_is_the_shift_in_pixels(picture, by):
    moved = apart(picture, by, (0, 0))
    assert misregistration(moved) == pytest.approx(np.hypot(*by), abs=0.3)
    assert misregistration(apart(picture, (0, 0), by)) == pytest.approx(np.hypot(*by), abs=0.3)


def test_misregistration_is_that_of_scikit_image():
    moved = apart(PHOTOS[1], (4, -6), (0, 0)).astype(float)
    edges = [np.hypot(*np.gradient(moved[..., channel])) for channel in (0, 1)]
    shift = phase_cross_correlation(*edges)[0]
    assert misregistration(moved.astype(np.uint8)) == pytest.approx(np.hypot(*shift), abs=0.3)


@BOTH
def test_misregistration_is_silent_about_other_damage(picture):
    others = (blurred, grainy, row_sorted, lambda one: jpeg(one, 10), lambda one: scanned(one, 4), lambda one: one)
    found = [misregistration(other(picture)) for other in others]
    assert max(found) < 0.3
    assert misregistration(np.repeat(picture[..., :1], 3, axis=2)) == 0


# Lines


@pytest.mark.parametrize("picture", PHOTOS, ids=NAMES)
def test_tear_rate_is_near_the_share_of_torn_rows(picture):
    moved, share = torn(picture, 12)
    assert tear_rate(moved) == pytest.approx(share, rel=0.5)
    assert tear_rate_columns(moved) < 0.6
    assert tear_rate_columns(moved.swapaxes(0, 1)) == pytest.approx(tear_rate(moved), rel=1e-3)


def test_tears_are_seen_in_small_drawings():
    """In photographs of 64 pixels a row has little to do with the one above, so that most tears are lost."""
    drawing = np.full((64, 64, 3), 230, np.uint8)
    drawing[12:52, 20:40] = (30, 60, 200)
    moved = np.concatenate([drawing[:30], np.roll(drawing[30:40], 12, 1), drawing[40:]])
    assert tear_rate(moved) == pytest.approx(tear_rate(drawing) + 100 * 2 / 63, abs=0.5)


@BOTH
def test_tears_are_not_seen_in_other_damage(picture):
    others = (blurred, grainy, lambda one: scanned(one, 4), lambda one: scanned(one, 2), lambda one: one)
    assert max(tear_rate(other(picture)) for other in others) < (1 if len(picture) == 512 else 2.5)


@BOTH
def test_lines_are_found_at_every_period(picture):
    for period in (2, 3, 4, 6, 8):
        assert line_index(scanned(picture, period)) > 0.7
        assert line_index_columns(scanned(picture, period).swapaxes(0, 1)) > 0.7
        assert line_index_columns(scanned(picture, period)) < 0.6


@pytest.mark.parametrize("picture", PHOTOS, ids=NAMES)
def test_lines_are_not_found_elsewhere(picture):
    others = (blurred, grainy, row_sorted, lambda one: jpeg(one, 10), lambda one: torn(one, 12)[0], lambda one: one)
    assert max(line_index(other(picture)) for other in others) < 0.3


@BOTH
def test_sorted_pixels_make_long_runs_of_one_direction(picture):
    others = (grainy, lambda one: scanned(one, 4), lambda one: torn(one, 12)[0], lambda one: one)
    silent = max(sorted_run(other(picture)) for other in others)
    assert sorted_run(row_sorted(picture)) > 4 * silent + 0.1 * len(picture)


def test_a_run_is_counted_until_the_values_turn():
    plane = np.array([[1, 2, 2, 4, 3, 3, 0, 5], [7, 7, 7, 7, 7, 7, 7, 7], [0, 0, 0, 9, 9, 9, 9, 9]], np.float32)
    runs = monotone_runs(plane)
    assert runs.changes.tolist() == [2, 2, 1, 1]
    assert runs.width.tolist() == [3, 3, 1, 1]
    assert runs.rise.tolist() == [3, 4, 5, 9]
    assert runs.steepest.tolist() == [2, 3, 5, 9]


@BOTH
def test_a_border_is_the_share_it_takes(picture):
    framed, side = picture.copy(), len(picture)
    framed[: side // 8] = framed[-side // 4 :] = (200, 10, 30)
    assert border(framed) == pytest.approx(37.5, abs=2.5)
    framed[:, : side // 2] = (200, 10, 30)
    assert border(framed) == pytest.approx(100 * (1 - 0.625 * 0.5), abs=2.5)
    assert border(picture) < 2.5
    assert border(np.full_like(picture, 7)) == 100


# Lattices and lost parts


def waved(picture: np.ndarray, down: float, across: float, height: float = 8) -> np.ndarray:
    """Return the picture with a wave of so many cycles a pixel."""
    rows, columns = np.indices(picture.shape[:2])
    wave = height * np.sin(2 * np.pi * (down * rows + across * columns))
    return (picture + wave[..., None]).clip(0, 255).astype(np.uint8)


@BOTH
def test_a_wave_of_any_direction_is_a_peak(picture):
    for down, across in ((0.25, 0.25), (0.37, -0.2), (0.15, 0.4)):
        height = 8 if len(picture) == 512 else 20
        assert spectral_peak(waved(picture, down, across, height)) > spectral_peak(picture) + 4


def test_a_peak_is_as_high_as_the_wave_is_strong():
    """Ten times the amplitude is 20 dB, of which the 9 frequencies of the Hann window's lobe add 9/81 to the mean."""
    noisy = (source().normal(128, 3, (256, 256, 1)) + np.zeros(3)).astype(np.uint8)
    weak, strong = (spectral_peak(waved(noisy, 0.25, 0.3125, height)) for height in (2, 20))
    assert strong - weak == pytest.approx(20 * (1 - 9 / 81), abs=1)


@BOTH
def test_a_peak_is_not_seen_in_other_damage(picture):
    others = (blurred, grainy, row_sorted, lambda one: jpeg(one, 10), lambda one: torn(one, 12)[0], lambda one: one)
    assert max(spectral_peak(other(picture)) for other in others) < 18


@BOTH
def test_dead_area_is_the_share_of_holes(picture):
    holed, side = picture.copy(), len(picture)
    holed[: side // 2, : side // 2] = (12, 200, 7)
    assert dead_area(holed) == pytest.approx(25 + 0.75 * dead_area(picture), abs=6)
    assert dead_area(grainy(holed)) < 0.5
    assert dead_area(np.full_like(picture, 9)) == 100
