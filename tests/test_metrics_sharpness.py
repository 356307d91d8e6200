"""Sharpness, noise, tone, colour and complexity: against scikit-image, scipy, Pillow and formulas."""

import io
import math
import zlib

import numpy as np
import pytest
from glitch_lora.metrics.colour import (
    background_spread,
    ciede2000,
    colour_distance,
    colour_shift,
    colourfulness,
    drift,
    hue_histogram,
    mean_red_green,
    mean_yellow_blue,
)
from glitch_lora.metrics.complexity import gradient_entropy, jpeg_bits, zlib_ratio
from glitch_lora.metrics.drawing import edge_width, flat_area, gradient_kurtosis, palette
from glitch_lora.metrics.noise import chroma_noise, column_banding, noise, row_banding
from glitch_lora.metrics.planes import lab, luma
from glitch_lora.metrics.registry import to_array
from glitch_lora.metrics.sharpness import (
    blur,
    high_frequency,
    laplacian_variance,
    spectral_anisotropy,
    spectral_slope,
)
from glitch_lora.metrics.tone import (
    black_point,
    clipped,
    contrast,
    empty_bins,
    entropy,
    mean_lightness,
    median_luma,
    white_point,
)
from photographs import photograph
from PIL import Image, ImageFilter
from scipy import ndimage, stats
from skimage import color, measure

PHOTOS = [to_array(photograph(name)) for name in ("chelsea", "coffee", "rocket")]
GREY = np.full((64, 64, 3), 128, np.uint8)


