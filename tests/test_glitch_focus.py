"""What blur and sharpening do. Oracles: scipy's uniform and Gaussian filters, scikit-image's blur effect."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image
from scipy import ndimage


def damaged(name: str, image: Image.Image, severity: float = 1.0, **values) -> np.ndarray:
    return np.asarray(find_operation(name).apply(image, generator(3), severity, **values), float)


def test_defocus_is_gaussian_of_the_given_part() -> None:
    image = photograph("coffee").resize((300, 200))
    expected = ndimage.gaussian_filter(np.asarray(image, float), (4, 4, 0), mode="nearest")
    assert np.abs(damaged("defocus", image, radius=0.02) - expected).mean() < 0.5


@pytest.mark.parametrize("name", ["defocus", "motion_blur"])
def test_blur_grows_with_severity(name: str) -> None:
    from skimage.measure import blur_effect

    image = photograph("astronaut")
    found = [blur_effect(damaged(name, image, severity).mean(-1)) for severity in (0.1, 0.3, 0.6, 1)]
    assert found == sorted(found)


@pytest.mark.parametrize("length", [9, 33, 65])
def test_motion_sideways_is_a_running_mean_along_rows(length: int) -> None:
    image = photograph("chelsea").resize((256, 256))
    expected = ndimage.uniform_filter1d(np.asarray(image, float), length, axis=1, mode="nearest")
    found = damaged("motion_blur", image, length=length / 256, angle=0, spread=0)
    assert np.abs(found - expected).mean() < 1.0


@pytest.mark.parametrize("angle", [90, 30, -60])
def test_motion_draws_a_point_into_a_line_of_its_direction(angle: int) -> None:
    image = Image.new("RGB", (129, 129))
    image.paste("white", (62, 62, 67, 67))
    found = damaged("motion_blur", image, length=0.5, angle=angle, spread=0)[..., 0]
    y, x = np.nonzero(found > 2)  # a line that ends between pixels rings a little
    assert abs(np.average(x, weights=found[y, x]) - 64) < 1 and abs(np.average(y, weights=found[y, x]) - 64) < 1
    far = np.hypot(x - 64, y - 64) > 10
    turned = np.degrees(np.arctan2(y - 64, x - 64)[far]) - angle
    assert np.abs((turned + 90) % 180 - 90).max() < 25 and far.sum() > 50


def test_oversharpening_overshoots_beside_an_edge_and_rings_farther_out() -> None:
    step = np.full((64, 256, 3), 100, np.uint8)
    step[:, 128:] = 150
    image = Image.fromarray(step)
    halo, ring = (damaged("oversharpen", image, amount=1.0, radius=0.05, ringing=part)[32, :, 0] for part in (0, 1))
    for row in (halo, ring):
        assert row.max() > 155 and row.min() < 95
    echoes = [np.abs(row[142:200] - 150).max() for row in (halo, ring)]
    assert echoes[0] <= 1 < 2 <= echoes[1]


def test_oversharpening_adds_what_a_gaussian_takes() -> None:
    """Without ringing it is the unsharp mask on lightness."""
    image = photograph("coffee").resize((200, 160))
    grey = np.repeat(np.asarray(image.convert("L"))[..., None], 3, axis=2)
    blurred = ndimage.gaussian_filter(grey.astype(float), (4, 4, 0), mode="reflect")
    expected = (grey + 2 * (grey - blurred)).clip(0, 255)
    found = damaged("oversharpen", Image.fromarray(grey), amount=2.0, radius=0.025, ringing=0.0)
    assert np.abs(found - expected).mean() < 1.0
