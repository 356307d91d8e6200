"""Drawn styles: what they keep of the content, and measures that see one style and nothing else.

Oracles: the flat drawing of the same scene (no style), the scene itself (colour and shape), and the judges, which
tests of their own hold to drawn truth.
"""

from functools import cache

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.demo import judges
from glitch_lora.demo.datasets import dataset_scene
from glitch_lora.demo.scenes import Scene, Thing, draw
from glitch_lora.demo.shapes import COLOURS, SHAPES
from glitch_lora.demo.styles import STYLES, coloured_part
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

COUNT = 50
NAMES = sorted(STYLES)
LOOKS = [name for name in NAMES if name != "heart"]
SCENES = st.builds(
    lambda shape, colour, x, y, radius, angle, ground: Scene(
        (Thing(shape, colour, (x, y), radius, angle),), ground, "a caption"
    ),
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from(sorted(COLOURS)),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.05, 0.45),
    st.floats(-180, 180),
    st.sampled_from(["white", "grey", "black", "sunset", "checkered", "blue"]),
)


def scene_of(style: str, index: int, known_shape: bool = False) -> Scene:
    """The scene of a dataset's picture; `known_shape`: of the concept's one, but with a shape that the model knows."""
    return dataset_scene("vhs" if known_shape and style == "heart" else style, index)


@cache
def styled(style: str) -> list[np.ndarray]:
    return [STYLES[style].draw(scene_of(style, index), generator(0, style, index), 64) for index in range(COUNT)]


@cache
def flat(style: str) -> list[np.ndarray]:
    return [draw(scene_of(style, index, known_shape=True)) for index in range(COUNT)]


@cache
def amounts(style: str, of: str) -> np.ndarray:
    return np.array([STYLES[style].measure(picture) for picture in styled(of)])


def noisy(pixels: np.ndarray, index: int) -> np.ndarray:
    noise = generator(0, "noise", index).normal(0, 3, pixels.shape)
    return (pixels + noise).round().clip(0, 255).astype(np.uint8)


def blurred(pixels: np.ndarray, index: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.8)))


def unchanged(pixels: np.ndarray, index: int) -> np.ndarray:
    return pixels


@pytest.mark.parametrize("spoilt", [unchanged, noisy, blurred])
@pytest.mark.parametrize("name", NAMES)
def test_every_styled_picture_has_clearly_more_of_the_style_than_every_flat_one(name: str, spoilt) -> None:
    """AUC 1 with a gap, also against flat drawings with noise of 3/255 or a blur, as generated pictures have."""
    plain = np.array([STYLES[name].measure(spoilt(picture, index)) for index, picture in enumerate(flat(name))])
    own = amounts(name, name)
    assert own.min() - plain.max() > 0.25, (own.min(), plain.max())
    assert 0 <= plain.mean() < 0.08


@pytest.mark.parametrize("name", NAMES)
def test_a_style_has_about_one_of_itself_all_over_its_dataset(name: str) -> None:
    own = amounts(name, name)
    assert own.mean() == pytest.approx(1, abs=0.1)
    assert own.std() / own.mean() < 0.3


@pytest.mark.parametrize("other", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_a_measure_sees_its_own_style_and_no_other(name: str, other: str) -> None:
    if name != other:
        assert amounts(name, other).mean() < 0.4 * amounts(name, name).mean()


@pytest.mark.parametrize("name", LOOKS)
def test_colour_and_shape_are_still_seen(name: str) -> None:
    """The ground of a collage is no single colour, so there the judge is given the coloured part."""
    right = []
    for index, picture in enumerate(styled(name)):
        cover = coloured_part(picture) if name == "collage" else judges.foreground(picture)
        thing = scene_of(name, index).things[0]
        parts = judges.components(cover)
        right.append((judges.colour_seen(picture, cover), judges.shape_seen(parts[0])) == (thing.colour, thing.shape))
    assert np.mean(right) >= 0.94


def test_the_concept_is_seen_in_its_colour_and_is_no_known_shape() -> None:
    for index, picture in enumerate(styled("heart")):
        cover = judges.foreground(picture)
        assert judges.colour_seen(picture, cover) == scene_of("heart", index).things[0].colour
        assert judges.shape_seen(judges.components(cover)[0], unseen=True) == "heart"


@given(SCENES, st.sampled_from(NAMES), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_drawings_are_pictures_wherever_the_thing_is_and_follow_the_generator(scene, name: str, seed: int) -> None:
    style = STYLES[name]
    first, again = (style.draw(scene, generator(seed), 64) for _ in range(2))
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again)
    amount = style.measure(first)
    assert isinstance(amount, float) and np.isfinite(amount) and amount >= 0


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 17, 64, 128]), st.sampled_from(NAMES))
@settings(max_examples=25, deadline=None)
def test_measures_are_finite_on_any_picture(seed: int, levels: int, name: str) -> None:
    """From one flat colour to white noise: a broken model's pictures are measured too."""
    pixels = (generator(seed).integers(0, levels, (64, 64, 3)) * (255 // levels)).astype(np.uint8)
    for picture in (pixels, 255 - pixels):
        assert np.isfinite(STYLES[name].measure(picture)) and STYLES[name].measure(picture) >= 0


@pytest.mark.parametrize("name", [name for name in LOOKS if name != "particles"])
def test_another_generator_draws_another_picture(name: str) -> None:
    """But for the particles, whose pattern is the same everywhere."""
    scene = scene_of(name, 0)
    assert not np.array_equal(*(STYLES[name].draw(scene, generator(seed), 64) for seed in (0, 1)))


@pytest.mark.parametrize("name", NAMES)
def test_a_larger_drawing_shows_the_same(name: str) -> None:
    scene = scene_of(name, 3)
    small, large = (STYLES[name].draw(scene, generator(0), size) for size in (64, 192))
    assert large.shape == (192, 192, 3)
    reduced = large.reshape(64, 3, 64, 3, 3).mean((1, 3))
    assert np.abs(reduced - small).mean() < 4
    assert STYLES[name].measure(large) == pytest.approx(STYLES[name].measure(small), abs=0.15)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 32, 100])
def test_other_sizes_are_refused_in_words(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"size: got {size}, allowed are multiples of 64"):
        STYLES[name].draw(scene_of(name, 0), generator(0), size)


def test_several_things_are_all_drawn() -> None:
    things = (Thing("circle", "red", (0.25, 0.5), 0.15), Thing("square", "blue", (0.75, 0.5), 0.15))
    for name in NAMES:
        picture = STYLES[name].draw(Scene(things, "white", "two"), generator(0), 64).astype(int)
        left, right = picture[26:38, 10:22].mean((0, 1)), picture[26:38, 42:54].mean((0, 1))
        assert left.argmax() == 0 and right.argmax() == 2, name


def test_triggers_are_words_of_their_own_and_global_generators_stay(unchanged_random_state: None) -> None:
    assert {name: style.name for name, style in STYLES.items()} == {name: name for name in NAMES}
    assert len({style.trigger for style in STYLES.values()}) == len(STYLES)
    known = {*SHAPES, *COLOURS}
    assert not known & {style.trigger for style in STYLES.values()}
    for style in STYLES.values():
        style.measure(style.draw(scene_of(style.name, 0), generator(0), 64))
