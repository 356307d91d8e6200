"""Analogue video: each part by itself, against the formula it stands for.

Oracles: the response of a Butterworth filter at its cut-off, scikit-image's YIQ and phase correlation, Fourier peaks.
"""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.pictures.pixels import from_yiq, to_yiq
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image
from skimage.color import rgb2yiq
from skimage.registration import phase_cross_correlation

QUIET = {
    "composite_video": {
        **{"luma_cutoff": 0.5, "chroma_cutoff": 0.5, "chroma_delay": 0, "crosstalk": 0.0, "phase_noise": 0.0},
        **{"chroma_loss": 0.0, "luma_noise": 0.0, "ringing": 0.0},
    },
    "vhs_tape": {
        **{"head_switching": 0.0, "tracking": 0, "dropouts": 0, "edge_wave": 0.0, "noise": 0.0, "sharpening": 0.0}
    },
}


def apply(name: str, image: Image.Image, severity: float = 1.0, seed: int = 0, **values) -> np.ndarray:
    values = QUIET.get(name, {}) | values
    return np.asarray(find_operation(name).apply(image, generator(seed), severity, **values)).astype(float)


def grating(frequency: float, width: int = 400) -> Image.Image:
    wave = 128 + 80 * np.cos(2 * np.pi * frequency * np.arange(width))
    return Image.fromarray(np.rint(np.broadcast_to(wave[None, :, None], (8, width, 3))).astype(np.uint8))


def amplitude(pixels: np.ndarray, frequency: float) -> float:
    """Return how strong a frequency is along the rows, away from their beginning."""
    row = pixels[4, 200:, 0] - pixels[4, 200:, 0].mean()
    return float(2 * np.abs((row * np.exp(-2j * np.pi * frequency * np.arange(row.size))).mean()))


def flat(colour: str) -> Image.Image:
    return Image.new("RGB", (240, 240), colour)


def test_yiq_is_scikit_images_and_comes_back() -> None:
    image = photograph("coffee")
    planes = to_yiq(image)
    assert np.allclose(planes, 255 * np.moveaxis(rgb2yiq(image), -1, 0), atol=0.01)
    assert from_yiq(planes).tobytes() == image.tobytes()


@pytest.mark.parametrize("name", ["composite_video"])
def test_with_everything_off_nothing_happens(name: str) -> None:
    image = photograph("coffee")
    assert np.array_equal(apply(name, image), np.asarray(image))


@pytest.mark.parametrize("cutoff", [0.08, 0.2, 0.3])
def test_luma_at_the_cut_off_loses_3_decibels(cutoff: float) -> None:
    found = apply("composite_video", grating(cutoff), luma_cutoff=cutoff)
    assert amplitude(found, cutoff) / 80 == pytest.approx(2**-0.5, abs=0.02)
    slow = apply("composite_video", grating(cutoff / 8), luma_cutoff=cutoff)
    assert amplitude(slow, cutoff / 8) / 80 == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("speed", ["SP", "LP", "EP"])
def test_tape_speeds_have_their_bandwidths(speed: str) -> None:
    """2.4, 1.9 and 1.4 MHz in a line of 52.66 microseconds."""
    cycles = {"SP": 2.4, "LP": 1.9, "EP": 1.4}[speed] * 52.66
    found = apply("vhs_tape", grating(cycles / 800, 800), speed=speed)
    assert amplitude(found, cycles / 800) / 80 == pytest.approx(2**-0.5, abs=0.03)


def test_colour_is_softer_than_brightness() -> None:
    image = photograph("astronaut")
    for name, values in (("composite_video", {"chroma_cutoff": 0.03}), ("vhs_tape", {})):
        luma, *chroma = to_yiq(Image.fromarray(apply(name, image, **values).astype(np.uint8)))
        before, *chroma_before = to_yiq(image)

        def kept(after: np.ndarray, plane: np.ndarray) -> float:
            return float(np.abs(np.diff(after, axis=1)).mean() / np.abs(np.diff(plane, axis=1)).mean())

        assert kept(luma, before) > 0.75
        assert all(kept(after, plane) < 0.55 for after, plane in zip(chroma, chroma_before, strict=True)), name


def test_colour_lags_by_the_delay() -> None:
    image = photograph("astronaut")
    after, before = (
        to_yiq(Image.fromarray(pixels.astype(np.uint8)))[1]
        for pixels in (apply("composite_video", image, chroma_delay=9), np.asarray(image))
    )
    assert phase_cross_correlation(after, before)[0].tolist() == [0, 9]


@pytest.mark.parametrize("carrier", [4.0, 8.0])
def test_colour_leaks_into_brightness_as_dots_of_the_carrier(carrier: float) -> None:
    luma = to_yiq(
        Image.fromarray(apply("composite_video", flat("teal"), crosstalk=0.5, carrier=carrier).astype(np.uint8))
    )[0]
    spectrum = np.abs(np.fft.fft2(luma - luma.mean()))
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    assert row == 120 and min(column, 240 - column) == 240 / carrier  # every line in the opposite phase


