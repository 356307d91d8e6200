"""Scenes of shapes with captions in plain words: what the demo model is trained on and asked for.

A scene is a function of a seed; its picture is a function of the scene. Some pairs of colour and shape
and some words are held out of training, so that asking for them is a question and not a memory.
"""

import random
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .shapes import COLOURS, GREYS, SHAPES, UNSEEN_COLOURS, UNSEEN_SHAPES, Colour, Mask, Point

SIZE = 64

# Each colour and each shape is known from other pairs; these pairs are never drawn for training.
HELD_OUT_PAIRS: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "star"),
        ("orange", "square"),
        ("yellow", "cross"),
        ("green", "ring"),
        ("blue", "triangle"),
        ("purple", "circle"),
        ("pink", "diamond"),
    }
)
FILLS = ("solid", "striped", "outlined", "blurry")
TEXTURED_BACKGROUNDS = ("sunset", "night", "checkered")
COUNTS = {2: "two", 3: "three", 4: "four"}
RELATIONS = ("above", "below", "left of", "right of")

_PHRASES = {
    "sunset": ("in front of a sunset", "at sunset"),
    "night": ("in the night sky", "at night"),
    "checkered": ("on a checkered background", "on a checkered floor"),
}
_PLACES: dict[str, Point] = {
    "on the left": (0.27, 0.5),
    "on the right": (0.73, 0.5),
    "at the top": (0.5, 0.27),
    "at the bottom": (0.5, 0.73),
}
_SPREADS: dict[int, list[Point]] = {
    2: [(0.28, 0.5), (0.72, 0.5)],
    3: [(0.5, 0.27), (0.27, 0.72), (0.73, 0.72)],
    4: [(0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)],
}
_OPENINGS = ("", "", "", "a picture of ", "a drawing of ", "there is ")
_PALETTE = COLOURS | GREYS | UNSEEN_COLOURS
_OUTLINES = SHAPES | UNSEEN_SHAPES


@dataclass(frozen=True)
class Thing:
    """One shape in a scene.

    shape, colour: keys of shapes and colours. centre: (x, y) and radius: as fractions of the picture's side.
    angle: clockwise, degrees. fill: one of `FILLS`.
    """

    shape: str
    colour: str
    centre: Point = (0.5, 0.5)
    radius: float = 0.28
    angle: float = 0.0
    fill: str = "solid"


@dataclass(frozen=True)
class Scene:
    """Things on a background (a colour's name or one of `TEXTURED_BACKGROUNDS`), and the words for them."""

    things: tuple[Thing, ...]
    background: str
    caption: str


def training_scene(seed: int) -> Scene:
    """Return the scene of this seed: 60 % one thing, 22 % two, 18 % two to four of a kind; no held-out pair."""
    source = random.Random(seed)
    kind = source.random()
    if kind < 0.60:
        return _one(source)
    return _two(source) if kind < 0.82 else _several(source)


def draw(scene: Scene, size: int = SIZE) -> NDArray[np.uint8]:
    """Return the picture [size, size, 3] of a scene; the same scene gives the same pixels."""
    canvas = _background(scene.background, size)
    for thing in scene.things:
        mask = _mask(thing, size)[..., None]
        canvas = canvas * (1 - mask) + np.array(_PALETTE[thing.colour], np.float32) * mask
    return (canvas + 0.5).clip(0, 255).astype(np.uint8)


def mask_of(shape: str, size: int, centre: Point, radius: float, angle: float) -> Mask:
    """Return the coverage [size, size] of a known or unseen shape; centre and radius in pixels."""
    return _OUTLINES[shape].mask(size, centre, radius, angle)


def colour_of(name: str) -> Colour:
    """Return the RGB of a colour's name, 0..255."""
    return _PALETTE[name]


def one_thing(shape: str, colour: str, background: str, seed: int = 0) -> Scene:
    """Return a single solid shape near the middle, its exact place, size and turn from the seed; pairs are free."""
    source = random.Random(f"{seed} {shape} {colour} {background}")
    thing = _jittered(source, Thing(shape, colour))
    words = f"{_article(colour)} {colour} {shape} {background_words(background)}"
    return Scene((thing,), background, words)


def background_words(background: str) -> str:
    """Return the plainest words for a background."""
    return _PHRASES[background][0] if background in _PHRASES else f"on {_article(background)} {background} background"


def _mask(thing: Thing, size: int) -> Mask:
    shape = _OUTLINES[thing.shape]
    centre = (thing.centre[0] * size, thing.centre[1] * size)
    radius = thing.radius * size
    if thing.fill == "outlined":
        return shape.mask(size, centre, radius, thing.angle, line=0.045 * size)
    mask = shape.mask(size, centre, radius, thing.angle)
    if thing.fill == "striped":
        rows = np.arange(size) - centre[1]
        return mask * ((rows // (size / 16)) % 2 == 0)[:, None].astype(np.float32)
    if thing.fill == "blurry":
        blurred = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.04 * size))
        return np.asarray(blurred, np.float32) / np.float32(255)
    return mask


