"""Pixel sorting, against Python's own stable sort along each row.

Oracles: `sorted` row by row, `colorsys`, and NumPy's sort.
"""

import colorsys

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import find_operation
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image


def sort(image: Image.Image, severity: float = 1.0, seed: int = 0, **values) -> np.ndarray:
    values = {"leave_out": 0.0} | values
    return np.asarray(find_operation("pixel_sort").apply(image, generator(seed), severity, **values))


def small(name: str = "astronaut") -> Image.Image:
    return photograph(name).resize((48, 40))


KEYS = {
    "lightness": lambda pixel: max(pixel) + min(pixel),
    "saturation": lambda pixel: round(255 * colorsys.rgb_to_hsv(*(value / 255 for value in pixel))[1], 6),
    "intensity": sum,
    "minimum": min,
    "red": lambda pixel: pixel[0],
    "green": lambda pixel: pixel[1],
    "blue": lambda pixel: pixel[2],
}


def sorted_by_hand(row: list, key, low: float, high: float) -> list:
    """Return a row with each run of lightness within the limits sorted by Python."""
    done, run = [], []
    for pixel in row:
        if low <= (max(pixel) + min(pixel)) / 510 <= high:
            run.append(pixel)
        else:
            done, run = [*done, *sorted(run, key=key), pixel], []
    return done + sorted(run, key=key)


@pytest.mark.parametrize("key", [name for name in KEYS if name != "saturation"])
@pytest.mark.parametrize("limits", [(0.25, 0.8), (0.0, 1.0), (0.6, 0.3)])
def test_threshold_is_pythons_sort_of_every_run(key: str, limits: tuple[float, float]) -> None:
    image = small()
    rows = np.asarray(image).tolist()
    expected = [sorted_by_hand(row, KEYS[key], *limits) for row in rows]
    assert sort(image, key=key, low=limits[0], high=limits[1]).tolist() == expected


@pytest.mark.parametrize(("key", "part"), [("hue", 0), ("saturation", 1)])
def test_hue_and_saturation_rise_along_whole_rows(key: str, part: int) -> None:
    rows = sort(small(), key=key, interval="whole row") / 255
    values = np.array([[colorsys.rgb_to_hsv(*pixel)[part] for pixel in row] for row in rows])
    assert (np.diff(values, axis=1) > -1.5 / 255).all()  # Pillow rounds hue and saturation to 8 bits


@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0, 90.0, 133.5, 180.0, 270.0, 360.0])
@pytest.mark.parametrize("interval", ["threshold", "edges", "random", "waves", "whole row"])
def test_the_picture_keeps_its_pixels_at_every_angle(angle: float, interval: str) -> None:
    image = small()
    before, after = (
        pixels.reshape(-1, 3) for pixels in (np.asarray(image), sort(image, angle=angle, interval=interval))
    )
    assert not np.array_equal(before, after)
    assert sorted(map(tuple, before.tolist())) == sorted(map(tuple, after.tolist()))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_right_angles_are_the_turned_picture(turns: int) -> None:
    """Sorting downwards is sorting the turned picture to the right; no pixel is resampled."""
    image = small()
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(np.asarray(image), turns)))
    found = sort(image, angle=90.0 * turns, interval="whole row")
    assert np.array_equal(np.rot90(found, turns), sort(turned, interval="whole row"))


def test_an_angle_sorts_along_that_direction() -> None:
    """Noise sorted at 30 degrees gets lighter from a pixel to the one 7 right and 4 below, and no other way."""
    noise = Image.fromarray(generator(0).integers(0, 256, (200, 200, 3), np.uint8))
    light = sort(noise, key="intensity", angle=30.0, interval="random", length=100).sum(2)

    def lighter(down: int, right: int) -> float:
        return float((np.roll(light, (-down, -right), (0, 1)) > light)[20:-20, 20:-20].mean())

    assert lighter(4, 7) > 0.75
    assert all(abs(lighter(*way) - 0.5) < 0.1 for way in ((-4, 7), (7, -4), (7, 4)))


def test_reverse_is_from_high_to_low() -> None:
    image = small()
    found = sort(image, key="red", interval="whole row", reverse=True)[..., 0]
    assert np.array_equal(found, -np.sort(-np.asarray(image)[..., 0].astype(int), axis=1))


def test_random_stretches_have_the_mean_length() -> None:
    """A falling ramp shows every stretch: it rises inside and falls from one to the next."""
    ramp = np.repeat(np.arange(255, -1, -1, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    rows = sort(Image.fromarray(ramp), interval="random", length=16)[..., 0].astype(int)
    stretches = (np.diff(rows, axis=1) < 0).sum() / 64 + 1
    assert stretches == pytest.approx(256 / 16, rel=0.15)


def test_the_left_out_part_stays() -> None:
    image = Image.fromarray(generator(1).integers(0, 256, (400, 64, 3), np.uint8))
    same = (sort(image, interval="whole row", leave_out=0.3) == np.asarray(image)).all((1, 2))
    assert same.mean() == pytest.approx(0.3, abs=0.08)
    assert np.array_equal(sort(image, leave_out=1.0), np.asarray(image))


@given(severity=st.floats(0.01, 1), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_no_pixel_moves_farther_than_its_piece(severity: float, seed: int) -> None:
    ramp = np.arange(255, -1, -1, dtype=np.uint8)[None, :, None].repeat(3, 2)
    row = sort(Image.fromarray(ramp), severity, seed, interval="whole row")[0, :, 0].astype(int)
    moved = np.abs((255 - row) - np.arange(256))
    assert moved.max() <= max(1, 256 ** (severity**0.7)) - 1
