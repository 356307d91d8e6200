"""What bending does. Oracles: scikit-image's swirl, scipy's cross-correlation of rows, and known pixels."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.pictures.displaced import EDGES
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image

WARPS = ("elastic_warp", "grid_warp", "swirl", "wave_warp", "displacement_feedback")


def bent(name: str, image: Image.Image, severity: float = 1.0, seed: int = 3, **values) -> np.ndarray:
    return np.asarray(find_operation(name).apply(image, generator(seed), severity, **values), float)


@pytest.mark.parametrize("name", WARPS)
def test_bending_makes_no_new_colours(name: str) -> None:
    """A picture of one colour cannot be bent, whatever lies beyond its edges but black."""
    image = Image.new("RGB", (61, 47), (200, 30, 90))
    assert np.array_equal(bent(name, image), np.asarray(image))


@pytest.mark.parametrize("name", WARPS)
def test_a_little_severity_moves_little(name: str) -> None:
    image = photograph("coffee").resize((256, 256))
    change = np.abs(bent(name, image, 0.01) - np.asarray(image, float)).mean()
    assert change < 4 < np.abs(bent(name, image) - np.asarray(image, float)).mean()


@pytest.mark.parametrize("angle", [90, -250])
def test_swirl_is_scikit_images(angle: int) -> None:
    from skimage.transform import swirl

    image = photograph("chelsea").resize((200, 150))
    found = bent("swirl", image, angle=angle, radius=0.8, off_centre=0.0)
    expected = 255 * swirl(
        np.asarray(image), strength=np.radians(angle), radius=160, center=(99.5, 74.5), mode="symmetric"
    )
    assert np.abs(found - expected).mean() < 1.5


def test_a_wave_moves_each_row_by_its_sine() -> None:
    """The shift of each row, found by correlation with the original, is a sine of the given height and length."""
    image = photograph("brick").resize((256, 256))
    before = np.asarray(image.convert("L"), float)
    after = bent("wave_warp", image, amplitude=10 / 256, period=64 / 256, edges="wrap").mean(-1)
    shifts = np.array([_shift(one, other) for one, other in zip(before, after, strict=True)])
    spectrum = np.abs(np.fft.rfft(shifts))
    assert np.argmax(spectrum) == 256 / 64
    assert abs(2 * spectrum[4] / 256 - 10) < 0.5


def _shift(before: np.ndarray, after: np.ndarray) -> float:
    one, other = (np.fft.rfft(row - row.mean()) for row in (before, after))
    place = int(np.argmax(np.fft.irfft(one * other.conj())))
    return place if place < 128 else place - 256


def test_a_grid_keeps_straight_lines_straight() -> None:
    """Columns of one colour stay columns of one colour; elsewhere than they were."""
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, 40:60] = 255
    found = bent("grid_warp", Image.fromarray(stripes))
    assert np.ptp(found, axis=0).max() == 0
    assert not np.array_equal(found, stripes)


@pytest.mark.parametrize(("edges", "seen"), [("mirror", 70), ("repeat", 0), ("wrap", 250), ("black", 0)])
def test_beyond_the_edge_is_what_was_asked_for(edges: str, seen: int) -> None:
    """A ramp shifted right by 70 px: what comes in at the left tells what lies there."""
    from glitch_lora.glitch.pictures.displaced import displaced

    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    found = np.asarray(displaced(Image.fromarray(ramp), np.float32([[-70]]), np.float32([[0]]), edges))
    assert abs(int(found[0, 70 - 6, 0]) - (5 if edges == "mirror" else seen)) <= 1
    assert edges in EDGES and found[0, 200, 0] == 130


def test_marbling_follows_the_picture_not_the_stream() -> None:
    image = photograph("astronaut").resize((128, 128))
    assert np.array_equal(bent("displacement_feedback", image, seed=1), bent("displacement_feedback", image, seed=2))
    assert not np.array_equal(bent("elastic_warp", image, seed=1), bent("elastic_warp", image, seed=2))
