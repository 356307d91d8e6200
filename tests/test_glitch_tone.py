"""What happens to tones. Oracles: Pillow's own solarize and equalize, and counted pixels."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image, ImageOps


def damaged(name: str, image: Image.Image, severity: float = 1.0, **values) -> Image.Image:
    return find_operation(name).apply(image, generator(3), severity, **values)


def ramp() -> Image.Image:
    return Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))


@pytest.mark.parametrize("clip", [0.1, 0.3, 0.45])
def test_as_many_pixels_as_asked_for_are_lost(clip: float) -> None:
    image = photograph("camera")
    found = np.asarray(damaged("tone_collapse", image, clip=clip, gain=1.0).convert("L"))
    assert abs((found == 0).mean() - clip) < 0.03 and abs((found == 255).mean() - clip) < 0.03


@pytest.mark.parametrize("photo", ["chelsea", "astronaut", "coffee"])
def test_more_severity_clips_more(photo: str) -> None:
    image = photograph(photo)
    clipped = [
        float(np.isin(np.asarray(damaged("tone_collapse", image, severity)), (0, 255)).mean())
        for severity in np.linspace(0.1, 1, 10)
    ]
    assert clipped == sorted(clipped) and clipped[-1] > 0.5


def test_gain_and_gamma_are_as_written() -> None:
    found = np.asarray(damaged("tone_collapse", ramp(), clip=0.0, gain=0.5, gamma=2.0), float)[0, :, 0]
    assert np.abs(found - 255 * 0.5 * (np.arange(256) / 255) ** 2).max() <= 0.51


def test_solarising_at_the_middle_is_pillows() -> None:
    image = photograph("coffee")
    expected = np.asarray(ImageOps.solarize(image, 128), int)
    assert np.abs(np.asarray(damaged("solarise", image, threshold=0.5), int) - expected).max() <= 1


def test_shadows_are_turned_as_highlights_of_the_negative() -> None:
    image = photograph("coffee")
    expected = ImageOps.invert(damaged("solarise", ImageOps.invert(image), threshold=0.7))
    found = damaged("solarise", image, threshold=0.3, turned="shadows")
    assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 1


def test_solarising_makes_no_jumps() -> None:
    for severity in (0.1, 0.5, 1.0):
        levels = np.asarray(damaged("solarise", ramp(), severity), int)[0, :, 0]
        assert np.abs(np.diff(levels)).max() <= 2


def test_one_tile_is_pillows_equalisation() -> None:
    image = photograph("coffee")
    assert damaged("histogram_glitch", image, tiles=1).tobytes() == ImageOps.equalize(image).tobytes()


def test_each_tile_is_flattened_on_its_own() -> None:
    image = photograph("coffee").resize((128, 128))
    found = damaged("histogram_glitch", image, tiles=2)
    part = (64, 0, 128, 64)
    assert found.crop(part).tobytes() == ImageOps.equalize(image.crop(part)).tobytes()


def test_steps_leave_as_many_levels_and_lightness_leaves_colour() -> None:
    image = photograph("coffee").resize((128, 128))
    assert len(np.unique(np.asarray(damaged("histogram_glitch", image, steps=4)))) == 4
    grey = photograph("camera").resize((128, 128))
    found = np.asarray(damaged("histogram_glitch", grey, channels="lightness"), int)
    assert np.ptp(found, axis=2).max() <= 1
