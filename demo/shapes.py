"""The outlines and colours the demo model's pictures are made of.

An outline lives in the square -1..1, y pointing down, and touches its border; `Shape.mask` puts it on a canvas with
smooth edges. The names are the words of the captions.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Mask = NDArray[np.float32]
Colour = tuple[int, int, int]
Point = tuple[float, float]

# Saturated hues at least 25 degrees apart, so that a hue names one of them.
COLOURS: dict[str, Colour] = {
    "red": (220, 30, 35),
    "orange": (245, 140, 20),
    "yellow": (245, 225, 30),
    "green": (40, 170, 60),
    "blue": (40, 80, 220),
    "purple": (130, 50, 180),
    "pink": (250, 110, 190),
}
GREYS: dict[str, Colour] = {"white": (250, 250, 250), "grey": (135, 135, 135), "black": (12, 12, 12)}
# Never drawn for training, so the model does not know the words.
UNSEEN_COLOURS: dict[str, Colour] = {"teal": (20, 160, 160)}

_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Shape:
    """A closed outline, and a hole in it or none.

    plural: the word for several. points, hole: in the square -1..1.
    """

    plural: str
    points: tuple[Point, ...]
    hole: tuple[Point, ...] = ()

    def mask(self, canvas: int, centre: Point, radius: float, angle: float = 0.0, line: float | None = None) -> Mask:
        """Return coverage [canvas, canvas], 0..1, of the shape with half its extent `radius` pixels.

        centre: (x, y) in pixels. angle: clockwise, in degrees. line: width in pixels to draw only the outline with.
        """
        scale = _SUPERSAMPLING
        image = Image.new("L", (canvas * scale, canvas * scale))
        draw = ImageDraw.Draw(image)
        place = [_placed(ring, centre, radius, angle, scale) for ring in (self.points, self.hole) if ring]
        if line is None:
            draw.polygon(place[0], fill=255)
            if self.hole:
                draw.polygon(place[1], fill=0)
        else:
            for ring in place:
                draw.line([*ring, ring[0], ring[1]], fill=255, width=round(line * scale), joint="curve")
        return np.asarray(image.reduce(scale), dtype=np.float32) / np.float32(255)


def _placed(ring: tuple[Point, ...], centre: Point, radius: float, angle: float, scale: int) -> list[Point]:
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return [
        ((centre[0] + radius * (x * cos - y * sin)) * scale, (centre[1] + radius * (x * sin + y * cos)) * scale)
        for x, y in ring
    ]


def _round(radius: float = 1.0, points: int = 40) -> tuple[Point, ...]:
    turns = (2 * math.pi * index / points for index in range(points))
    return tuple((radius * math.cos(turn), radius * math.sin(turn)) for turn in turns)


def _star(inner: float = 0.42) -> tuple[Point, ...]:
    corners = []
    for index in range(10):
        turn, radius = math.pi * index / 5 - math.pi / 2, 1.1 if index % 2 == 0 else 1.1 * inner
        corners.append((radius * math.cos(turn), radius * math.sin(turn) + 0.08))
    return tuple(corners)


def _cross(arm: float = 0.34) -> tuple[Point, ...]:
    quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    corners: list[Point] = []
    for _ in range(4):
        corners += quarter
        quarter = [(-y, x) for x, y in quarter]
    return tuple(corners)


def _heart(points: int = 60) -> tuple[Point, ...]:
    """The heart curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, scaled to the square."""
    corners = []
    for index in range(points):
        t = 2 * math.pi * index / points
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        corners.append((math.sin(t) ** 3, -(y + 2.5) / 15.5))
    return tuple(corners)


SHAPES: dict[str, Shape] = {
    "circle": Shape("circles", _round()),
    "square": Shape("squares", ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85))),
    "triangle": Shape("triangles", ((0.0, -1.0), (1.05, 0.85), (-1.05, 0.85))),
    "star": Shape("stars", _star()),
    "cross": Shape("crosses", _cross()),
    "ring": Shape("rings", _round(), _round(0.52)),
    "diamond": Shape("diamonds", ((0.0, -1.1), (0.75, 0.0), (0.0, 1.1), (-0.75, 0.0))),
}
UNSEEN_SHAPES: dict[str, Shape] = {"heart": Shape("hearts", _heart())}
