"""Raw bytes edited or misread. Oracles: Python's own lists of bytes, Pillow's raw decoders, formulas."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.pictures.raw_bytes import _edited
from glitch_lora.glitch.registry import find_operation
from hypothesis import given
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image


def misread(image: Image.Image, reading: str, **values) -> np.ndarray:
    return np.asarray(find_operation("raw_misread").apply(image, generator(0), reading=reading, **values))


EDITS = st.tuples(
    st.sampled_from(["replace", "insert", "delete"]), st.integers(0, 99), st.integers(1, 20), st.integers(0, 79)
)


@given(edits=st.lists(EDITS, min_size=1, max_size=4, unique_by=lambda edit: edit[1] // 25))
def test_edits_are_those_of_a_list(edits) -> None:
    """A Python list edited from its end to its beginning is the same, where the edits do not touch each other."""
    edits = sorted(edits, key=lambda edit: edit[1])
    apart = [after[1] - (before[1] + before[2]) for before, after in zip(edits, edits[1:], strict=False)]
    if any(gap < 0 for gap in apart):
        return
    source = list(range(100))
    expected = source.copy()
    for kind, place, length, other in reversed(edits):
        new = [] if kind == "delete" else source[other : other + length]
        expected[place : place if kind == "insert" else place + length] = new
    found = _edited(np.arange(100), edits).tolist()
    assert found == (expected * 2)[:100]


def test_a_swap_is_undone_by_the_same_swap() -> None:
    octets = np.arange(100)
    swapped = _edited(octets, [("swap", 10, 15, 60)])
    assert swapped[10:25].tolist() == [*range(60, 75)] and sorted(swapped) == [*range(100)]
    assert (_edited(swapped, [("swap", 10, 15, 60)]) == octets).all()
    assert sorted(_edited(octets, [("swap", 10, 25, 20)])) == [*range(100)]


def test_a_deletion_turns_the_channels_behind_it() -> None:
    image = Image.new("RGB", (40, 40), (255, 0, 0))
    found = np.asarray(find_operation("byte_bend").apply(image, generator(2), edit="delete", edits=9, run=0.01))
    colours = {tuple(pixel) for pixel in found.reshape(-1, 3).tolist()}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255)} <= colours


def test_many_long_insertions_need_no_more_memory_than_the_picture() -> None:
    image = Image.new("RGB", (256, 256))
    found = find_operation("byte_bend").apply(image, generator(0), edit="insert", edits=200, run=0.25)
    assert found.size == image.size


def test_bgr_and_yuv_are_pillows() -> None:
    image = photograph("coffee")
    raw = image.tobytes()
    assert misread(image, "RGB as BGR").tobytes() == Image.frombytes("RGB", image.size, raw, "raw", "BGR").tobytes()
    expected = Image.frombytes("YCbCr", image.size, raw).convert("RGB")
    assert misread(image, "RGB as YUV").tobytes() == expected.tobytes()


def test_5_6_5_is_pillows_bgr16() -> None:
    image = photograph("coffee")
    words = image.tobytes()[: image.width * image.height * 2]
    expected = np.asarray(Image.frombytes("RGB", image.size, words, "raw", "BGR;16"), int)
    assert np.abs(misread(image, "RGB as 5-6-5").astype(int) - expected).max() <= 1  # rounding


def test_planes_and_pixels_are_each_others_undoing() -> None:
    image = photograph("coffee").crop((0, 0, 60, 33))
    once = Image.fromarray(misread(image, "planes as pixels"))
    assert misread(once, "pixels as planes").tobytes() == image.tobytes()


def test_swapping_pairs_twice_is_nothing() -> None:
    image = photograph("coffee").crop((0, 0, 61, 33))
    once = Image.fromarray(misread(image, "16 bit with swapped bytes"))
    assert once.tobytes() != image.tobytes()
    assert misread(once, "16 bit with swapped bytes").tobytes() == image.tobytes()


@pytest.mark.parametrize("offset", [0.05, -0.05])
def test_a_wrong_width_moves_each_row_by_as_much_again(offset: float) -> None:
    image = photograph("coffee").crop((0, 0, 100, 60))
    pixels, found = np.asarray(image), misread(image, "wrong width", offset=offset)
    change = round(offset * 100)
    flat = pixels.reshape(-1, 3)
    for row in range(50):
        assert (found[row] == flat[row * (100 + change) :][:100]).all()
