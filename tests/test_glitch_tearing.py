"""Torn bands, against NumPy's roll."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.pictures.tearing import moved, shifted_rows
from glitch_lora.glitch.registry import find_operation
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image


def noise(width: int = 60, height: int = 80) -> Image.Image:
    return Image.fromarray(generator(0, "noise").integers(0, 256, (height, width, 3), np.uint8))


def torn(image: Image.Image, severity: float = 1.0, seed: int = 0, **values) -> np.ndarray:
    return np.asarray(find_operation("slice_displacement").apply(image, generator(seed), severity, **values))


def shifts(image: Image.Image, found: np.ndarray) -> np.ndarray:
    """Return how far each row was rolled, found by trying all."""
    rolled = np.stack([np.roll(np.asarray(image), shift, 1) for shift in range(image.width)])
    hits = (rolled == found).all((2, 3))
    assert hits.any(0).all(), "a row is not a roll of itself"
    shift = hits.argmax(0)
    return np.where(shift > image.width // 2, shift - image.width, shift)


@given(seed=st.integers(0, 2**32), slices=st.integers(1, 200), severity=st.floats(0.01, 1))
@settings(max_examples=30, deadline=None)
def test_every_row_is_a_roll_within_the_shift(seed: int, slices: int, severity: float) -> None:
    image = noise()
    moved = shifts(image, torn(image, severity, seed, slices=slices, shift=0.4))
    assert np.abs(moved).max() <= round(severity * 0.4 * image.width)


def test_one_slice_is_one_band() -> None:
    image = noise(height=200)
    for seed in range(20):
        moved = shifts(image, torn(image, seed=seed, slices=1, height=0.1, shift=0.5))
        rows = np.flatnonzero(moved)
        assert 1 <= rows.size <= 20 and rows.size == rows[-1] - rows[0] + 1
        assert len(set(moved[rows].tolist())) == 1 and abs(moved[rows[0]]) >= 0.3 * 0.5 * image.width - 1


def test_severity_moves_the_same_bands_farther() -> None:
    image = noise()
    half, full = (shifts(image, torn(image, severity, shift=0.4)) for severity in (0.5, 1.0))
    assert np.abs(full - 2 * half).max() <= 1


def test_columns_are_rows_of_the_turned_picture() -> None:
    image = noise()
    turned = Image.fromarray(np.ascontiguousarray(np.asarray(image).swapaxes(0, 1)))
    for edge in ("wrap", "clamp", "black"):
        found = torn(image, axis="columns", edge=edge)
        assert np.array_equal(found.swapaxes(0, 1), torn(turned, edge=edge))


@given(
    offsets=st.lists(st.integers(-30, 30), min_size=1, max_size=12), width=st.integers(1, 12), seed=st.integers(0, 9)
)
@settings(max_examples=80, deadline=None)
def test_edges_are_filled_as_padding_would(offsets: list[int], width: int, seed: int) -> None:
    """Oracle: NumPy's pad, wide enough, then a window."""
    pixels = generator(seed).integers(1, 256, (len(offsets), width, 3), np.uint8)
    for edge, mode in (("wrap", "wrap"), ("clamp", "edge"), ("black", "constant")):
        wide = np.pad(pixels, ((0, 0), (30, 30), (0, 0)), mode=mode)
        expected = [row[30 - offset : 30 - offset + width] for row, offset in zip(wide, offsets, strict=True)]
        alone = [moved(Image.fromarray(row[None]), way, 0, edge) for row, way in zip(pixels, offsets, strict=True)]
        assert np.array_equal(np.concatenate([np.asarray(row) for row in alone]), np.stack(expected)), edge
        if edge != "black":
            assert np.array_equal(shifted_rows(pixels, np.array(offsets), edge), np.stack(expected)), edge


@pytest.mark.parametrize("slices", [1, 200])
def test_no_shift_is_no_damage(slices: int) -> None:
    image = noise()
    assert np.array_equal(torn(image, slices=slices, shift=0.0), np.asarray(image))