def _background(name: str, size: int) -> NDArray[np.float32]:
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    if name == "sunset":
        top, bottom = np.array((90, 50, 120), np.float32), np.array((255, 175, 90), np.float32)
        return np.repeat((top + (bottom - top) * ramp[:, None])[:, None], size, axis=1)
    if name == "night":
        return _night(size)
    if name == "checkered":
        cell = (np.arange(size) // (size // 8)) % 2
        return np.where((cell[:, None] ^ cell[None, :])[..., None] == 1, 205.0, 165.0).repeat(3, 2).astype(np.float32)
    return np.full((size, size, 3), _PALETTE[name], np.float32)


def _night(size: int) -> NDArray[np.float32]:
    """A dark sky whose stars stand in the same places at every size."""
    canvas = np.full((size, size, 3), (14, 18, 48), np.float32)
    stars = random.Random(0)
    dot = max(1, size // 64)
    for _ in range(26):
        x, y = int(stars.random() * (size - dot)), int(stars.random() * (size - dot))
        canvas[y : y + dot, x : x + dot] = 150 + 105 * stars.random()
    return canvas


def _one(source: random.Random) -> Scene:
    colour, shape = _pair(source)
    background = _some_background(source, {colour})
    thing = _jittered(source, Thing(shape, colour, fill=_some_fill(source)))
    thing, size_word = _sized(source, thing)
    place_word = ""
    if source.random() < 0.3:
        place_word, centre = source.choice(list(_PLACES.items()))
        wobble = (source.uniform(-0.03, 0.03), source.uniform(-0.03, 0.03))
        radius = min(thing.radius, 0.22)
        size_word = "" if size_word == "large" else size_word
        thing = replace(thing, centre=(centre[0] + wobble[0], centre[1] + wobble[1]), radius=radius)
    named_colour = "" if source.random() < 0.04 else colour
    phrase = _noun_phrase(named_colour, shape, thing.fill, size_word)
    return Scene((thing,), background, _sentence(source, [phrase, place_word], background))


def _two(source: random.Random) -> Scene:
    first, second = _pair(source), _pair(source)
    while second == first:
        second = _pair(source)
    background = _some_background(source, {first[0], second[0]})
    relation = source.choice(RELATIONS)
    upright = relation in ("above", "below")
    ends = [(0.5, 0.27), (0.5, 0.73)] if upright else [(0.27, 0.5), (0.73, 0.5)]
    if relation in ("below", "right of"):
        ends.reverse()
    things = tuple(
        _jittered(source, Thing(shape, colour, centre, 0.18), wander=0.025)
        for (colour, shape), centre in zip((first, second), ends, strict=True)
    )
    words = {"left of": "to the left of", "right of": "to the right of"}.get(relation, relation)
    if source.random() < 0.3:
        words = "and"
    phrases = [_noun_phrase(*first), words, _noun_phrase(*second)]
    return Scene(things, background, _sentence(source, phrases, background))


def _several(source: random.Random) -> Scene:
    colour, shape = _pair(source)
    count = source.choice(list(COUNTS))
    background = _some_background(source, {colour})
    things = tuple(_jittered(source, Thing(shape, colour, centre, 0.15), wander=0.025) for centre in _SPREADS[count])
    phrase = f"{COUNTS[count]} {colour} {_OUTLINES[shape].plural}"
    return Scene(things, background, _sentence(source, [phrase], background).replace("there is", "there are"))


def _jittered(source: random.Random, thing: Thing, wander: float = 0.06) -> Thing:
    return replace(
        thing,
        centre=(
            thing.centre[0] + source.uniform(-wander, wander),
            thing.centre[1] + source.uniform(-wander, wander),
        ),
        radius=thing.radius * source.uniform(0.9, 1.1),
        angle=source.uniform(-8, 8),
    )


def _sized(source: random.Random, thing: Thing) -> tuple[Thing, str]:
    draw_of_size = source.random()
    if draw_of_size < 0.15:
        return replace(thing, radius=source.uniform(0.13, 0.16)), "small"
    if draw_of_size < 0.3:
        return replace(thing, radius=source.uniform(0.37, 0.41)), "large"
    return thing, ""


def _pair(source: random.Random) -> tuple[str, str]:
    while True:
        pair = source.choice(list(COLOURS)), source.choice(list(SHAPES))
        if pair not in HELD_OUT_PAIRS:
            return pair


def _some_fill(source: random.Random) -> str:
    return "solid" if source.random() < 0.8 else source.choice(FILLS[1:])


def _some_background(source: random.Random, taken: set[str]) -> str:
    kind = source.random()
    if kind < 0.65:
        return source.choice(("white", "white", "black", "grey"))
    if kind < 0.80:
        return source.choice([colour for colour in COLOURS if colour not in taken])
    return source.choice(TEXTURED_BACKGROUNDS)


def _noun_phrase(colour: str, shape: str, fill: str = "solid", size_word: str = "") -> str:
    words = [word for word in (size_word, "" if fill == "solid" else fill, colour, shape) if word]
    return f"{_article(words[0])} {' '.join(words)}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _sentence(source: random.Random, parts: list[str], background: str) -> str:
    words = [*parts]
    if source.random() >= 0.1:
        if background in _PHRASES:
            words.append(source.choice(_PHRASES[background]))
        else:
            words.append(source.choice((f"on {_article(background)} {background} background", f"on {background}")))
    return source.choice(_OPENINGS) + " ".join(word for word in words if word)
