"""Damage by bending: the pixels stay what they were and go elsewhere."""

import math
from itertools import product

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from ..registry import Parameter, operation
from .displaced import EDGES, displaced
from .smooth_field import smooth_field

_BEYOND = Parameter("edges", "mirror", "What is seen where the bent picture ends", choices=EDGES)
_WORKING_SIDE = 192  # pixels; the motion of marbling is smooth, so it is worked out on a small picture


@operation(
    "warp",
    Parameter("amount", 0.08, "How far pixels move, typically; a part of the shorter side", 0.0, 0.5, 0.005),
    Parameter("size", 0.14, "Size of the bulges; a part of the shorter side", 0.02, 1.0, 0.01),
    _BEYOND,
    tag="melt",
    measured_by="distance",
    codecs=("scipy",),
)
def elastic_warp(
    image: Image.Image, rng: np.random.Generator, severity: float, *, amount: float, size: float, edges: str
) -> Image.Image:
    """Elastic warp: everything bulges and sags in its own direction, as if melted.

    Severity scales `amount`; the bulges stay where they are.
    """
    reach = severity * amount * min(image.size)
    right, down = (reach * smooth_field(rng, image.size, size) for _ in range(2))
    return displaced(image, right, down, edges)


@operation(
    "warp",
    Parameter("cells", 8, "Strips in each direction", 2, 20),
    Parameter("limit", 0.95, "How much wider or narrower a strip becomes at most; 1 leaves nothing", 0.0, 1.0, 0.05),
    tag="grid",
    measured_by="texture_distance",
)
def grid_warp(
    image: Image.Image, rng: np.random.Generator, severity: float, *, cells: int, limit: float
) -> Image.Image:
    """Grid warp: columns and rows are stretched and squeezed by turns; straight lines stay straight and get creases.

    Severity scales `limit`. The picture's border stays in place.
    """
    columns, rows = (_cuts(length, cells) for length in image.size)
    changes = rng.choice((-1.0, 1.0), (2, cells)) * rng.uniform(0.5, 1, (2, cells))
    bends = [_bent(cuts, severity * limit * change) for cuts, change in zip((columns, rows), changes, strict=True)]
    crossings = np.stack(np.meshgrid(*bends), axis=-1)
    mesh = [_pane(columns, rows, crossings, *place) for place in product(range(len(rows) - 1), range(len(columns) - 1))]
    return image.transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


@operation(
    "warp",
    Parameter("angle", 300, "How far the centre is turned", -1440, 1440, unit="degrees"),
    Parameter("radius", 0.9, "How far the swirl reaches; a part of the longer side", 0.1, 2.0, 0.05),
    Parameter("off_centre", 0.2, "How far from the middle the centre may lie; a part of each side", 0.0, 0.5, 0.05),
    _BEYOND,
    tag="swirl",
    measured_by="distance",
    codecs=("scipy",),
)
def swirl(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    angle: int,
    radius: float,
    off_centre: float,
    edges: str,
) -> Image.Image:
    """Swirl: the picture is twisted around a point, less and less with the distance.

    Severity scales `angle`. The turn falls by half for every tenth of the radius (as in scikit-image's swirl).
    """
    width, height = image.size
    across, along = 0.5 + off_centre * rng.uniform(-1, 1, 2)
    x = np.arange(width, dtype=np.float32) - np.float32(across * (width - 1))
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(along * (height - 1))
    fall = math.log(2) * radius * max(image.size) / 5
    turn = math.radians(severity * angle) * np.exp(-np.hypot(x, y) / np.float32(fall))
    sine, cosine = np.sin(turn), np.cos(turn)
    return displaced(image, cosine * x - sine * y - x, sine * x + cosine * y - y, edges)


