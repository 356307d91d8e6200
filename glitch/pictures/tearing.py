"""Bands of a picture torn sideways."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageChops

from ..registry import Parameter, operation

EDGES = ("wrap", "clamp", "black")


@operation(
    "displacement",
    Parameter("slices", 12, "How many bands are torn", 1, 200),
    Parameter("height", 0.15, "Thickest band, as part of the picture's height", 0.01, 0.5, 0.01),
    Parameter("shift", 0.2, "Farthest that a band moves, as part of the picture's width", 0, 0.5, 0.01),
    Parameter("edge", "wrap", "What fills the gap: the other side, the border repeated, or black", choices=EDGES),
    Parameter(
        "axis", "rows", "Whether bands of rows move sideways, or of columns up and down", choices=("rows", "columns")
    ),
    tag="slice",
    measured_by="tear_rate",
)
def slice_displacement(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    slices: int,
    height: float,
    shift: float,
    edge: str,
    axis: str,
) -> Image.Image:
    """Slice displacement: bands of the picture torn to the left and right.

    Severity is the part of the way that the bands move. Where bands overlap, their shifts add up.
    """
    lines, length = (image.height, image.width) if axis == "rows" else image.size
    offsets = np.rint(_torn(lines, slices, height, rng) * severity * shift * length).astype(int)
    torn = image.copy()
    for first, last, offset in _bands(offsets):
        if offset and axis == "rows":
            torn.paste(moved(image.crop((0, first, image.width, last)), offset, 0, edge), (0, first))
        elif offset:
            torn.paste(moved(image.crop((first, 0, last, image.height)), 0, offset, edge), (first, 0))
    return torn


def moved(image: Image.Image, right: int, down: int, edge: str) -> Image.Image:
    """Return an image whose content is moved by whole pixels, what leaves it wrapped or lost."""
    if edge == "wrap":
        return ImageChops.offset(image, right, down)
    width, height = image.size
    if edge == "black":
        return image.crop((-right, -down, width - right, height - down))
    rows, columns = (np.clip(np.arange(side) - way, 0, side - 1) for side, way in ((height, down), (width, right)))
    return Image.fromarray(np.asarray(image)[rows][:, columns])


def shifted_rows(pixels: np.ndarray, offsets: np.ndarray, edge: str) -> np.ndarray:
    """Return a copy of pixels (rows, columns, ...) with each row moved right by a whole number of places.

    edge: "wrap" or "clamp".
    """
    width = pixels.shape[1]
    result = pixels.copy()
    for first, last, offset in _bands(offsets):
        if offset:
            columns = np.arange(width) - offset
            columns = columns % width if edge == "wrap" else np.clip(columns, 0, width - 1)
            result[first:last] = pixels[first:last, columns]
    return result


def _bands(offsets: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield the first line, the line after the last, and the offset of each run of lines with one offset."""
    firsts = np.flatnonzero(np.diff(offsets, prepend=offsets[0] + 1)).tolist()
    for first, last in zip(firsts, [*firsts[1:], len(offsets)], strict=True):
        yield first, last, int(offsets[first])


def _torn(lines: int, slices: int, height: float, rng: np.random.Generator) -> np.ndarray:
    """Return for each line the sum of its bands' shifts: the shift of a band is between 0.3 and 1, either way."""
    centre, size, strength, side = rng.random((4, slices))
    half = np.maximum(size * height * lines, 1) / 2
    first = np.clip(np.rint(centre * lines - half), 0, lines - 1).astype(int)
    last = np.clip(np.rint(centre * lines + half), first + 1, lines).astype(int)
    steps = np.zeros(lines + 1)
    shifts = np.where(side < 0.5, -1, 1) * (0.3 + 0.7 * strength)
    np.add.at(steps, first, shifts)
    np.add.at(steps, last, -shifts)
    return np.clip(np.cumsum(np.rint(steps * 1e6))[:lines] / 1e6, -1, 1)
