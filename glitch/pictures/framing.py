"""Damage by framing: the wrong shape, the wrong part, the wrong way up."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..registry import Parameter, operation

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_FILTER = Parameter("resampling", "bilinear", "How pixels between pixels are found", choices=tuple(_FILTERS))


@operation(
    "framing",
    Parameter("ratio", 3.0, "How much flatter everything becomes; below 1: taller", 0.1, 10.0, 0.05),
    Parameter(
        "mode",
        "stretch",
        "stretch: distorted, its ends lost. cover-crop: enlarged and cut, not distorted. contain-pad: distorted and "
        "whole, with black bars. tile: distorted and whole, repeated",
        choices=("stretch", "cover-crop", "contain-pad", "tile"),
    ),
    _FILTER,
    tag="stretch",
    measured_by="texture_distance",
    draws=False,
)
def stretch(
    image: Image.Image, rng: np.random.Generator, severity: float, *, ratio: float, mode: str, resampling: str
) -> Image.Image:
    """Stretch: the picture was forced into a frame of another shape.

    Severity moves the ratio from 1 to `ratio` on a logarithmic scale.
    """
    width, height = image.size
    factor = ratio**severity
    part = (width / max(1.0, factor), height * min(1.0, factor))
    if mode == "contain-pad" or mode == "tile":
        squashed = (max(1, round(width * min(1.0, factor))), max(1, round(height / max(1.0, factor))))
        return _repeated(image.resize(squashed, _FILTERS[resampling]), image.size, tiled=mode == "tile")
    if mode == "cover-crop":
        zoom = min(part[0] / width, part[1] / height)
        part = (width * zoom, height * zoom)
    left, top = (width - part[0]) / 2, (height - part[1]) / 2
    return image.resize(image.size, _FILTERS[resampling], (left, top, left + part[0], top + part[1]))


@operation(
    "framing",
    Parameter("kept", 0.4, "How much of each side is left, at least", 0.05, 1.0, 0.01),
    Parameter("distortion", 1.0, "The part is up to this many times too wide or too tall", 1.0, 4.0, 0.05),
    Parameter("mirrored", 0.0, "Chance that left and right are exchanged", 0.0, 1.0, 0.05),
    Parameter("upside_down", 0.0, "Chance that top and bottom are exchanged", 0.0, 1.0, 0.05),
    Parameter(
        "surroundings",
        "none",
        "none: cut, a part fills the picture. Else shrunk, with black, mirror images or its drawn-out edge around",
        choices=("none", "black", "mirror", "edge"),
    ),
    _FILTER,
    tag="crop",
    measured_by="texture_distance",
)
def bad_crop(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    kept: float,
    distortion: float,
    mirrored: float,
    upside_down: float,
    surroundings: str,
    resampling: str,
) -> Image.Image:
    """Bad crop: heads cut off, subjects out of the picture; or the whole picture lost somewhere in a frame too large.

    Severity moves the part from everything to `kept`, and scales the distortion and both chances. The part lies at a
    border of the picture, drawn with its place along it.
    """
    place = _Place.drawn(rng)
    chances = rng.random(2)
    if chances[0] < severity * mirrored:
        image = ImageOps.mirror(image)
    if chances[1] < severity * upside_down:
        image = ImageOps.flip(image)
    part = place.part(severity, kept, distortion)
    if surroundings == "none":
        box = _box(image.size, place, part)
        return image.resize(image.size, _FILTERS[resampling], box)
    left, top, right, bottom = (round(edge) for edge in _box(image.size, place, part))
    inner = (max(1, right - left), max(1, bottom - top))
    left, top = min(left, image.width - inner[0]), min(top, image.height - inner[1])
    margins = ((top, image.height - top - inner[1]), (left, image.width - left - inner[0]))
    return _surrounded(image.resize(inner, _FILTERS[resampling]), margins, surroundings)


class _Place(NamedTuple):
    """Where a part lies and how it is distorted. across, down: 0 at the left or top, 1 at the other end."""

    across: float
    down: float
    stretch: float  # -1 too tall to 1 too wide

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "_Place":
        along, side, stretch = float(rng.random()), int(rng.integers(4)), float(rng.uniform(-1, 1))
        end = float(side % 2)
        return cls(along, end, stretch) if side < 2 else cls(end, along, stretch)

    def part(self, severity: float, kept: float, distortion: float) -> tuple[float, float]:
        """Return which parts of width and height are left: one of them is 1 - severity * (1 - kept)."""
        longer = 1 - severity * (1 - kept)
        ratio = math.exp(severity * self.stretch * math.log(distortion))
        return longer * min(1.0, 1 / ratio), longer * min(1.0, ratio)


def _box(size: tuple[int, int], place: _Place, part: tuple[float, float]) -> tuple[float, float, float, float]:
    width, height = size[0] * part[0], size[1] * part[1]
    left, top = place.across * (size[0] - width), place.down * (size[1] - height)
    return left, top, min(size[0], left + width), min(size[1], top + height)


def _repeated(image: Image.Image, size: tuple[int, int], tiled: bool) -> Image.Image:
    """Return an image of a larger size with this one in the middle, repeated or with black around it."""
    wide, high = size[0] - image.width, size[1] - image.height
    margins = ((high // 2, high - high // 2), (wide // 2, wide - wide // 2), (0, 0))
    pixels = np.asarray(image)
    return Image.fromarray(np.pad(pixels, margins, mode="wrap") if tiled else np.pad(pixels, margins))


def _surrounded(image: Image.Image, margins: tuple[tuple[int, int], tuple[int, int]], filling: str) -> Image.Image:
    pixels, around = np.asarray(image), (*margins, (0, 0))
    if filling == "black":
        return Image.fromarray(np.pad(pixels, around))
    return Image.fromarray(np.pad(pixels, around, mode="symmetric" if filling == "mirror" else "edge"))
