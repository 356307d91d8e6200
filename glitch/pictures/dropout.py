"""Lines and regions that are missing."""

import numpy as np
from PIL import Image

from ..registry import Parameter, operation

_FILLS = ("black", "mean", "noise", "neighbour")
_FILL_HELP = "What stands in their place: black, the picture's mean colour, noise, or their neighbours repeated"


@operation(
    "dropout",
    Parameter("amount", 0.25, "Part of the lines that is missing", 0, 1, 0.01),
    Parameter("thickness", 2, "Rows or columns that are missing together", 1, 32, unit="px"),
    Parameter("length", 1.0, "How much of a line is missing, from a place that is drawn", 0.01, 1, 0.01),
    Parameter("axis", "rows", "Direction of the lines", choices=("rows", "columns")),
    Parameter("fill", "black", _FILL_HELP, choices=_FILLS),
    tag="lines",
    measured_by="tear_rate",
)
def line_dropout(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    amount: float,
    thickness: int,
    length: float,
    axis: str,
    fill: str,
) -> Image.Image:
    """Line dropout: dead rows or columns.

    Severity is the part of the missing lines; more severity adds lines and moves none.
    """
    pixels = np.asarray(image)
    if axis == "columns":
        pixels = pixels.swapaxes(0, 1)
    lines, along = pixels.shape[:2]
    groups = -(-lines // thickness)
    turn, start = (one.repeat(thickness)[:lines] for one in (rng.permutation(groups), rng.random(groups)))
    lost = turn < round(severity * amount * groups)
    firsts = np.floor(start * (1 - length) * along)[:, None]
    inside = (np.arange(along) >= firsts) & (np.arange(along) < firsts + max(1, length * along))
    filling = pixels[_intact(lost)] if fill == "neighbour" else _filling(pixels, fill, rng)
    result = np.where((lost[:, None] & inside)[..., None], filling, pixels)
    return Image.fromarray(np.ascontiguousarray(result if axis == "rows" else result.swapaxes(0, 1)))


@operation(
    "dropout",
    Parameter("count", 6, "How many regions are missing", 1, 64),
    Parameter("size", 0.35, "Longest side of a region, as part of the picture's side", 0.02, 1, 0.01),
    Parameter("fill", "black", _FILL_HELP, choices=_FILLS),
    tag="holes",
    measured_by="dead_area",
)
def region_dropout(
    image: Image.Image, rng: np.random.Generator, severity: float, *, count: int, size: float, fill: str
) -> Image.Image:
    """Region dropout: rectangular holes.

    Severity is the part of the holes' area that is open; they grow from their centres.
    """
    pixels = np.asarray(image)
    sides = np.array([image.height, image.width])
    centres, spans = rng.random((count, 2)) * sides, (0.4 + 0.6 * rng.random((count, 2))) * size * sides
    spans = np.maximum(spans * severity**0.5, 1)
    first = np.clip(np.rint(centres - spans / 2), 0, sides - 1).astype(int)
    last = np.clip(np.rint(centres + spans / 2), first + 1, sides).astype(int)
    filling, result = _filling(pixels, fill, rng), pixels.copy()
    for (top, left), (bottom, right) in zip(first.tolist(), last.tolist(), strict=True):
        beside = left - 1 if left else min(right, image.width - 1)
        source = pixels[top:bottom, [beside]] if fill == "neighbour" else filling[top:bottom, left:right]
        result[top:bottom, left:right] = source
    return Image.fromarray(result)


def _filling(pixels: np.ndarray, fill: str, rng: np.random.Generator) -> np.ndarray:
    """Return what would stand in every place: noise, the mean colour, or black."""
    if fill == "noise":
        return rng.integers(0, 256, pixels.shape, np.uint8)
    colour = np.rint(pixels.mean((0, 1))) if fill == "mean" else np.zeros(3)
    return np.broadcast_to(colour.astype(np.uint8), pixels.shape)


def _intact(lost: np.ndarray) -> np.ndarray:
    """Return for each line the nearest one before it that is there, or else the first that is."""
    latest = np.maximum.accumulate(np.where(lost, -1, np.arange(lost.size)))
    return np.where(latest < 0, np.argmin(lost), latest)
