"""Drawn scenes: the same seed draws the same picture, captions say what is there, and what is held out stays out."""

import itertools
import random

import numpy as np
import pytest
from glitch_lora.demo.questions import count_questions, single_questions
from glitch_lora.demo.scenes import (
    COUNTS,
    HELD_OUT_PAIRS,
    SIZE,
    TEXTURED_BACKGROUNDS,
    Scene,
    Thing,
    draw,
    one_thing,
    training_scene,
)
from glitch_lora.demo.shapes import COLOURS, SHAPES, UNSEEN_COLOURS, UNSEEN_SHAPES
from hypothesis import given
from hypothesis import strategies as st

MANY = [training_scene(seed) for seed in range(4000)]


@given(st.integers(0, 2**63 - 1))
def test_a_scene_is_a_function_of_its_seed(seed):
    state = random.getstate()
    first, second = training_scene(seed), training_scene(seed)
    assert first == second
    picture = draw(first)
    assert np.array_equal(picture, draw(second))
    assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8
    assert random.getstate() == state, "Python's global generator moved"


def test_held_out_pairs_and_words_are_never_drawn_or_said():
    drawn = {(thing.colour, thing.shape) for scene in MANY for thing in scene.things}
    assert not drawn & HELD_OUT_PAIRS
    assert drawn == set(itertools.product(COLOURS, SHAPES)) - HELD_OUT_PAIRS, "every other pair is known"
    said = {word for scene in MANY for word in scene.caption.split()}
    plurals = {shape.plural for shape in UNSEEN_SHAPES.values()}
    assert not said & (UNSEEN_SHAPES.keys() | UNSEEN_COLOURS.keys() | plurals)


def test_every_colour_and_shape_has_a_held_out_pair_of_its_own():
    assert {colour for colour, _ in HELD_OUT_PAIRS} == COLOURS.keys()
    assert {shape for _, shape in HELD_OUT_PAIRS} == SHAPES.keys()


def test_captions_say_what_is_drawn():
    for scene in MANY:
        words = scene.caption.split()
        for thing in scene.things:
            plural = SHAPES[thing.shape].plural
            assert thing.shape in words or plural in words, scene
            assert thing.colour in words or len(scene.things) == 1, scene
        if any(SHAPES[thing.shape].plural in words for thing in scene.things):
            assert COUNTS[len(scene.things)] in words
        assert " a o" not in f" {scene.caption}", scene.caption


def test_relations_are_drawn_as_said():
    checked = 0
    for scene in MANY:
        if len(scene.things) == 2 and scene.things[0].shape != scene.things[1].shape:
            (x1, y1), (x2, y2) = scene.things[0].centre, scene.things[1].centre
            for words, holds in {
                " above ": y1 < y2,
                " below ": y1 > y2,
                "to the left of": x1 < x2,
                "to the right of": x1 > x2,
            }.items():
                if words in scene.caption:
                    checked += 1
                    assert holds, scene
    assert checked > 100


def test_pictures_scale_with_the_canvas():
    """A picture at twice the size, averaged down, is the picture: places and sizes are fractions of the side."""
    for shape, background in itertools.product(SHAPES, ("white", "sunset")):
        scene = one_thing(shape, "red", background)
        large = draw(scene, 128).reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(large - draw(scene, 64)).mean() < 2


def test_a_striped_thing_shows_the_background_between_its_stripes():
    solid, striped = (draw(Scene((Thing("square", "red", fill=fill),), "white", "")) for fill in ("solid", "striped"))
    whites = [(picture.min(axis=2) > 240).mean() for picture in (solid, striped)]
    red_part = 1 - whites[0]
    assert whites[1] == pytest.approx(whites[0] + red_part / 2, abs=0.05)


def test_half_of_the_questions_ask_for_what_training_never_drew():
    questions = single_questions()
    assert len(questions) == len({(question.prompt, question.seed) for question in questions}) == 200
    assert sum(question.held_out for question in questions) == 100
    assert all(((question.colour, question.shape) in HELD_OUT_PAIRS) == question.held_out for question in questions)
    assert {question.colour for question in questions} == COLOURS.keys()
    assert any(word in question.prompt for question in questions for word in TEXTURED_BACKGROUNDS)
    assert all(COUNTS[question.count] in question.prompt.split() for question in count_questions())