def test_fine_stripes_make_rainbows() -> None:
    stripes = grating(0.25)
    found = apply("composite_video", stripes, crosstalk=0.5, chroma_cutoff=0.05)
    assert np.ptp(found, axis=2)[:, 100:].mean() > 20
    assert np.ptp(apply("composite_video", grating(0.02), crosstalk=0.5, chroma_cutoff=0.05), axis=2).mean() < 10


def test_phase_noise_turns_the_hue_of_lines_and_keeps_their_luma() -> None:
    before, after = (
        to_yiq(Image.fromarray(pixels.astype(np.uint8)))
        for pixels in (np.asarray(flat("#a08070")), apply("composite_video", flat("#a08070"), phase_noise=30.0))
    )
    assert np.abs(after[0] - before[0]).max() < 1
    assert np.allclose(np.hypot(after[1], after[2]), np.hypot(before[1], before[2]), atol=1.5)
    angles = np.degrees(np.arctan2(after[2], after[1]) - np.arctan2(before[2], before[1]))
    assert angles[:, 0].std() == pytest.approx(30, rel=0.2) and np.ptp(angles, axis=1).max() < 5


def test_lines_lose_their_colour() -> None:
    fewer, more = (
        np.ptp(apply("composite_video", flat("teal"), severity, chroma_loss=0.4), axis=2).max(1) < 1
        for severity in (0.5, 1.0)
    )
    assert more.mean() == pytest.approx(0.4, abs=0.1) and fewer.sum() < more.sum() and not (fewer & ~more).any()


def test_snow_has_its_standard_deviation() -> None:
    found = apply("composite_video", flat("grey"), luma_noise=15.0)
    assert found.std() == pytest.approx(15, rel=0.05) and np.ptp(found, axis=2).max() <= 1


def test_ringing_waves_die_away_after_an_edge() -> None:
    image = flat("#404040")
    image.paste("#c0c0c0", (100, 0, 240, 240))
    row = (apply("composite_video", image, ringing=1.0, luma_cutoff=0.25) - np.asarray(image))[0, :, 0]
    plain = (apply("composite_video", image, luma_cutoff=0.25) - np.asarray(image))[0, :, 0]
    waves = np.abs(row - plain)
    assert waves[:99].max() == 0 and waves[100:110].max() > 10 > waves[200:].max() * 5


def test_the_head_switch_tears_the_bottom_only() -> None:
    image = photograph("astronaut")
    still, torn = apply("vhs_tape", image), apply("vhs_tape", image, head_switching=0.1)
    changed = (still != torn).any((1, 2))
    assert not changed[: int(0.9 * 512) - 1].any() and changed[int(0.92 * 512) :].mean() > 0.9


def test_tracking_bands_are_noisier_than_the_rest() -> None:
    found = apply("vhs_tape", flat("grey"), tracking=1, noise=2.0)
    by_row = found.std((1, 2))
    assert by_row.max() > 30 and np.median(by_row) < 10
    noisy = np.flatnonzero(by_row > 20)
    assert noisy.size == np.ptp(noisy) + 1 and noisy.size < 0.13 * 240


def test_dropouts_are_added_one_by_one() -> None:
    fewer, more = ((apply("vhs_tape", flat("grey"), severity, dropouts=40) > 250).all(2) for severity in (0.5, 1.0))
    assert not (fewer & ~more).any() and 20 < fewer.any(1).sum() / 0.95 < more.any(1).sum() + 20 <= 60
    assert more.sum(1).max() < 0.3 * 240


def test_lines_sway_without_tearing_far() -> None:
    image = photograph("astronaut").resize((256, 256))
    for seed in range(3):
        still, swayed = (apply("vhs_tape", image, seed=seed, edge_wave=wave) for wave in (0.0, 0.05))
        shifts = [
            int(np.argmin([np.abs(np.roll(a, way, 0)[30:-30] - b[30:-30]).sum() for way in range(-30, 31)])) - 30
            for a, b in zip(still, swayed, strict=True)
        ]
        assert 3 <= max(shifts) - min(shifts) and max(map(abs, shifts)) <= 0.05 * 256 * 1.5


@pytest.mark.parametrize(
    ("period", "duty", "dark"), [(4, 0.5, 2), (10, 0.3, 3), (2, 0.01, 1), (8, 0.0, 0), (6, 1.0, 6)]
)
def test_scan_lines_darken_whole_rows(period: int, duty: float, dark: int) -> None:
    found = apply("scan_lines", Image.new("RGB", (30, 120), (200, 100, 50)), period=period, duty=duty, darkness=0.5)
    rows = found[:, 0, 0].reshape(-1, period)
    assert (found == found[:, :1]).all() and (rows == rows[:1]).all()
    assert (rows[0] == 100).sum() == dark and (rows[0] == 200).sum() == period - dark


def test_fields_are_combed() -> None:
    image = photograph("astronaut")
    found, pixels = apply("scan_lines", image, darkness=0.0, field_offset=12), np.asarray(image)
    assert np.array_equal(found[::2], pixels[::2])
    assert np.array_equal(found[1::2, 12:], pixels[1::2, :-12])
