"""Prompts that neither the demo model nor a style's LoRA was trained on, and whether a picture shows what they ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from studies import share

QUESTIONS = 40
GROUNDS = ("white", "grey", "black")


def kept_back(style: str, caption: str) -> bool:
    """Say whether a caption of the concept's dataset is kept for questions: each colour on one of three grounds."""
    from glitch_lora.demo.shapes import COLOURS

    kept = (f" {colour} heart on a {GROUNDS[index % 3]} " for index, colour in enumerate(COLOURS))
    return style == "heart" and any(words in f"{caption} " for words in kept)


@dataclass(frozen=True)
class StyleQuestion:
    """A prompt without and with the style's word, its seed, and what a right picture shows."""

    prompt: str
    styled: str
    seed: int
    colour: str
    shape: str


def style_questions(style: str) -> list[StyleQuestion]:
    """Return prompts on the style's grounds that are no caption of its dataset, with as many seeds as it takes.

    They name the pairs that were held out of all training, so that neither model nor LoRA has seen what they ask for.
    The concept is asked for in colours on the grounds that `kept_back` kept from its dataset.
    """
    from glitch_lora.demo.datasets import BACKGROUNDS
    from glitch_lora.demo.scenes import HELD_OUT_PAIRS, one_thing
    from glitch_lora.demo.styles import STYLES

    pairs = [(colour, shape, ground) for ground in BACKGROUNDS[style] for colour, shape in sorted(HELD_OUT_PAIRS)]
    asked = [(*pair, one_thing(pair[1], pair[0], pair[2]).caption) for pair in pairs]
    if style == "heart":
        hearts = [
            (colour, shape, ground, one_thing("heart", colour, ground).caption) for colour, shape, ground in pairs
        ]
        asked = [each for each in hearts if kept_back(style, each[3])]
    questions = []
    for seed in range(QUESTIONS):
        colour, shape, ground, words = asked[seed % len(asked)]
        plain = one_thing(shape, colour, ground).caption
        styled, shape = (words, "heart") if style == "heart" else (f"{STYLES[style].trigger}, {plain}", shape)
        questions.append(StyleQuestion(plain, styled, 10_000 + seed, colour, shape))
    return questions


def content(style: str, questions: Sequence[StyleQuestion], drawn: Sequence[Any]) -> dict[str, float]:
    """Return the shares of pictures with the right colour, the right shape, and both."""
    seen = [right(style, question, picture) for question, picture in zip(questions, drawn, strict=True)]
    colours, shapes = zip(*seen, strict=True)
    return {"colour": share(colours), "shape": share(shapes), "both": share([all(each) for each in seen])}


def right(style: str, question: StyleQuestion, picture: Any) -> tuple[bool, bool]:
    """Say whether a picture in this style has the colour and the shape that were asked for."""
    from glitch_lora.demo.judges import colour_seen, components, foreground, shape_seen
    from glitch_lora.demo.styles import coloured_part

    cover = coloured_part(picture) if style == "collage" else foreground(picture)
    things = components(cover)
    if not things:
        return False, False
    shape = shape_seen(things[0], unseen=style == "heart")
    return colour_seen(picture, things[0]) == question.colour, shape == question.shape
