"""What happens to frequencies. Oracle: numpy's Fourier transform of the result."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image


def soft(name: str, size: int = 128) -> Image.Image:
    """Return a photograph with little contrast, so that nothing is cut at black or white."""
    image = photograph(name).convert("RGB").resize((size, size))
    return image.point([round(96 + 0.25 * level) for level in range(256)] * 3)


def damaged(name: str, image: Image.Image, severity: float = 1.0, context=None, **values) -> np.ndarray:
    return np.asarray(find_operation(name).apply(image, generator(3), severity, context, **values), float)


def spectrum(pixels: np.ndarray) -> np.ndarray:
    return np.fft.fft2(pixels, axes=(0, 1))


def strong(values: np.ndarray) -> np.ndarray:
    """Say which waves are far above what rounding to whole levels adds."""
    return np.abs(values) > 3000


def test_phase_noise_keeps_the_strength_of_every_wave() -> None:
    image = soft("astronaut")
    before, after = spectrum(np.asarray(image, float)), spectrum(damaged("phase_noise", image, amount=180, spared=0))
    chosen = strong(before)
    chosen[64], chosen[:, 64], chosen[0, 0] = False, False, False  # waves that have no phase
    chosen[0], chosen[:, 0] = False, False
    ratio = np.abs(after[chosen]) / np.abs(before[chosen])
    assert chosen.sum() > 100 and np.abs(ratio - 1).max() < 0.1


@pytest.mark.parametrize("amount", [30, 90])
def test_phases_move_by_up_to_the_amount_and_coarse_waves_stay(amount: int) -> None:
    image = soft("astronaut")
    before = spectrum(np.asarray(image, float))
    after = spectrum(damaged("phase_noise", image, amount=amount, spared=5))
    moved = np.degrees(np.angle(after * before.conj()))
    y, x = np.meshgrid(np.fft.fftfreq(128, 1 / 128), np.fft.fftfreq(128, 1 / 128), indexing="ij")
    fine, chosen = np.hypot(x, y)[..., None] > 5, strong(before)
    chosen[64], chosen[:, 64] = False, False  # waves that have no phase
    assert np.abs(moved[chosen & ~fine]).max() < 4
    assert amount * 0.8 < np.abs(moved[chosen & fine]).max() < amount + 4


def test_amplitudes_come_from_the_other_and_phases_stay() -> None:
    image, other = soft("astronaut"), soft("grass")
    found = damaged("amplitude_swap", image, context=Context([image, other], 0))
    own, foreign, after = (spectrum(np.asarray(one, float)) for one in (image, other, found))
    chosen = strong(own) & strong(foreign)
    chosen[0, 0] = False
    assert chosen.sum() > 100
    assert np.median(np.abs(np.abs(after[chosen]) / np.abs(foreign[chosen]) - 1)) < 0.05
    assert np.median(np.abs(np.angle(after * own.conj()))[chosen]) < 0.05


def test_phases_come_from_the_other_and_amplitudes_stay() -> None:
    image, other = soft("astronaut"), soft("grass")
    found = damaged("amplitude_swap", image, context=Context([image, other], 0), part="phases")
    own, foreign, after = (spectrum(np.asarray(one, float)) for one in (image, other, found))
    chosen = strong(own) & strong(foreign)
    chosen[0, 0] = False
    assert np.median(np.abs(np.abs(after[chosen]) / np.abs(own[chosen]) - 1)) < 0.05
    assert np.median(np.abs(np.angle(after * foreign.conj()))[chosen]) < 0.05


def test_the_mean_colour_stays() -> None:
    image = soft("coffee")
    context = Context([image, soft("grass")], 0)
    for name, values in (("amplitude_swap", {}), ("amplitude_swap", {"part": "phases"}), ("phase_noise", {})):
        found = damaged(name, image, context=context, **values)
        assert np.abs(found.mean((0, 1)) - np.asarray(image, float).mean((0, 1))).max() < 0.5, (name, values)


def test_company_of_any_size_and_mode_will_do() -> None:
    image = soft("coffee")
    for other in (Image.new("L", (1, 1)), photograph("astronaut").convert("RGBA").resize((90, 300))):
        assert damaged("amplitude_swap", image, context=Context([other, image], 1)).shape == (128, 128, 3)


@pytest.mark.parametrize("peaks", [1, 3, 8])
def test_as_many_waves_are_added_as_asked_for(peaks: int) -> None:
    grey = Image.new("RGB", (256, 256), (128, 128, 128))
    found = damaged("spectral_peaks", grey, peaks=peaks, strength=0.3, frequency=30.0)
    power = np.abs(spectrum(found - found.mean((0, 1)))[..., 0]) ** 2
    y, x = np.meshgrid(np.fft.fftfreq(256, 1 / 256), np.fft.fftfreq(256, 1 / 256), indexing="ij")
    places = np.hypot(x, y)
    near = (places > 30 / 2**0.5 - 2) & (places < 30 * 2**0.5 + 2)
    assert power[near].sum() > 0.95 * power.sum()
    assert found.std() == pytest.approx(255 * 0.3 / 2 / 2**0.5, rel=0.4)


def test_the_notch_removes_its_band_and_nothing_else() -> None:
    image = soft("astronaut")
    before = spectrum(np.asarray(image, float))
    after = spectrum(damaged("spectral_peaks", image, peaks=0, notch=1.0, frequency=16.0))
    y, x = np.meshgrid(np.fft.fftfreq(128, 1 / 128), np.fft.fftfreq(128, 1 / 128), indexing="ij")
    cycles, chosen = np.hypot(x, y)[..., None], strong(before)
    inside = chosen & (cycles > 12) & (cycles < 22)
    outside = chosen & ((cycles < 11) | (cycles > 23))
    assert np.median(np.abs(after[inside]) / np.abs(before[inside])) < 0.1
    assert np.median(np.abs(after - before)[outside] / np.abs(before[outside])) < 0.05
