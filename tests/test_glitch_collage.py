"""What scissors do. Oracle: pictures of one known colour each, counted in the result."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image

COLOURS = ["red", "lime", "blue", "yellow", "cyan"]


def damaged(image: Image.Image, severity: float = 1.0, seed: int = 3, context=None, **values) -> np.ndarray:
    return np.asarray(find_operation("collage").apply(image, generator(seed), severity, context, **values))


def company(size: tuple[int, int] = (128, 128), place: int = 0) -> tuple[Image.Image, Context]:
    others = [Image.new("RGB", size, colour) for colour in COLOURS]
    return others[place], Context(others, place)


def seen(pixels: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(map(int, colour)) for colour in np.unique(pixels.reshape(-1, 3), axis=0)}


def test_patches_come_from_the_others_and_from_no_more_than_asked() -> None:
    image, context = company()
    for sources in (1, 2, 4):
        found = seen(damaged(image, context=context, shape="rectangle", tilt=0, sources=sources, patches=40, size=0.3))
        assert len(found - {(255, 0, 0)}) == sources


def test_torn_patches_show_their_paper() -> None:
    image, context = company()
    paper = (0xF4, 0xF0, 0xE6)
    assert paper in seen(damaged(image, context=context))
    assert paper not in seen(damaged(image, context=context, shape="rectangle"))


@pytest.mark.parametrize("shape", ["torn", "rectangle"])
def test_what_is_pasted_stays_while_more_is_pasted(shape: str) -> None:
    """Patches are added in order, so what half of them cover is covered by all of them."""
    image, context = company((200, 150))
    covered = [
        (damaged(image, severity, context=context, shape=shape, sources=1) != (255, 0, 0)).any(axis=-1)
        for severity in (0.25, 0.5, 0.75, 1.0)
    ]
    for fewer, more in zip(covered, covered[1:], strict=False):
        assert more.sum() > fewer.sum() and (fewer & ~more).mean() < 0.002  # the growing one's edge may differ


def test_a_patch_is_as_large_as_asked() -> None:
    image, context = company((400, 400))
    found = [
        (damaged(image, seed=seed, context=context, shape="rectangle", tilt=0, patches=1, size=0.1) != (255, 0, 0))
        .any(axis=-1)
        .sum()
        for seed in range(60)
    ]
    assert np.median(found) == pytest.approx(40 * 40, rel=0.3)


def test_alone_it_cuts_up_itself() -> None:
    """No colour is there that was not, and a patch is a mirrored or turned part of the picture."""
    image = photograph("coffee").quantize(16).convert("RGB").resize((120, 120), Image.Resampling.NEAREST)
    values = {"shape": "rectangle", "tilt": 0, "size": 1.0, "patches": 64}
    found = damaged(image, **values)
    assert not np.array_equal(found, np.asarray(image))
    flipped = [
        np.asarray(image.transpose(turn)) for turn in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90)
    ]
    assert any((found == part).all(axis=-1).mean() > 0.02 for part in flipped)


def test_company_of_any_size_and_mode_will_do() -> None:
    others = [photograph("coffee").resize((64, 64)), Image.new("L", (1, 1)), Image.new("RGBA", (3, 500))]
    assert damaged(others[0], context=Context(others, 0)).shape == (64, 64, 3)
