"""Too few values, colours or pixels.

Oracles: Pillow's posterize and resize, NumPy's unpackbits, scikit-image's block means.
"""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import find_operation
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image, ImageOps
from skimage.measure import block_reduce


def apply(name: str, image: Image.Image, severity: float = 1.0, **values) -> np.ndarray:
    return np.asarray(find_operation(name).apply(image, generator(0), severity, **values))


def ramp() -> Image.Image:
    return Image.fromarray(np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2))


@pytest.mark.parametrize("bits", range(1, 9))
def test_bit_crush_joins_the_values_that_posterize_joins(bits: int) -> None:
    found, expected = (
        apply("bit_crush", ramp(), bits=bits)[0, :, 0],
        np.asarray(ImageOps.posterize(ramp(), bits))[0, :, 0],
    )
    assert np.array_equal(np.diff(found) > 0, np.diff(expected) > 0)
    assert len(np.unique(found)) == 2**bits and found[0] == 0 and found[-1] == 255
    assert np.abs(found.astype(int) - np.arange(256)).max() <= 256 / 2**bits


@pytest.mark.parametrize("severity", [0.1, 0.5, 0.9])
def test_bit_crush_leaves_fewer_values_with_more_severity(severity: float) -> None:
    assert len(np.unique(apply("bit_crush", ramp(), severity, bits=1))) == round(2 ** (8 - 7 * severity**0.6))


def bits(values: np.ndarray) -> np.ndarray:
    """Return the bits of 8-bit values, the lowest first."""
    return np.unpackbits(values.astype(np.uint8)[:, None], axis=1, bitorder="little")


