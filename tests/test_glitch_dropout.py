"""Missing lines and regions: how many, where, and what stands in their place."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image


def apply(name: str, image: Image.Image, severity: float = 1.0, seed: int = 0, **values) -> np.ndarray:
    return np.asarray(find_operation(name).apply(image, generator(seed), severity, **values))


def bright(width: int = 90, height: int = 120) -> Image.Image:
    return Image.fromarray(generator(0).integers(1, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("thickness", [1, 3, 10])
@pytest.mark.parametrize("severity", [0.5, 1.0])
def test_lines_are_counted(thickness: int, severity: float) -> None:
    found = apply("line_dropout", bright(), severity, amount=0.4, thickness=thickness)
    lost = (found == 0).all((1, 2))
    assert lost.sum() == round(severity * 0.4 * 120 / thickness) * thickness
    assert (lost.reshape(-1, thickness).sum(1) % thickness == 0).all()
    assert np.array_equal(found[~lost], np.asarray(bright())[~lost])


def test_more_severity_adds_lines_and_moves_none() -> None:
    fewer, more = ((apply("line_dropout", bright(), severity) == 0).all((1, 2)) for severity in (0.4, 0.9))
    assert fewer.any() and not (fewer & ~more).any() and more.sum() > fewer.sum()


def test_columns_are_rows_of_the_turned_picture() -> None:
    image = bright()
    turned = Image.fromarray(np.ascontiguousarray(np.asarray(image).swapaxes(0, 1)))
    assert np.array_equal(apply("line_dropout", image, axis="columns").swapaxes(0, 1), apply("line_dropout", turned))


def test_short_lines_have_their_length() -> None:
    lost = (apply("line_dropout", bright(), thickness=1, length=0.4) == 0).all(2)
    rows = lost[lost.any(1)]
    assert (np.abs(rows.sum(1) - 36) <= 1).all() and (np.abs(np.diff(rows.astype(int), axis=1)).sum(1) <= 2).all()
    assert len({int(row.argmax()) for row in rows}) > 3


def test_neighbours_fill_from_the_line_before() -> None:
    image = bright()
    found, lost = apply("line_dropout", image, fill="neighbour"), (apply("line_dropout", image) == 0).all((1, 2))
    for row in np.flatnonzero(lost):
        before = [other for other in range(row) if not lost[other]]
        source = before[-1] if before else np.flatnonzero(~lost)[0]
        assert np.array_equal(found[row], np.asarray(image)[source])


@pytest.mark.parametrize("name", ["line_dropout", "region_dropout"])
def test_the_mean_fills_with_the_mean(name: str) -> None:
    image = photograph("coffee")
    pixels, found = np.asarray(image), apply(name, image, fill="mean")
    changed = found[(found != pixels).any(2)]
    assert (changed == np.rint(pixels.mean((0, 1)))).all() and len(changed) > 1000


@pytest.mark.parametrize("name", ["line_dropout", "region_dropout"])
def test_noise_fills_with_every_value(name: str) -> None:
    found = apply(name, Image.new("RGB", (200, 200)), fill="noise")
    noise = found[found.any(2)]
    assert noise.mean() == pytest.approx(127.5, abs=3) and noise.std() == pytest.approx(256 / 12**0.5, rel=0.03)


def test_one_hole_is_a_rectangle_of_its_size() -> None:
    for seed in range(10):
        rows, columns = np.nonzero((apply("region_dropout", bright(), seed=seed, count=1, size=0.5) == 0).all(2))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert rows.size == height * width
        assert height <= 0.5 * 120 + 1 and width <= 0.5 * 90 + 1


def test_holes_grow_from_their_centres() -> None:
    small, large = ((apply("region_dropout", bright(), severity) == 0).all(2) for severity in (0.25, 1.0))
    assert not (small & ~large).any()
    assert large.sum() / small.sum() == pytest.approx(4, rel=0.5)  # overlap and the border cost some


def test_neighbours_smear_from_the_left() -> None:
    image = bright()
    hole = (apply("region_dropout", image, count=1) == 0).all(2)
    found = apply("region_dropout", image, count=1, fill="neighbour")
    rows, columns = np.nonzero(hole)
    assert columns.min() > 0, "the seed puts the hole at the border"
    assert np.array_equal(found[rows, columns], np.asarray(image)[rows, columns.min() - 1])