def source(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def grey(plane: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(plane).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def blurred(picture: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def grainy(picture: np.ndarray, sigma: float, channels: int = 1) -> np.ndarray:
    grain = source().normal(0, sigma, (*picture.shape[:2], channels))
    return (picture + grain).clip(0, 255).astype(np.uint8)


# Planes


@pytest.mark.parametrize("picture", PHOTOS)
def test_lab_is_that_of_scikit_image(picture):
    assert np.allclose(lab(picture), color.rgb2lab(picture), atol=0.02)


def test_luma_is_that_of_pillow():
    picture = PHOTOS[0]
    assert np.abs(luma(picture) - np.asarray(Image.fromarray(picture).convert("L"), float)).max() <= 0.51


# Sharpness


@pytest.mark.parametrize("picture", PHOTOS)
def test_blur_is_the_blur_effect_of_scikit_image(picture):
    for one in (picture, blurred(picture, 2)):
        assert blur(one) == pytest.approx(measure.blur_effect(luma(one) / 255), abs=1e-4)


def test_laplacian_variance_is_that_of_scipys_laplacian():
    inner = ndimage.laplace(luma(PHOTOS[1]).astype(float))[1:-1, 1:-1]
    assert laplacian_variance(PHOTOS[1]) == pytest.approx(inner.var(), rel=1e-4)


def wave(cycles_per_pixel: float, side: int = 128) -> np.ndarray:
    return grey(128 + 60 * np.sin(2 * math.pi * cycles_per_pixel * np.arange(side))[None, :].repeat(side, 0))


def test_a_wave_has_its_energy_at_its_frequency():
    assert high_frequency(wave(1 / 16)) < 1
    assert high_frequency(wave(3 / 8)) > 99


def test_noise_of_a_known_spectrum_has_its_slope():
    """Amplitudes that fall as 1 / f have a power that falls as 1 / f^2."""
    down, across = np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij")
    frequency = np.maximum(np.hypot(down, across), 1 / 256)
    white = source().normal(size=(256, 256))
    for exponent in (0, 1, 1.5):
        plane = np.fft.ifft2(np.fft.fft2(white) / frequency**exponent).real
        picture = grey(128 + 30 * plane / plane.std())
        assert spectral_slope(picture) == pytest.approx(2 * exponent, abs=0.25)


def test_anisotropy_counts_octaves_either_way():
    assert spectral_anisotropy(GREY) == 0
    ramp = np.add.outer(np.arange(40.0), np.arange(40.0) * 4)  # squared steps 16 times as large across
    assert spectral_anisotropy(grey(ramp)) == pytest.approx(4, abs=0.2)
    assert spectral_anisotropy(grey(ramp.T)) == pytest.approx(spectral_anisotropy(grey(ramp)))


@pytest.mark.parametrize("picture", PHOTOS)
def test_blur_lowers_what_sharpness_raises(picture):
    soft = blurred(picture, 2)
    assert blur(soft) > blur(picture) + 0.15
    assert laplacian_variance(soft) < 0.1 * laplacian_variance(picture)
    assert high_frequency(soft) < high_frequency(picture)
    assert spectral_slope(soft) > spectral_slope(picture) + 1


# Noise


@pytest.mark.parametrize("sigma", [3, 12, 30])
def test_noise_is_the_sigma_that_was_added(sigma):
    picture = grainy(np.full((256, 256, 3), 128, np.uint8), sigma)
    assert noise(picture) == pytest.approx(sigma, rel=0.03)
    assert chroma_noise(picture) < 0.02


def test_chroma_noise_is_that_of_lab():
    picture = grainy(np.full((256, 256, 3), 128, np.uint8), 6, channels=3)
    colours = color.rgb2lab(picture)
    expected = math.sqrt((colours[..., 1].var() + colours[..., 2].var()) / 2)
    assert chroma_noise(picture) == pytest.approx(expected, rel=0.05)


def test_banding_is_the_sigma_of_the_rows_only():
    for picture in PHOTOS:
        assert row_banding(picture) < 0.5 and row_banding(grainy(picture, 12)) < 2.5
    banded = (PHOTOS[0] + source().normal(0, 6, (len(PHOTOS[0]), 1, 1))).clip(0, 255).astype(np.uint8)
    assert row_banding(banded) == pytest.approx(6, rel=0.15)
    assert column_banding(banded) < 0.5
    assert column_banding(banded.swapaxes(0, 1)) == row_banding(banded)


# Tone


def test_tone_of_known_levels():
    steps = grey(np.arange(256.0)[None, :].repeat(4, 0))
    assert contrast(steps) == pytest.approx(np.arange(256).std(), rel=1e-5)
    assert entropy(steps) == pytest.approx(8)
    assert (black_point(steps), white_point(steps)) == (pytest.approx(2, abs=1), pytest.approx(253, abs=1))
    assert median_luma(steps) == pytest.approx(127.5)
    assert empty_bins(steps) == 0
    assert empty_bins(steps // 64 * 64) == pytest.approx(100 * (1 - 4 / 193))
    assert clipped(steps) == pytest.approx(100 * 2 / 256)


def test_entropy_is_that_of_scipy():
    counts = np.bincount(np.rint(luma(PHOTOS[0])).astype(int).ravel())
    assert entropy(PHOTOS[0]) == pytest.approx(stats.entropy(counts, base=2), abs=1e-3)


def test_lightness_and_colour_are_the_means_of_scikit_images_lab():
    mean = color.rgb2lab(PHOTOS[1]).mean((0, 1))
    found = [one(PHOTOS[1]) for one in (mean_lightness, mean_red_green, mean_yellow_blue)]
    assert found == pytest.approx(list(mean), abs=0.01)


# Colour


def test_colourfulness_follows_its_formula():
    red, green, blue = (PHOTOS[0][..., channel].astype(float) for channel in range(3))
    first, second = red - green, (red + green) / 2 - blue
    spread, mean = math.hypot(first.std(), second.std()), math.hypot(first.mean(), second.mean())
    assert colourfulness(PHOTOS[0]) == pytest.approx(spread + 0.3 * mean, rel=1e-5)
    assert colourfulness(GREY) == 0


def test_colour_difference_is_that_of_scikit_image():
    colours = source().uniform([0, -100, -100], [100, 100, 100], (500, 2, 3))
    found = [ciede2000(*pair) for pair in colours]
    assert found == pytest.approx(list(color.deltaE_ciede2000(colours[:, 0], colours[:, 1])), abs=1e-6)
    assert ciede2000((50, 0, 0), (60, 0, 0)) == pytest.approx(color.deltaE_ciede2000([50, 0, 0], [60, 0, 0]))


def test_shift_of_colour_is_the_difference_of_the_means():
    means = [color.rgb2lab(picture).mean((0, 1)) for picture in PHOTOS[:2]]
    first, second = (np.asarray(Image.fromarray(picture).resize((99, 99))) for picture in PHOTOS[:2])
    assert colour_shift(first, second) == pytest.approx(color.deltaE_ciede2000(*means), abs=0.3)


def test_colour_distance_does_not_see_where_a_colour_is():
    picture = PHOTOS[0]
    shuffled = source().permutation(picture.reshape(-1, 3)).reshape(picture.shape)
    assert colour_distance(shuffled, picture) < 0.2
    assert colour_distance(picture[::-1], picture) < 0.2


@pytest.mark.parametrize("period", [2, 4, 8, 16, 64])
def test_colour_distance_misses_no_columns(period):
    lines = np.zeros((512, 512, 3), np.uint8)
    lines[:, np.arange(512) % period < period // 2] = 255
    for moved in (np.roll(lines, period // 2, axis=1), np.roll(lines, 1, axis=1), lines.swapaxes(0, 1)):
        assert colour_distance(lines, moved) < 1  # of 50 for black and white


def test_colour_distance_of_two_colours_is_their_mean_projection():
    """The mean size of the projection of a vector on directions evenly over a half sphere is half its length."""
    first, second = GREY, np.full_like(GREY, 60)
    apart = np.linalg.norm(color.rgb2lab(first)[0, 0] - color.rgb2lab(second)[0, 0])
    assert colour_distance(first, second) == pytest.approx(apart / 2, rel=0.02)


def test_background_spread_looks_at_the_border_alone():
    picture = np.full((64, 64, 3), 200, np.uint8)
    picture[16:48, 16:48] = PHOTOS[0][:32, :32]
    assert background_spread(picture) == pytest.approx(0, abs=1e-3)
    assert background_spread(grainy(picture, 10)) > 2


def test_hues_are_counted_with_their_chroma():
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[:5], picture[5:] = (255, 0, 0), (0, 0, 255)
    shares = hue_histogram(picture)
    angles = np.degrees(np.arctan2(*color.rgb2lab(picture)[[0, 9], 0][:, :0:-1].T)) % 360
    assert set(np.flatnonzero(shares)) == set((angles // 10).astype(int))
    assert shares.sum() == pytest.approx(1)
    assert hue_histogram(GREY).sum() == 0


def test_a_drift_adds_up_and_scatter_does_not():
    assert drift([1, 1.1, 0.9, 1.1], reference=1, slack=0.2) == [0, 0, 0, 0]
    assert drift([1, 2, 2, 2], reference=1, slack=0.5) == [0, 0.5, 1.0, 1.5]


# Complexity, drawings


def test_sizes_are_those_of_the_files():
    picture, file = PHOTOS[0], io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=75)
    pixels = picture.shape[0] * picture.shape[1]
    assert jpeg_bits(picture) == pytest.approx(8 * file.tell() / pixels, abs=8 * 700 / pixels)
    assert jpeg_bits(GREY) < 0.2
    assert zlib_ratio(picture) == pytest.approx(100 * len(zlib.compress(picture.tobytes(), 1)) / picture.size)


def test_gradient_entropy_is_zero_on_a_ramp_and_grows_with_grain():
    assert gradient_entropy(grey(np.arange(64.0)[None, :].repeat(64, 0))) == 0
    assert gradient_entropy(grainy(GREY, 8)) > 3


def test_palette_counts_colours_as_pillow_does():
    rounded = PHOTOS[0] // 8 * 8
    assert palette(PHOTOS[0]) == len(Image.fromarray(rounded).getcolors(1 << 20))


def test_drawings_are_flat_and_sharp():
    drawing = np.full((64, 64, 3), 255, np.uint8)
    drawing[20:44, 20:44] = (200, 30, 30)
    assert flat_area(drawing) > 90 > 85 > flat_area(PHOTOS[0])
    assert edge_width(drawing) == 1
    assert palette(drawing) == 2
    assert gradient_kurtosis(drawing) > 3 * gradient_kurtosis(PHOTOS[0])


def test_kurtosis_is_that_of_scipy_about_zero():
    step = np.diff(luma(PHOTOS[2]).astype(float), axis=1)
    assert gradient_kurtosis(PHOTOS[2]) == pytest.approx((step**4).mean() / (step**2).mean() ** 2, rel=1e-3)
    assert gradient_kurtosis(grainy(GREY, 10)) == pytest.approx(3, abs=0.2)


def test_an_edge_is_as_wide_as_its_blur():
    """A Gaussian of sigma s turns a step into an edge whose rise over its steepest slope is s * sqrt(2 pi)."""
    step = grey(np.where(np.arange(128) < 64, 20.0, 220.0)[None, :].repeat(64, 0))
    for sigma in (2, 4):
        soft = grey(ndimage.gaussian_filter1d(step[..., 0].astype(float), sigma, axis=1))
        assert edge_width(soft) == pytest.approx(sigma * math.sqrt(2 * math.pi), rel=0.06)