@given(st.integers(0, 7), st.integers(0, 7), st.integers(1, 7), st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_bit_planes_are_numpys(plane: int, other: int, turn: int, mask: int) -> None:
    expected = dict.fromkeys(("drop", "swap", "rotate", "xor"), bits(np.arange(256)))
    expected = {name: planes.copy() for name, planes in expected.items()}
    expected["drop"][:, plane] = 0
    expected["swap"][:, [plane, other]] = expected["swap"][:, [other, plane]]
    expected["rotate"] = np.roll(expected["rotate"], turn, axis=1)
    expected["xor"] ^= np.unpackbits(np.array([mask], np.uint8), bitorder="little")
    for action, planes in expected.items():
        found = apply("bit_planes", ramp(), action=action, plane=plane, other=other, turn=turn, mask=mask)[0, :, 0]
        assert np.array_equal(bits(found), planes), action


def test_gray_codes_of_neighbours_differ_in_one_bit() -> None:
    codes = bits(apply("bit_planes", ramp(), action="gray")[0, :, 0])
    assert (np.abs(np.diff(codes.astype(int), axis=0)).sum(1) == 1).all()


@pytest.mark.parametrize("dither", ["none", "Bayer", "Floyd-Steinberg"])
@pytest.mark.parametrize("colours", [2, 8, 60, 256])
def test_an_adaptive_palette_has_no_more_colours_than_asked_for(dither: str, colours: int) -> None:
    found = Image.fromarray(apply("palette_reduction", photograph("astronaut"), colours=colours, dither=dither))
    assert colours // 2 <= len(found.getcolors(1 << 20)) <= colours


@pytest.mark.parametrize("period", [3, 4, 8])
def test_an_adaptive_palette_misses_no_fine_lines(period: int) -> None:
    pixels = np.full((512, 512, 3), (200, 40, 40), np.uint8)
    pixels[:, 1::period] = (20, 20, 220)
    for lines in (pixels, pixels.swapaxes(0, 1)):
        found = apply("palette_reduction", Image.fromarray(np.ascontiguousarray(lines)), colours=8)
        assert np.array_equal(found, lines)


@pytest.mark.parametrize("dither", ["none", "Bayer", "Floyd-Steinberg"])
def test_a_fixed_palette_is_kept(dither: str) -> None:
    found = Image.fromarray(apply("palette_reduction", photograph("astronaut"), palette="CGA", dither=dither))
    assert {colour for _, colour in found.getcolors()} <= {(0, 0, 0), (85, 255, 255), (255, 85, 255), (255, 255, 255)}


@pytest.mark.parametrize("palette", ["EGA", "ZX Spectrum", "Game Boy", "PICO-8", "black and white"])
def test_without_dithering_every_pixel_takes_the_nearest_colour(palette: str) -> None:
    image = photograph("coffee").resize((60, 40))
    found = apply("palette_reduction", image, palette=palette).reshape(-1, 3).astype(int)
    colours = np.unique(apply("palette_reduction", _all_colours(), palette=palette).reshape(-1, 3).astype(int), axis=0)
    pixels = np.asarray(image).reshape(-1, 3).astype(int)
    nearest = np.square(pixels[:, None] - colours).sum(2).min(1)
    # Pillow looks colours up in cells of 4 levels, so nearly as near is near enough.
    assert (np.sqrt(np.square(pixels - found).sum(1)) <= np.sqrt(nearest) + 8).all()


def _all_colours() -> Image.Image:
    levels = np.array(np.meshgrid(*[np.linspace(0, 255, 40)] * 3)).reshape(3, -1).T
    return Image.fromarray(np.rint(levels).astype(np.uint8).reshape(160, 400, 3))


@pytest.mark.parametrize("dither", ["Bayer", "Floyd-Steinberg"])
def test_dithering_keeps_the_mean_of_grey(dither: str) -> None:
    for grey in (40, 100, 200):
        image = Image.new("RGB", (64, 64), (grey,) * 3)
        found = apply("palette_reduction", image, palette="black and white", dither=dither).mean()
        assert found == pytest.approx(grey, abs=45 if dither == "Bayer" else 5)


@pytest.mark.parametrize("cell", [2, 5, 16])
def test_squares_are_block_means(cell: int) -> None:
    image = photograph("coffee").crop((0, 0, 160, 80))
    means = block_reduce(np.asarray(image, float), (cell, cell, 1), np.mean)
    found = apply("pixelation", image, cell=cell).astype(float)
    assert np.abs(found - means.repeat(cell, 0).repeat(cell, 1)).max() <= 1


@pytest.mark.parametrize("filter_", ["box", "nearest"])
@given(width=st.integers(1, 50), height=st.integers(1, 50), cell=st.integers(2, 64))
@settings(max_examples=30, deadline=None)
def test_every_square_is_flat(filter_: str, width: int, height: int, cell: int) -> None:
    image = Image.fromarray(generator(0).integers(0, 256, (height, width, 3), np.uint8))
    found = apply("pixelation", image, cell=cell, filter=filter_)
    corners = found[::cell, ::cell].repeat(cell, 0).repeat(cell, 1)[:height, :width]
    assert np.array_equal(found, corners)
    if filter_ == "nearest":
        colours = {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}
        assert {tuple(pixel) for pixel in found.reshape(-1, 3).tolist()} <= colours


@pytest.mark.parametrize(("down", "up"), [("nearest", "bicubic"), ("box", "nearest"), ("lanczos", "hamming")])
def test_resolution_crush_is_pillows_resize(down: str, up: str) -> None:
    image = photograph("chelsea").resize((400, 300))
    small = image.resize((100, 75), Image.Resampling[down.upper()])
    expected = np.asarray(small.resize(image.size, Image.Resampling[up.upper()]))
    filters = {"shrink_with": down, "enlarge_with": up}
    assert np.array_equal(apply("resolution_crush", image, scale=0.25, **filters), expected)
    assert np.array_equal(apply("resolution_crush", image, longest=100, **filters), expected)
    assert np.array_equal(apply("resolution_crush", image, 0.5, scale=0.0625, **filters), expected)


def test_a_picture_smaller_than_the_longest_side_stays() -> None:
    image = photograph("chelsea").resize((40, 30))
    assert np.array_equal(apply("resolution_crush", image, longest=100), np.asarray(image))
