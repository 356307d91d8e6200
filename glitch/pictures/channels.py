"""Colour channels out of place, or in another's place."""

import math

import numpy as np
from PIL import Image

from ..context import Context
from ..registry import Parameter, operation
from .tearing import EDGES, moved

_COLOURS = ("red", "green", "blue")
_ORDERS = ("RBG", "GRB", "GBR", "BRG", "BGR")
_FILLS = {"wrap": "wrap", "clamp": "edge", "black": "constant"}


def _way(colour: str, axis: str, default: int) -> Parameter:
    direction = "to the right" if axis == "x" else "downwards"
    return Parameter(f"{colour}_{axis}", default, f"How far {colour} moves {direction}", -64, 64, unit="px")


@operation(
    "colour",
    *(_way("red", "x", 8), _way("red", "y", 0), _way("green", "x", 0), _way("green", "y", 0)),
    *(_way("blue", "x", -8), _way("blue", "y", 0)),
    Parameter("rotation", 0.0, "Red is turned by this around the centre, blue the other way", -15, 15, 0.1, "degrees"),
    Parameter("scale", 0.0, "Red is enlarged by this, blue shrunk: fringes that grow outwards", -10, 10, 0.1, "%"),
    Parameter(
        "vary", 0.25, "Each channel goes up to this part farther or less far, drawn for each picture", 0, 1, 0.01
    ),
    Parameter("random_direction", False, "All shifts are turned by one angle, drawn for each picture"),
    Parameter("edge", "wrap", "What fills the gap: the other side, the border repeated, or black", choices=EDGES),
    tag="rgb",
    measured_by="misregistration",
)
def channel_shift(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    rotation: float,
    scale: float,
    vary: float,
    random_direction: bool,
    edge: str,
    **ways: int,
) -> Image.Image:
    """Channel shift: red, green and blue printed beside each other, with coloured fringes.

    Severity is the part of the way, of the rotation and of the enlargement; shifts are whole pixels.
    """
    turn, farther = rng.uniform(0, 2 * math.pi), rng.uniform(1 - vary, 1 + vary, 3)
    bands = []
    for place, sign in enumerate((1, 0, -1)):
        right, down = (severity * farther[place] * ways[f"{_COLOURS[place]}_{axis}"] for axis in "xy")
        way = _turned(right, down, turn if random_direction else 0.0)
        bands.append(
            _moved(image.getchannel(place), way, sign * severity * rotation, 1 + sign * severity * scale / 100, edge)
        )
    return Image.merge("RGB", bands)


@operation(
    "colour",
    Parameter(
        "action",
        "permute",
        "Reorder the channels, drop one, or replace one by the picture's luma or by another picture's channel",
        choices=("permute", "drop", "luma", "other picture"),
    ),
    Parameter("order", "random", "Where red, green and blue come from; random draws it", choices=(*_ORDERS, "random")),
    Parameter(
        "channel",
        "green",
        "The channel that is dropped or replaced; random draws it",
        choices=(*_COLOURS, "random"),
    ),
    Parameter("fill", 0.0, "Value of a dropped channel: 0 none of its colour, 1 all of it", 0, 1, 0.01),
    tag="swap",
    measured_by="colour_distance",
    wants_context=True,
)
def channel_swap(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    action: str,
    order: str,
    channel: str,
    fill: float,
) -> Image.Image:
    """Channel swap: red, green and blue exchanged, dropped or replaced, for false colour.

    Severity blends from the right colours to the wrong ones. A picture without company takes the channel from its own
    mirror image.
    """
    drawn_order, drawn_channel = _ORDERS[int(rng.integers(len(_ORDERS)))], int(rng.integers(3))
    bands = list(image.split())
    if action == "permute":
        source = drawn_order if order == "random" else order
        swapped = [bands["RGB".index(letter)] for letter in source]
    else:
        place = drawn_channel if channel == "random" else _COLOURS.index(channel)
        swapped = [*bands]
        swapped[place] = _replacement(image, place, action, fill, context, rng)
    return Image.blend(image, Image.merge("RGB", swapped), severity)


def _replacement(
    image: Image.Image, place: int, action: str, fill: float, context: Context, rng: np.random.Generator
) -> Image.Image:
    """Return the channel that takes a place."""
    if action == "drop":
        return Image.new("L", image.size, round(255 * fill))
    if action == "luma":
        return image.convert("L")
    return company(image, context, rng).getchannel(place)


def company(image: Image.Image, context: Context, rng: np.random.Generator) -> Image.Image:
    """Return another picture of the dataset, stretched to the size of this one, or its mirror image if it is alone."""
    other = context.stranger(rng)
    if other is None:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return other.convert("RGB").resize(image.size, Image.Resampling.BICUBIC)


def _turned(right: float, down: float, angle: float) -> tuple[int, int]:
    """Return a way turned by an angle in radians, rounded to whole pixels."""
    across, upright = math.cos(angle), math.sin(angle)
    return round(right * across - down * upright), round(right * upright + down * across)


def _moved(band: Image.Image, way: tuple[int, int], degrees: float, factor: float, edge: str) -> Image.Image:
    """Return a channel moved by whole pixels, then turned and enlarged around the centre."""
    if not degrees and factor == 1:
        return moved(band, *way, edge) if any(way) else band
    width, height = band.size
    reach = (abs(math.radians(degrees)) + abs(factor - 1)) / min(factor, 1) * math.hypot(width, height) / 2
    margin = max(abs(way[0]), abs(way[1])) + math.ceil(reach) + 1
    # Any of NumPy's ways to pad, chosen by name.
    wide = Image.fromarray(np.pad(np.asarray(band), margin, mode=_FILLS[edge]))  # type: ignore[call-overload]
    left, top = margin - way[0], margin - way[1]
    across, down = math.cos(math.radians(degrees)) / factor, math.sin(math.radians(degrees)) / factor
    x, y = width / 2, height / 2
    matrix = (across, down, left + x - across * x - down * y, -down, across, top + y + down * x - across * y)
    return wide.transform(band.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
