"""What framing does. Oracles: Pillow's resize of the part, numpy's padding, and known pixels."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image, ImageOps


def damaged(name: str, image: Image.Image, severity: float = 1.0, seed: int = 3, **values) -> Image.Image:
    return find_operation(name).apply(image, generator(seed), severity, **values)


def disc(size: int = 200, radius: int = 40) -> Image.Image:
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    return Image.fromarray(np.repeat((np.hypot(x, y) < radius)[..., None], 3, 2).astype(np.uint8) * 255)


def extent(image: Image.Image) -> tuple[int, int]:
    left, top, right, bottom = image.convert("L").point(lambda level: 255 * (level > 127)).getbbox()
    return right - left, bottom - top


@pytest.mark.parametrize(
    ("mode", "ratio", "wanted"),
    [
        ("stretch", 2.0, (160, 80)),
        ("stretch", 0.5, (80, 160)),
        ("cover-crop", 2.0, (160, 160)),
        ("cover-crop", 0.5, (160, 160)),
        ("contain-pad", 2.0, (80, 40)),
        ("contain-pad", 0.5, (40, 80)),
    ],
)
def test_a_disc_becomes_as_flat_as_asked(mode: str, ratio: float, wanted: tuple[int, int]) -> None:
    found = extent(damaged("stretch", disc(), mode=mode, ratio=ratio))
    assert np.abs(np.subtract(found, wanted)).max() <= 2


def test_severity_is_part_of_the_way_in_ratio() -> None:
    width, height = extent(damaged("stretch", disc(), 0.5, ratio=4.0))
    assert abs(width / height - 2) < 0.1


@pytest.mark.parametrize("name", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_stretch_resamples_as_pillow_does(name: str) -> None:
    image = photograph("coffee").resize((300, 200))
    found = damaged("stretch", image, ratio=2.0, resampling=name)
    expected = image.resize((300, 200), Image.Resampling[name.upper()], (75, 0, 225, 200))
    assert found.tobytes() == expected.tobytes()


def test_tiles_are_the_squashed_picture_repeated() -> None:
    image = photograph("coffee").resize((300, 200))
    pixels = np.asarray(damaged("stretch", image, ratio=2.0, mode="tile"))
    assert np.array_equal(pixels[:100], pixels[100:])
    squashed = np.asarray(image.resize((300, 100), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels[50:150], squashed)


@pytest.mark.parametrize("seed", range(8))
def test_a_crop_is_a_part_of_the_picture_at_its_border(seed: int) -> None:
    """Red tells the column, green the row: the corners of the result tell the part."""
    across, down = np.meshgrid(np.arange(200), np.arange(200))
    image = Image.fromarray(np.stack((across, down, 0 * down), axis=-1).astype(np.uint8))
    found = np.asarray(damaged("bad_crop", image, seed=seed, kept=0.5), int)
    left, top, right, bottom = found[0, 0, 0], found[0, 0, 1], found[-1, -1, 0], found[-1, -1, 1]
    assert abs(right - left - 99) <= 2 and abs(bottom - top - 99) <= 2
    assert min(left, top) <= 1 or max(right, bottom) >= 198


@pytest.mark.parametrize(
    ("values", "same"), [({"mirrored": 1.0}, ImageOps.mirror), ({"upside_down": 1.0}, ImageOps.flip)]
)
def test_exchanging_sides(values, same) -> None:
    image = photograph("chelsea").resize((90, 60))
    assert damaged("bad_crop", image, kept=1.0, **values).tobytes() == same(image).tobytes()


def test_the_chance_of_exchanging_sides_is_kept() -> None:
    image = photograph("chelsea").resize((16, 16))
    mirrored = ImageOps.mirror(image).tobytes()
    found = [damaged("bad_crop", image, seed=seed, kept=1.0, mirrored=0.3).tobytes() for seed in range(500)]
    assert abs(found.count(mirrored) - 150) < 52  # five standard deviations


@pytest.mark.parametrize(("surroundings", "mode"), [("black", "constant"), ("mirror", "symmetric"), ("edge", "edge")])
def test_a_small_picture_is_surrounded_as_asked(surroundings: str, mode: str) -> None:
    image = photograph("chelsea").resize((100, 80))
    found = np.asarray(damaged("bad_crop", image, kept=0.5, surroundings=surroundings))
    inner = np.asarray(image.resize((50, 40), Image.Resampling.BILINEAR))
    places = [
        (top, left)
        for top in range(41)
        for left in range(51)
        if np.array_equal(found[top : top + 40, left : left + 50], inner)
    ]
    top, left = places[0]
    assert np.array_equal(found, np.pad(inner, ((top, 40 - top), (left, 50 - left), (0, 0)), mode))
