"""Channels out of place.

Oracles: NumPy's roll, scikit-image's phase correlation, Pillow's rotate and resize, Pillow's merge.
"""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image
from skimage.registration import phase_cross_correlation

STILL = {"red_x": 0, "blue_x": 0}


def shift(image: Image.Image, severity: float = 1.0, seed: int = 0, **values) -> Image.Image:
    return find_operation("channel_shift").apply(image, generator(seed), severity, **({"vary": 0.0} | values))


def swap(image: Image.Image, severity: float = 1.0, seed: int = 0, context: Context | None = None, **values):
    return find_operation("channel_swap").apply(image, generator(seed), severity, context, **values)


@pytest.mark.parametrize(("edge", "mode"), [("wrap", "wrap"), ("clamp", "edge"), ("black", "constant")])
@pytest.mark.parametrize("size", [(40, 30), (5, 3)])
def test_shifts_are_windows_of_the_padded_channel(edge: str, mode: str, size: tuple[int, int]) -> None:
    image = photograph("coffee").resize(size)
    ways = {"red": (7, -3), "green": (0, 12), "blue": (-20, 2)}
    values = {f"{colour}_{axis}": way for colour, pair in ways.items() for axis, way in zip("xy", pair, strict=True)}
    found = np.asarray(shift(image, edge=edge, **values))
    for place, (right, down) in enumerate(ways.values()):
        wide = np.pad(np.asarray(image)[..., place], 64, mode=mode)
        expected = wide[64 - down : 64 - down + size[1], 64 - right : 64 - right + size[0]]
        assert np.array_equal(found[..., place], expected)


@pytest.mark.parametrize("severity", [0.25, 0.5, 1.0])
def test_phase_correlation_finds_the_misregistration(severity: float) -> None:
    image = photograph("camera")
    found = np.asarray(shift(image, severity, red_x=12, red_y=8, blue_x=-12)).astype(float)
    measured, _, _ = phase_cross_correlation(found[..., 0], found[..., 1])
    assert np.allclose(measured, (8 * severity, 12 * severity))


def test_rotation_is_pillows() -> None:
    """Red turns clockwise like Pillow's rotate by the negative angle, blue the other way, green not at all."""
    image = photograph("coffee").resize((201, 161))
    found = shift(image, rotation=10.0, edge="black", **STILL).split()
    for band, own, degrees in zip(found, image.split(), (-10, 0, 10), strict=True):
        expected = own.rotate(degrees, Image.Resampling.BILINEAR)
        inner = (20, 20, 180, 140)
        error = np.abs(np.asarray(band.crop(inner), float) - np.asarray(expected.crop(inner), float))
        assert error.mean() < 1.0, degrees


def test_scale_enlarges_red_and_shrinks_blue_around_the_centre() -> None:
    image = photograph("coffee").resize((200, 160))
    found = shift(image, scale=10.0, edge="clamp", **STILL).split()
    red = image.getchannel("R").resize((220, 176), Image.Resampling.BILINEAR).crop((10, 8, 210, 168))
    assert np.abs(np.asarray(found[0], float) - np.asarray(red, float)).mean() < 1.0
    blue = np.asarray(image.getchannel("B").resize((180, 144), Image.Resampling.BILINEAR), float)
    assert np.abs(np.asarray(found[2], float)[8:152, 10:190] - blue).mean() < 3.0  # resize also filters
    assert np.array_equal(np.asarray(found[1]), np.asarray(image.getchannel("G")))


def test_a_drawn_direction_keeps_the_distance() -> None:
    image = photograph("camera")
    measured = []
    for seed in range(6):
        found = np.asarray(shift(image, seed=seed, random_direction=True, red_x=20, blue_x=0)).astype(float)
        measured.append(phase_cross_correlation(found[..., 0], found[..., 1])[0])
    assert np.allclose([np.hypot(*way) for way in measured], 20, atol=1)
    assert len({tuple(way) for way in measured}) == 6


def test_shifts_vary_within_their_part() -> None:
    image = photograph("camera")
    measured = []
    for seed in range(8):
        found = np.asarray(shift(image, seed=seed, vary=0.5, red_x=20, blue_x=0)).astype(float)
        measured.append(phase_cross_correlation(found[..., 0], found[..., 1])[0].tolist())
    assert all(down == 0 and 10 <= right <= 30 for down, right in measured)
    assert len({right for _, right in measured}) > 3


@pytest.mark.parametrize("order", ["RBG", "GRB", "GBR", "BRG", "BGR"])
def test_orders_are_pillows_merge(order: str) -> None:
    image = photograph("chelsea")
    bands = dict(zip("RGB", image.split(), strict=True))
    assert swap(image, order=order).tobytes() == Image.merge("RGB", [bands[letter] for letter in order]).tobytes()


def test_random_orders_differ_between_pictures_and_never_keep_all() -> None:
    image = photograph("chelsea").resize((32, 32))
    found = {swap(image, seed=seed, order="random").tobytes() for seed in range(40)}
    assert len(found) == 5 and image.tobytes() not in found


@pytest.mark.parametrize(("channel", "place"), [("red", 0), ("green", 1), ("blue", 2)])
def test_one_channel_is_dropped_or_replaced(channel: str, place: int) -> None:
    image, other = photograph("chelsea"), photograph("coffee")
    others = Context([image, other], 0)
    expected = {
        "drop": np.full((image.height, image.width), 51, np.uint8),
        "luma": np.asarray(image.convert("L")),
        "other picture": np.asarray(other.resize(image.size, Image.Resampling.BICUBIC).getchannel(place)),
    }
    for action, replacement in expected.items():
        found = np.asarray(swap(image, context=others, action=action, channel=channel, fill=0.2))
        assert np.array_equal(found[..., place], replacement), action
        rest = [one for one in range(3) if one != place]
        assert np.array_equal(found[..., rest], np.asarray(image)[..., rest])


def test_alone_the_mirror_image_stands_in() -> None:
    image = photograph("chelsea")
    found = np.asarray(swap(image, action="other picture", channel="red"))
    assert np.array_equal(found[..., 0], np.asarray(image)[:, ::-1, 0])
