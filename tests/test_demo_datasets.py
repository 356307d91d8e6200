"""Datasets of drawn styles: which pairs they show, their captions, and that a picture follows from its place.

Oracles: the list of held-out pairs, the words of the training's captions, and counting.
"""

from collections import Counter

import numpy as np
import pytest
from glitch_lora.demo.datasets import BACKGROUNDS, DATASETS, PLAIN, dataset_scene, draw_dataset
from glitch_lora.demo.scenes import HELD_OUT_PAIRS, draw, training_scene
from glitch_lora.demo.shapes import COLOURS, SHAPES
from glitch_lora.demo.styles import STYLES
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = st.sampled_from(sorted(STYLES))
QUICK = st.sampled_from(["halftone", "vhs", "heart"])
SEEDS = st.integers(0, 2**40)
TRAINING_WORDS = {word for seed in range(1000) for word in training_scene(seed).caption.split()}


@given(NAMES, SEEDS, st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_colours_shapes_and_backgrounds_are_balanced_at_every_count(style: str, seed: int, count: int) -> None:
    scenes = [dataset_scene(style, index, seed) for index in range(count)]
    seen = {"colour": COLOURS, "background": BACKGROUNDS[style]} | ({} if style == "heart" else {"shape": SHAPES})
    for what, names in seen.items():
        words = Counter(
            scene.background if what == "background" else getattr(scene.things[0], what) for scene in scenes
        )
        assert set(words) <= set(names)
        assert max(words.values()) - min(words.get(name, 0) for name in names) <= 1, what


@given(st.sampled_from(sorted(set(STYLES) - {"heart"})), SEEDS)
@settings(max_examples=20, deadline=None)
def test_42_pictures_show_every_pair_but_the_held_out_ones(style: str, seed: int) -> None:
    things = [dataset_scene(style, index, seed).things for index in range(42)]
    assert all(len(some) == 1 and some[0].fill == "solid" for some in things)
    pairs = {(some[0].colour, some[0].shape) for some in things}
    assert pairs == {(colour, shape) for colour in COLOURS for shape in SHAPES} - HELD_OUT_PAIRS


def test_pairs_come_again_in_other_places() -> None:
    pairs = [dataset_scene("vhs", index).things[0] for index in range(84)]
    assert len(set(pairs)) == 84
    assert Counter((thing.colour, thing.shape) for thing in pairs).most_common(1)[0][1] == 2


def test_held_out_pairs_name_every_colour_and_every_shape_once() -> None:
    """The order of the pairs rests on this; with other pairs held out the datasets would lack some or show them."""
    assert sorted(colour for colour, _ in HELD_OUT_PAIRS) == sorted(COLOURS)
    assert sorted(shape for _, shape in HELD_OUT_PAIRS) == sorted(SHAPES)


@given(NAMES, SEEDS, st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_captions_say_what_is_drawn_in_the_words_of_the_training(style: str, seed: int, index: int) -> None:
    scene = dataset_scene(style, index, seed)
    thing, words = scene.things[0], scene.caption.split()
    assert words[1:] == [thing.colour, thing.shape, "on", "a", scene.background, "background"]
    assert set(words) - TRAINING_WORDS == ({"heart"} if style == "heart" else set())
    assert style == "heart" or STYLES[style].trigger not in words


@given(QUICK, SEEDS, st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_a_picture_does_not_depend_on_the_count(style: str, seed: int, first: int, second: int) -> None:
    few, many = sorted((draw_dataset(style, count, seed) for count in (first, second)), key=len)
    for one, other in zip(few, many, strict=False):
        assert np.array_equal(one.pixels, other.pixels) and one.caption == other.caption


@pytest.mark.parametrize("style", sorted(DATASETS))
def test_pictures_are_64_pixels_different_and_follow_the_seed(style: str, unchanged_random_state: None) -> None:
    dataset = draw_dataset(style, 5, seed=3)
    assert all(picture.pixels.shape == (64, 64, 3) and picture.pixels.dtype == np.uint8 for picture in dataset)
    assert len({picture.pixels.tobytes() for picture in dataset}) == 5
    again, other = draw_dataset(style, 5, seed=3), draw_dataset(style, 5, seed=4)
    assert [picture.pixels.tobytes() for picture in again] == [picture.pixels.tobytes() for picture in dataset]
    assert not {picture.pixels.tobytes() for picture in other} & {picture.pixels.tobytes() for picture in dataset}


def test_the_concept_is_drawn_flat_as_in_the_training() -> None:
    dataset = draw_dataset("heart", 24)
    for index, picture in enumerate(dataset):
        assert np.array_equal(picture.pixels, draw(dataset_scene("heart", index)))
        assert "heart" in picture.caption.split()


def test_the_usual_dataset_has_24_pictures_and_other_sizes_show_the_same() -> None:
    assert len(draw_dataset("vhs")) == 24
    assert draw_dataset("vhs", 0) == []
    large = draw_dataset("vhs", 2, size=128)
    assert [picture.pixels.shape for picture in large] == [(128, 128, 3)] * 2
    assert [picture.caption for picture in large] == [picture.caption for picture in draw_dataset("vhs", 2)]


def test_what_cannot_be_drawn_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="style: got 'oil', allowed are particles, halftone, collage, vhs, h"):
        draw_dataset("oil")
    with pytest.raises(ValueError, match="count: got -1"):
        draw_dataset("vhs", -1)
    with pytest.raises(ValueError, match="size: got 100, allowed are multiples of 64"):
        draw_dataset("vhs", 1, size=100)


def test_plain_pictures_are_what_the_demo_model_was_trained_on() -> None:
    for index, picture in enumerate(draw_dataset(PLAIN, 6, seed=2)):
        scene = dataset_scene(PLAIN, index, 2)
        assert np.array_equal(picture.pixels, draw(scene)) and picture.caption == scene.caption
