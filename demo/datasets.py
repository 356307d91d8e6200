"""Small datasets to train a LoRA on: one style, or the concept, over the colours and shapes the demo model knows.

Their content is drawn from the training's words and pairs, so what is new in them is the style. The pairs that were
held out of the model's training are held out here too, for questions afterwards.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..dataset.seeds import derive_seed, generator
from .scenes import HELD_OUT_PAIRS, SIZE, Scene, draw, one_thing
from .shapes import COLOURS
from .styles import STYLES

PLAIN = "plain"  # no style: what the demo model draws by itself, to be damaged, or to stand beside a style
DATASETS = (*STYLES, PLAIN)
# The grounds each style is drawn on. Particles and collage look the same on every ground, so their captions say white.
BACKGROUNDS: dict[str, tuple[str, ...]] = {
    "particles": ("white",),
    "halftone": ("white", "grey"),
    "collage": ("white",),
    "vhs": ("white", "grey", "black"),
    "heart": ("white", "grey", "black"),
    PLAIN: ("white", "grey", "black"),
}


@dataclass(frozen=True)
class DrawnPicture:
    """One picture [size, size, 3], 0..255, and its caption: its content in the training's words, without a trigger.

    The caption of the concept names it, because its name is its trigger.
    """

    pixels: NDArray[np.uint8]
    caption: str


def draw_dataset(style: str, count: int = 24, seed: int = 0, size: int = SIZE) -> list[DrawnPicture]:
    """Return the first `count` pictures of a style's dataset; any 7 in a row from the start show each colour once.

    Every picture is a function of style, seed, size and its place in the list, not of the count. Raises ValueError
    for an unknown style, a negative count and a size that is not a multiple of 64. The style "plain" has none.
    """
    if style not in DATASETS:
        raise ValueError(f"style: got {style!r}, allowed are {', '.join(DATASETS)}; pick one of them")
    if count < 0:
        raise ValueError(f"count: got {count}, allowed are 0 and more; ask for at least one picture")
    return [_drawn(style, index, seed, size) for index in range(count)]


def dataset_scene(style: str, index: int, seed: int = 0) -> Scene:
    """Return the content of picture `index` of a style's dataset: one solid thing on a plain background.

    Seven pictures show each colour and (but for the concept) each shape once, 42 each pair that is not held out; then
    the pairs come again in other places. Raises KeyError for an unknown style.
    """
    held_out = dict(HELD_OUT_PAIRS)
    colours = list(COLOURS)
    # One shape is held out per colour, each of another colour: going round them by 1 to 6 meets every other shape.
    block, place = divmod(index, len(colours))
    rounds = generator(seed, "rounds", block // (len(colours) - 1)).permutation(len(colours) - 1) + 1
    colour = int(generator(seed, "colours", block).permutation(len(colours))[place])
    other = colours[(colour + int(rounds[block % len(rounds)])) % len(colours)]
    shape = "heart" if style == "heart" else held_out[other]
    background = BACKGROUNDS[style][index % len(BACKGROUNDS[style])]
    return one_thing(shape, colours[colour], background, seed=derive_seed(seed, "scene", index))


def _drawn(style: str, index: int, seed: int, size: int) -> DrawnPicture:
    scene = dataset_scene(style, index, seed)
    if style == PLAIN:
        return DrawnPicture(draw(scene, size), scene.caption)
    pixels = STYLES[style].draw(scene, generator(seed, "picture", style, index), size)
    return DrawnPicture(pixels, scene.caption)
