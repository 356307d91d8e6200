"""Pixels put in order along lines."""

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .pixels import packed, unpacked


@operation(
    "pixels",
    Parameter(
        "key",
        "lightness",
        "What the pixels are sorted by",
        choices=("lightness", "hue", "saturation", "intensity", "minimum", "red", "green", "blue"),
    ),
    Parameter(
        "interval",
        "threshold",
        "Where a sorted stretch ends: where the lightness leaves the range from low to high; at edges, steps in "
        "lightness of more than half of low; at random places; along waves; or at the end of the row",
        choices=("threshold", "edges", "random", "waves", "whole row"),
    ),
    Parameter("low", 0.25, "Lightness at which a stretch begins; also says what an edge is", 0, 1, 0.01),
    Parameter("high", 0.8, "Lightness above which a stretch ends", 0, 1, 0.01),
    Parameter("length", 50, "Mean length of random stretches, length of waves", 1, 1000, unit="px"),
    Parameter("angle", 0.0, "Direction of the lines: 0 sorts to the right, 90 downwards", 0, 360, 1, "degrees"),
    Parameter("reverse", False, "Sort from high to low"),
    Parameter("leave_out", 0.1, "Part of the stretches that is not sorted", 0, 1, 0.01),
    tag="sort",
    measured_by="sorted_run",
)
def pixel_sort(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    key: str,
    interval: str,
    low: float,
    high: float,
    length: int,
    angle: float,
    reverse: bool,
    leave_out: float,
) -> Image.Image:
    """Pixel sorting: stretches of each line put in order, which smears the picture into streaks.

    Severity cuts a stretch of n pixels into pieces of n to the power of severity^0.7. Lines at any angle are made of
    whole pixels, so the picture keeps exactly its pixels.
    """
    path, line = _lines(image.size, angle)
    light, values = _channel(image, "lightness").ravel()[path], _channel(image, key).ravel()[path]
    begins, inside = _stretches(interval, light, line, (510 * low, 510 * high), length, rng)
    if leave_out:
        spared = rng.random(begins.size) < leave_out
        inside &= ~spared[_latest(begins)]
    begins |= _cuts(begins, severity**0.7, rng)
    return _moved(image, path, _order(begins, np.where(inside, 1023 - values if reverse else values, np.int16(0))))


def _lines(size: tuple[int, int], angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels' flat places line by line in the direction of `angle`, and the line of each, from 0."""
    width, height = size
    places = np.arange(width * height, dtype=np.int32).reshape(height, width)
    if angle % 90 == 0:
        turned = np.rot90(places, int(angle // 90))
        return turned.ravel(), np.repeat(np.arange(turned.shape[0], dtype=np.int32), turned.shape[1])
    down, right = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    rows, columns = np.arange(height)[:, None], np.arange(width)
    line = np.floor(rows * right - columns * down).astype(np.int64)
    along = np.rint(16 * (rows * down + columns * right)).astype(np.int64)
    line, along = line - line.min(), along - along.min()
    bits = int(places.size).bit_length()
    ordered = np.sort((((line * (along.max() + 1) + along) << bits) | places).ravel())
    path = (ordered & ((1 << bits) - 1)).astype(np.int32)
    return path, line.ravel()[path]


def _channel(image: Image.Image, key: str) -> np.ndarray:
    """Return what pixels are compared by, whole numbers below 1024 (height, width); lightness is 0..510."""
    if key in ("hue", "saturation"):
        return np.asarray(image.convert("HSV").getchannel(("hue", "saturation").index(key))).astype(np.int16)
    red, green, blue = (np.asarray(band).astype(np.int16) for band in image.split())
    if key in ("red", "green", "blue"):
        return {"red": red, "green": green, "blue": blue}[key]
    if key == "intensity":
        return red + green + blue
    lowest = np.minimum(np.minimum(red, green), blue)
    return lowest if key == "minimum" else lowest + np.maximum(np.maximum(red, green), blue)


def _stretches(
    interval: str,
    light: np.ndarray,
    line: np.ndarray,
    limits: tuple[float, float],
    length: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels begin a stretch, and which belong to one that is sorted."""
    begins, inside = _changes(line), np.ones(line.size, bool)
    if interval == "threshold":
        inside = (light >= limits[0]) & (light <= limits[1])
        begins |= _changes(inside)
    elif interval == "edges":
        begins[1:] |= np.abs(np.diff(light)) > limits[0] / 2
    elif interval == "random":
        begins |= rng.random(line.size) * length < 1
    elif interval == "waves":
        begins |= _changes((_places(begins) - _latest(begins) + _wave(line[-1] + 1, length, rng)[line]) // length)
    return begins, inside


def _changes(values: np.ndarray) -> np.ndarray:
    """Return where a value differs from the one before; the first place counts."""
    changed = np.ones(values.size, bool)
    changed[1:] = values[1:] != values[:-1]
    return changed


def _latest(begins: np.ndarray) -> np.ndarray:
    """Return for every place the latest beginning up to it."""
    return np.maximum.accumulate(np.where(begins, _places(begins), np.int32(0)))


def _places(begins: np.ndarray) -> np.ndarray:
    return np.arange(begins.size, dtype=np.int32)


def _wave(lines: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Return how far each line's stretches are moved, whole pixels from 0 to 4 times `length`."""
    periods, phases = rng.uniform(2, 8, (2, 1)) * length, rng.uniform(0, 2 * np.pi, (2, 1))
    waves = np.sin(2 * np.pi * np.arange(lines) / periods + phases).sum(0)
    return np.rint(length * (2 + waves)).astype(np.int32)


def _cuts(begins: np.ndarray, power: float, rng: np.random.Generator) -> np.ndarray:
    """Return where stretches are cut so that none is longer than its length to the given power.

    The first cut of each is drawn, otherwise the cuts of neighbouring lines would stand in columns.
    """
    firsts = np.flatnonzero(begins)
    lengths = np.diff(firsts, append=begins.size)
    pieces = np.maximum(1, np.floor(lengths**power)).astype(np.int32)
    moved = np.floor(rng.random(firsts.size) * (1 - power) * pieces)
    positions = _places(begins) + np.repeat((moved - firsts).astype(np.int32), lengths)
    return positions % np.repeat(pieces, lengths) == 0


def _order(begins: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the places of a stable sort of every stretch by value.

    Stretch, value and place share one number, which makes all of them distinct: the order depends on no algorithm.
    """
    bits = int(begins.size).bit_length()
    numbers = np.cumsum(begins, dtype=np.int64)
    numbers = ((numbers << 10 | values) << bits) | _places(begins)
    numbers.sort()
    return numbers & ((1 << bits) - 1)


def _moved(image: Image.Image, path: np.ndarray, order: np.ndarray) -> Image.Image:
    pixels = packed(image)
    moved = np.empty(pixels.size, np.uint32)
    moved[path] = pixels.ravel()[path[order]]
    return unpacked(moved.reshape(pixels.shape))
