"""Prompts with known answers, to ask a model of shapes. Half of the single things are pairs it was never shown."""

import random
from dataclasses import dataclass

from .scenes import COUNTS, HELD_OUT_PAIRS, background_words, one_thing
from .shapes import COLOURS, SHAPES

_BACKGROUNDS = ("white", "black", "grey", "night", "sunset")


@dataclass(frozen=True)
class Question:
    """A prompt with the seed to draw it with, and what a right picture shows, on which background.

    held_out: the pair of colour and shape was in no training picture.
    """

    prompt: str
    seed: int
    colour: str
    shape: str
    count: int
    background: str
    held_out: bool


def single_questions(count: int = 200, seed: int = 1) -> list[Question]:
    """Return prompts for one thing each, every second one for a pair that was held out of training."""
    source = random.Random(seed)
    held_out = sorted(HELD_OUT_PAIRS)
    known = sorted({(colour, shape) for colour in COLOURS for shape in SHAPES} - HELD_OUT_PAIRS)
    questions = []
    for index in range(count):
        new = index % 2 == 0
        colour, shape = source.choice(held_out if new else known)
        background = source.choice(_BACKGROUNDS)
        prompt = one_thing(shape, colour, background).caption
        questions.append(Question(prompt, source.getrandbits(32), colour, shape, 1, background, new))
    return questions


def count_questions(count: int = 60, seed: int = 2) -> list[Question]:
    """Return prompts for two, three and four of a kind on plain backgrounds, pairs known."""
    source = random.Random(seed)
    known = sorted({(colour, shape) for colour in COLOURS for shape in SHAPES} - HELD_OUT_PAIRS)
    questions = []
    for index in range(count):
        colour, shape = source.choice(known)
        number = sorted(COUNTS)[index % len(COUNTS)]
        words = f"{COUNTS[number]} {colour} {SHAPES[shape].plural}"
        background = source.choice(_BACKGROUNDS[:3])
        prompt = f"{words} {background_words(background)}"
        questions.append(Question(prompt, source.getrandbits(32), colour, shape, number, background, False))
    return questions