@operation(
    "warp",
    Parameter("amplitude", 0.05, "How far pixels move at most; a part of the shorter side", 0.0, 0.5, 0.005),
    Parameter("period", 0.2, "Length of a wave; a part of the shorter side", 0.02, 2.0, 0.01),
    Parameter("moves", "rows", "What slides back and forth", choices=("rows", "columns", "both")),
    _BEYOND,
    tag="ripple",
    measured_by="distance",
    codecs=("scipy",),
)
def wave_warp(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    amplitude: float,
    period: float,
    moves: str,
    edges: str,
) -> Image.Image:
    """Wave warp: rows or columns slide back and forth in a sine wave, as under water.

    Severity scales `amplitude`.
    """
    width, height = image.size
    reach = severity * amplitude * min(image.size)
    phases = rng.uniform(0, 2 * np.pi, 2)
    pace = 2 * np.pi / max(2.0, period * min(image.size))
    right = reach * np.sin(pace * np.arange(height) + phases[0])[:, None] * (moves != "columns")
    down = reach * np.sin(pace * np.arange(width) + phases[1]) * (moves != "rows")
    return displaced(image, right, down, edges)


@operation(
    "warp",
    Parameter("amount", 0.1, "How far a pixel travels in all; a part of the longer side", 0.0, 1.0, 0.01),
    Parameter("passes", 10, "How often the moved picture moves itself again", 1, 30),
    Parameter("turns", 1.5, "Turns of the direction from the darkest to the brightest part", 0.0, 5.0, 0.1),
    Parameter("softness", 0.02, "Blur of the brightness that steers; a part of the longer side", 0.0, 0.2, 0.005),
    _BEYOND,
    tag="marble",
    measured_by="distance",
    draws=False,
    codecs=("scipy",),
)
def displacement_feedback(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    amount: float,
    passes: int,
    turns: float,
    softness: float,
    edges: str,
) -> Image.Image:
    """Displacement feedback: its own brightness steers the picture, again and again, until it flows as marbled paper.

    Severity scales `amount`.
    """
    small = image.convert("L")
    small.thumbnail((_WORKING_SIDE, _WORKING_SIDE), Image.Resampling.BOX)
    longer = max(small.size)
    steering = ImageOps.equalize(small).filter(ImageFilter.GaussianBlur(softness * longer))
    direction = np.asarray(steering, np.float32) * np.float32(2 * np.pi * turns / 255)
    step = severity * amount * longer / passes
    motion = _fed_back(step * np.stack((np.cos(direction), np.sin(direction))), passes) * (max(image.size) / longer)
    right, down = (Image.fromarray(part).resize(image.size, Image.Resampling.BICUBIC) for part in motion)
    return displaced(image, np.asarray(right), np.asarray(down), edges)


def _fed_back(step: np.ndarray, passes: int) -> np.ndarray:
    """Return the sum of all passes, of shape (2, height, width): how far right and down each pixel's source lies.

    A pass moves what all passes before it left, steered by what they left.
    """
    from scipy import ndimage

    grid = np.mgrid[0 : step.shape[1], 0 : step.shape[2]].astype(np.float64)
    motion = np.zeros_like(step)
    for _ in range(passes):
        places = grid + motion[::-1]
        motion = motion + np.stack([ndimage.map_coordinates(part, places, order=1, mode="reflect") for part in step])
    return motion


def _cuts(length: int, cells: int) -> np.ndarray:
    """Return where a side is cut into cells: whole pixels, fewer cells when the side has fewer pixels."""
    return np.unique(np.linspace(0, length, cells + 1).round().astype(int))


def _bent(cuts: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return where each strip's content begins and ends; change: -1 to 1, how much more or less of it is seen."""
    widths = np.diff(cuts) * (1 + change[: len(cuts) - 1])
    ends = np.concatenate([[0.0], np.cumsum(widths)])
    return ends * (cuts[-1] / ends[-1]) if ends[-1] else cuts.astype(float)


def _pane(
    columns: np.ndarray, rows: np.ndarray, crossings: np.ndarray, row: int, column: int
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return a cell as Pillow's mesh wants it: its box, and the corners of what fills it (NW, SW, SE, NE)."""
    box = (columns[column], rows[row], columns[column + 1], rows[row + 1])
    corners = [crossings[row + down, column + right] for down, right in ((0, 0), (1, 0), (1, 1), (0, 1))]
    return tuple(map(int, box)), tuple(float(part) for corner in corners for part in corner)
