"""Colour: how much, which, and how far from another picture's."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .planes import Picture, lab
from .registry import metric

_DIRECTIONS = 64
_PIXELS = 16384


@metric("Colourfulness")
def colourfulness(picture: Picture) -> float:
    """Colourfulness of Hasler and Suesstrunk 2003: 0 grey, about 15 slight, 45 average, 80 high."""
    red, green, blue = np.moveaxis(picture.astype(np.float32), 2, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = math.hypot(float(np.std(red_green, dtype=np.float64)), float(np.std(yellow_blue, dtype=np.float64)))
    mean = math.hypot(float(np.mean(red_green, dtype=np.float64)), float(np.mean(yellow_blue, dtype=np.float64)))
    return spread + 0.3 * mean


@metric("Mean red-green", "a*")
def mean_red_green(picture: Picture) -> float:
    """Mean CIE a*: below 0 green, above 0 red."""
    return float(np.mean(lab(picture)[..., 1], dtype=np.float64))


@metric("Mean yellow-blue", "b*")
def mean_yellow_blue(picture: Picture) -> float:
    """Mean CIE b*: below 0 blue, above 0 yellow."""
    return float(np.mean(lab(picture)[..., 2], dtype=np.float64))


@metric("Edge band spread", "Lab", smallest=8)
def background_spread(picture: Picture) -> float:
    """Standard deviation of Lab in the band along the picture's edges, a sixteenth of the shorter side wide.

    Small for plain backgrounds. Pictures under 8 pixels give 0.
    """
    width = max(1, min(picture.shape[:2]) // 16)
    band = np.ones(picture.shape[:2], bool)
    band[width:-width, width:-width] = False
    return float(np.sqrt(np.var(lab(picture[band][None])[0], axis=0, dtype=np.float64).sum()))


@metric("Shift of mean colour", "Delta E 2000", "paired")
def colour_shift(picture: Picture, reference: Picture) -> float:
    """Difference of the mean Lab colours by CIEDE2000 (Sharma et al. 2005): 1 is just visible."""
    first, second = (lab(one).mean((0, 1), dtype=np.float64) for one in (picture, reference))
    return ciede2000(first, second)


@metric("Colour distance", "Lab", "paired")
def colour_distance(picture: Picture, reference: Picture) -> float:
    """Sliced Wasserstein distance of the colours in Lab, wherever they are: 0 for shuffled pixels.

    The mean over 64 directions evenly over the half sphere of the mean distance between the sorted projections
    (Rabin et al. 2011). About 0.7 for grain of sigma 12, 20 for another picture.
    """
    across = _directions().T.astype(np.float32)
    first, second = (_quantiles(lab(_spread(one))[0] @ across) for one in (picture, reference))
    return float(np.mean(np.abs(first - second)))


def _spread(picture: Picture) -> Picture:
    """Return up to 16384 of the pixels [1, n, 3], by the golden ratio: on no grid, which lines could fall through."""
    pixels = picture.reshape(1, -1, 3)
    count = pixels.shape[1]
    if count <= _PIXELS:
        return pixels
    return pixels[:, (np.arange(_PIXELS) * ((math.sqrt(5) - 1) / 2) % 1 * count).astype(np.int64)]


def _quantiles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each column's values in order, thinned evenly to at most 2048."""
    ordered = np.sort(values, axis=0)
    return ordered[np.linspace(0, len(ordered) - 1, min(len(ordered), 2048)).round().astype(int)]


def _directions() -> NDArray[np.float64]:
    """Return 64 unit vectors on a half sphere, a Fibonacci lattice (Gonzalez 2010)."""
    index = np.arange(_DIRECTIONS) + 0.5
    height, turn = index / _DIRECTIONS, index * math.pi * (1 + math.sqrt(5))
    radius = np.sqrt(1 - height**2)
    return np.stack([height, radius * np.cos(turn), radius * np.sin(turn)], axis=1)


def ciede2000(first: Sequence[float] | NDArray[np.float64], second: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the colour difference CIEDE2000 of two Lab colours, after Sharma, Wu and Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    stretch = 1 + 0.5 * (1 - _share25((math.hypot(a1, b1) + math.hypot(a2, b2)) / 2))
    c1, c2 = math.hypot(a1 * stretch, b1), math.hypot(a2 * stretch, b2)
    h1, h2 = (math.degrees(math.atan2(b, a * stretch)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    mean_hue = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    by_hue = _hue_weight(mean_hue)
    sl = 1 + 0.015 * (lightness - 50) ** 2 / math.sqrt(20 + (lightness - 50) ** 2)
    dl, dc = (l2 - l1) / sl, (c2 - c1) / (1 + 0.045 * chroma)
    dh = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / (1 + 0.015 * chroma * by_hue)
    angle = math.radians(60 * math.exp(-(((mean_hue - 275) / 25) ** 2)))
    rotation = -2 * _share25(chroma) * math.sin(angle)
    return math.sqrt(max(0.0, dl**2 + dc**2 + dh**2 + rotation * dc * dh))


def _share25(chroma: float) -> float:
    return math.sqrt(chroma**7 / (chroma**7 + 25.0**7))


def _hue_weight(hue: float) -> float:
    terms = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63))
    return 1 + sum(factor * math.cos(math.radians(times * hue + offset)) for factor, times, offset in terms)


def hue_histogram(picture: Picture, bins: int = 36) -> NDArray[np.float64]:
    """Return the shares [bins] of the hues in Lab, each pixel counted with its chroma; zeros for grey pictures."""
    colours = lab(picture)
    chroma = np.hypot(colours[..., 1], colours[..., 2]).ravel()
    turn = np.arctan2(colours[..., 2], colours[..., 1]).ravel() / (2 * math.pi) % 1
    counts = np.bincount((turn * bins).astype(int) % bins, np.where(chroma > 2, chroma, 0), minlength=bins)
    return np.asarray(counts / max(float(counts.sum()), 1e-9), np.float64)


def drift(values: Sequence[float], reference: float, slack: float) -> list[float]:
    """Return the cumulative sum of what the values exceed reference + slack by, never below 0 (CUSUM, Page 1954).

    Values of a run's checkpoints in order: a lasting drift adds up, scatter within the slack does not.
    """
    sums, total = [], 0.0
    for value in values:
        total = max(0.0, total + value - reference - slack)
        sums.append(total)
    return sums
