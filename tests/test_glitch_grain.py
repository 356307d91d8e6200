"""Noise with the statistics asked for.

Oracles: the definitions (standard deviation, correlation, counts), measured by NumPy.
"""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import find_operation
from PIL import Image


def apply(name: str, image: Image.Image, severity: float = 1.0, seed: int = 0, **values) -> np.ndarray:
    return np.asarray(find_operation(name).apply(image, generator(seed), severity, **values)).astype(float)


def grey(level: int = 128, size: int = 256) -> Image.Image:
    return Image.new("RGB", (size, size), (level,) * 3)


@pytest.mark.parametrize("severity", [0.25, 1.0])
@pytest.mark.parametrize("colour", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size", [1.0, 3.0, 8.0])
def test_grain_has_its_standard_deviation(severity: float, colour: float, size: float) -> None:
    found = apply("grain", grey(), severity, sigma=30.0, colour=colour, size=size)
    assert found.std() == pytest.approx(30 * severity, rel=0.1)
    assert found.mean() == pytest.approx(128, abs=2.5)


@pytest.mark.parametrize(("colour", "correlation"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_colour_decides_how_alike_the_channels_are(colour: float, correlation: float) -> None:
    found = apply("grain", grey(), sigma=20.0, colour=colour).reshape(-1, 3)
    assert np.corrcoef(found.T)[0, 1] == pytest.approx(correlation, abs=0.02)


def test_coarse_grain_is_alike_over_its_size() -> None:
    def reach(size: float) -> int:
        noise = apply("grain", grey(), sigma=20.0, colour=0.0, size=size)[..., 0] - 128
        alike = [(noise * np.roll(noise, way, 1)).mean() / noise.var() for way in range(20)]
        return int(np.argmax(np.array(alike) < 0.3))

    reaches = [reach(size) for size in (1.0, 2.0, 4.0, 8.0)]
    assert reaches[0] == 1 and reaches == sorted(reaches) and 5 <= reaches[-1] <= 9


def test_shot_noise_grows_with_the_root_of_the_light() -> None:
    deep, bright = (apply("grain", grey(level), sigma=8.0, shot=1.0).std() for level in (40, 160))
    assert bright / deep == pytest.approx(2, rel=0.05)


def test_salt_and_pepper_counts() -> None:
    found = apply("salt_and_pepper", grey(), amount=0.2, salt=0.25)
    assert (found != 128).mean() == pytest.approx(0.2, abs=0.01)
    assert (found == 255).sum() / (found != 128).sum() == pytest.approx(0.25, abs=0.02)
    assert (found == found[..., :1]).all()


def test_coloured_specks_are_lost_channel_by_channel() -> None:
    lost = apply("salt_and_pepper", grey(), amount=0.2, colour=True) != 128
    assert np.corrcoef(lost.reshape(-1, 3).T)[0, 1] == pytest.approx(0, abs=0.02)


def test_more_severity_adds_specks_and_moves_none() -> None:
    fewer, more = (apply("salt_and_pepper", grey(), severity) for severity in (0.3, 0.8))
    assert np.array_equal(more[fewer != 128], fewer[fewer != 128]) and (more != 128).sum() > 2 * (fewer != 128).sum()


def test_specks_have_their_size() -> None:
    found = apply("salt_and_pepper", grey(size=250), size=7)
    assert np.array_equal(found, found[::7, ::7].repeat(7, 0).repeat(7, 1)[:250, :250])


@pytest.mark.parametrize(("rows", "columns", "along"), [(20.0, 0.0, 1), (0.0, 20.0, 0)])
def test_bands_are_even_along_and_uneven_across(rows: float, columns: float, along: int) -> None:
    found = apply("sensor_banding", grey(), rows=rows, columns=columns, hot_pixels=0.0)
    assert np.ptp(found, axis=along).max() == 0
    assert found.mean(along).std() == pytest.approx(20, rel=0.2)


def test_bands_have_their_width() -> None:
    found = apply("sensor_banding", grey(), rows=20.0, columns=0.0, hot_pixels=0.0, band=16)[:, 0, 0]
    assert (np.flatnonzero(np.diff(found)) % 16 == 15).all() and len(np.unique(found)) > 10


def test_hot_pixels_are_counted_and_stay() -> None:
    still = {"rows": 0.0, "columns": 0.0, "hot_pixels": 0.02}
    fewer, more = (apply("sensor_banding", grey(), severity, **still) == 255 for severity in (0.5, 1.0))
    assert more.sum() / 256**2 == pytest.approx(0.02, abs=0.002) and more.sum(2).max() == 1
    assert not (fewer & ~more).any() and fewer.sum() == pytest.approx(more.sum() / 2, rel=0.1)
