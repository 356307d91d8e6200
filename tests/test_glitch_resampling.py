"""What moire does. Oracles: Pillow's nearest-neighbour resize, and a Fourier transform that finds the bands."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image


def damaged(image: Image.Image, severity: float = 1.0, **values) -> np.ndarray:
    return np.asarray(find_operation("moire").apply(image, generator(3), severity, **values), float)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_without_bands_it_is_nearest_neighbours_there_and_back(factor: int) -> None:
    image = photograph("coffee").resize((256, 128))
    small = image.resize((256 // factor, 128 // factor), Image.Resampling.NEAREST)
    expected = small.resize((256, 128), Image.Resampling.NEAREST)
    assert np.array_equal(damaged(image, factor=float(factor), depth=0.0), np.asarray(expected))


@pytest.mark.parametrize(("bands", "angle"), [(5, 0), (12, 0), (9, 90)])
def test_there_are_as_many_bands_as_asked_for(bands: int, angle: int) -> None:
    grey = Image.new("RGB", (512, 512), (100, 100, 100))
    found = damaged(grey, factor=2.0, bands=float(bands), curve=0.0, angle=angle)
    row = found[256, :, 0] if angle == 0 else found[:, 256, 0]
    spectrum = np.abs(np.fft.rfft(row - row.mean()))
    assert np.argmax(spectrum) == bands


def test_bands_are_of_colours_that_together_are_grey() -> None:
    grey = Image.new("RGB", (256, 256), (100, 100, 100))
    found = damaged(grey, factor=2.0, depth=0.8)
    assert np.abs(found.sum(axis=-1) - 300).max() <= 2
    assert np.ptp(found, axis=-1).min() > 100


def test_severity_mixes_it_in() -> None:
    image = photograph("chelsea").resize((128, 128))
    before, half, whole = np.asarray(image, float), damaged(image, 0.5), damaged(image)
    kept = whole < 255  # elsewhere it was cut at white
    assert np.abs(half - (before + whole) / 2)[kept].max() <= 1


def test_each_pass_samples_the_samples() -> None:
    image = photograph("chelsea").resize((200, 200))
    left = [len(np.unique(damaged(image, passes=count, depth=0.0).reshape(200, -1), axis=0)) for count in (1, 2, 3)]
    assert left == sorted(left, reverse=True) and len(set(left)) == 3
