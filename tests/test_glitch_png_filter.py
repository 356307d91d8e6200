"""Damaged PNG files. Oracles: Pillow's reading of the file, the filters of the PNG specification written as loops."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.pictures.png_filter import _FILTERS, _decoded, _with_filter
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image


def noise(height: int, width: int) -> np.ndarray:
    return generator(height, width).integers(0, 256, (height, width, 3), np.uint8)


def apply(image: Image.Image, **values) -> np.ndarray:
    return np.asarray(find_operation("png_filter").apply(image, generator(5), **values))


@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (17, 23)])
def test_what_is_filtered_is_what_pillow_undoes(number: int, size) -> None:
    pixels = noise(*size)
    rows = _with_filter(pixels, number)
    assert (rows[:, 0] == number).all()
    assert np.asarray(_decoded(rows)).tobytes() == pixels.tobytes()


@pytest.mark.parametrize("written_with", _FILTERS[1:])
def test_rows_above_the_first_damaged_one_are_whole(written_with: str) -> None:
    image = photograph("chelsea")
    found = apply(image, fraction=1 / image.height, written_with=written_with)
    harmed = (found != np.asarray(image)).any(axis=(1, 2))
    first = int(harmed.argmax())
    assert 0 < first < image.height and not harmed[:first].any()


def test_sub_keeps_damage_in_its_rows_and_up_hands_it_down() -> None:
    image = photograph("chelsea")
    harmed = {
        kind: (apply(image, fraction=0.05, written_with=kind, read_with="none") != np.asarray(image)).any(axis=(1, 2))
        for kind in ("sub", "up")
    }
    assert harmed["sub"].sum() == round(0.05 * image.height)
    assert harmed["up"][harmed["up"].argmax() :].all()


def test_a_row_written_with_sub_and_read_with_none_is_the_differences() -> None:
    image = photograph("chelsea")
    pixels = np.asarray(image)
    found = apply(image, fraction=1.0, written_with="sub", read_with="none")
    assert (found[:, 1:] == pixels[:, 1:] - pixels[:, :-1]).all()


def test_one_damaged_byte_runs_on_to_the_end_of_its_row() -> None:
    image = photograph("chelsea")
    difference = apply(image, fraction=0.01, damage="filtered bytes", written_with="sub") - np.asarray(image)
    for row in np.flatnonzero(difference.any(axis=(1, 2))):
        columns = np.flatnonzero(difference[row].any(axis=1))
        assert columns.tolist() == [*range(columns[0], image.width)]
        assert len(np.unique(difference[row, columns], axis=0)) == 1
