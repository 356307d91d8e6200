"""What happens to colour. Oracles: scikit-image's colour spaces, the CIE's tables."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.pictures.colour import planckian
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image
from skimage import color


def damaged(name: str, image: Image.Image, severity: float = 1.0, seed: int = 3, **values) -> np.ndarray:
    return np.asarray(find_operation(name).apply(image, generator(seed), severity, **values), float)


def misread(mistake: str) -> tuple[np.ndarray, np.ndarray]:
    image = photograph("astronaut").resize((128, 128))
    return np.asarray(image, float), damaged("colour_misread", image, mistake=mistake)


def test_lab_is_scikit_images() -> None:
    before, found = misread("Lab")
    lab = color.rgb2lab(before / 255)
    expected = lab * (2.55, 1, 1) + (0, 128, 128)
    assert np.abs(found - expected)[..., 0].mean() < 2
    assert np.abs(found - expected)[..., 1:].mean() < 3  # Pillow adapts the white to D50 first


def test_hsv_and_ycbcr_are_scikit_images() -> None:
    before, found = misread("HSV")
    hue_apart = np.abs(found - 255 * color.rgb2hsv(before / 255))
    assert np.median(hue_apart) < 1.5
    before, found = misread("YCbCr")
    limited = color.rgb2ycbcr(before / 255)
    expected = (limited - (16, 128, 128)) * (255 / 219, 255 / 224, 255 / 224) + (0, 128, 128)
    assert np.abs(found - expected).max() < 1.6


def test_channels_and_ranges() -> None:
    before, found = misread("BGR")
    assert np.array_equal(found, before[..., ::-1])
    before, found = misread("linear light")
    linear = color.rgb2xyz(before / 255) @ np.linalg.inv(color.rgb2xyz(np.eye(3)[None])[0])
    assert np.abs(found - 255 * linear).max() < 1
    before, found = misread("limited range")
    assert found.min() >= 46 and found.max() <= 209
    before, found = misread("stretched range")
    assert ((found == 0) | (found == 255)).mean() > ((before == 0) | (before == 255)).mean() + 0.1


def test_ink_without_its_black_plate() -> None:
    """Grey has no cyan, magenta or yellow; pure red has no cyan and all of both others."""
    image = Image.new("RGB", (2, 1), (90, 90, 90))
    image.putpixel((1, 0), (200, 0, 0))
    assert damaged("colour_misread", image, mistake="CMYK")[0].tolist() == [[0, 0, 0], [0, 255, 255]]


def test_each_picture_draws_its_own_mistake() -> None:
    image = photograph("coffee").resize((16, 16))
    found = {damaged("colour_misread", image, seed=seed, mistake="drawn").tobytes() for seed in range(60)}
    assert len(found) == 10
    known = {damaged("colour_misread", image, mistake=word).tobytes() for word in ("Lab", "CMYK", "BGR")}
    assert known < found


@pytest.mark.parametrize(
    ("kelvin", "xy"),
    [(1667, (0.5646, 0.4029)), (2856, (0.4476, 0.4075)), (6504, (0.3135, 0.3237)), (25000, (0.2525, 0.2523))],
)
def test_light_is_on_the_planckian_locus(kelvin: float, xy: tuple[float, float]) -> None:
    """Chromaticities of black bodies as tabled by the CIE (2856 K is standard illuminant A)."""
    xyz = np.linalg.solve(np.linalg.inv(color.rgb2xyz(np.eye(3)[None])[0].T), planckian(kelvin))
    if kelvin > 1900:  # below, blue leaves the screen's gamut and is cut
        assert np.abs(xyz[:2] / xyz.sum() - xy).max() < 0.004
    assert planckian(kelvin)[0] / planckian(kelvin)[2] > planckian(kelvin + 500)[0] / planckian(kelvin + 500)[2]


@pytest.mark.parametrize(("temperature", "channel"), [(2000, 0), (25000, 2)])
def test_white_takes_the_colour_of_the_light(temperature: int, channel: int) -> None:
    found = damaged("colour_cast", Image.new("RGB", (8, 8), "white"), temperature=temperature, shading=0.0)[0, 0]
    assert found.argmax() == channel and found.max() == 255 and found.min() < 200


def test_shading_is_uneven_and_grows() -> None:
    image = Image.new("RGB", (200, 200), "white")
    spread = [np.ptp(damaged("colour_cast", image, severity, temperature=6504)) for severity in (0.1, 0.5, 1)]
    assert spread == sorted(spread) and spread[-1] > 100
    assert np.ptp(damaged("colour_cast", image, temperature=6504, shading=0.0)) <= 1
