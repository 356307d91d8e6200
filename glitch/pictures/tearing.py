"""Bands of a picture torn sideways."""

import numpy as np
from PIL import Image

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
    pixels = np.asarray(image)
    if axis == "columns":
        pixels = pixels.swapaxes(0, 1)
    lines, length = pixels.shape[:2]
    offsets = np.rint(_torn(lines, slices, height, rng) * severity * shift * length).astype(int)
    torn = shifted_rows(pixels, offsets, edge)
    return Image.fromarray(np.ascontiguousarray(torn if axis == "rows" else torn.swapaxes(0, 1)))


def shifted_rows(pixels: np.ndarray, offsets: np.ndarray, edge: str) -> np.ndarray:
    """Return a copy of pixels (rows, columns, ...) with each row moved right by its whole number of places."""
    moved = pixels.copy()
    firsts = np.flatnonzero(np.diff(offsets, prepend=offsets[0] + 1)).tolist()
    for first, last in zip(firsts, [*firsts[1:], len(offsets)], strict=True):
        if offsets[first]:
            _shift(moved[first:last], pixels[first:last], int(offsets[first]), edge)
    return moved


def _shift(target: np.ndarray, source: np.ndarray, offset: int, edge: str) -> None:
    """Write source, moved right by `offset`, into target."""
    width = source.shape[1]
    if edge == "wrap":
        offset %= width
        target[:, :offset], target[:, offset:] = source[:, width - offset :], source[:, : width - offset]
        return
    offset = max(-width, min(width, offset))
    gap = target[:, :offset] if offset > 0 else target[:, width + offset :]
    gap[...] = 0 if edge == "black" else source[:, :1] if offset > 0 else source[:, -1:]
    if offset > 0:
        target[:, offset:] = source[:, : width - offset]
    else:
        target[:, : width + offset] = source[:, -offset:]


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
