"""Judges of a picture of shapes, without learning: colour by hue, shape by outline, count by components.

They look at one picture and know nothing of its prompt. `tests/test_judges.py` holds them to drawn pictures, on which
the truth is known, and to noise.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .shapes import COLOURS, GREYS, SHAPES, UNSEEN_SHAPES, Colour, Mask

Picture = NDArray[np.uint8]

# A background is fitted to the picture's border; what is this far from it (RGB, 0..255) is foreground.
_FAINT, _CLEAR = 30.0, 80.0
_BORDER = 3
_SMALLEST = 0.003  # of the picture's area: smaller components are stars and specks
_SMALLER = 0.15  # of the largest component's area: smaller ones are not counted
_GRID = 32  # outlines are compared at this side, whatever their size in the picture
_ANGLES = (-16, -8, 0, 8, 16)
_CHROMA = 40.0  # below this (largest minus smallest channel) a colour has no hue


@dataclass(frozen=True)
class Seen:
    """What a judge sees: colour and shape of the largest thing, and how many things there are (0: nothing)."""

    colour: str
    shape: str
    count: int


def judge(picture: Picture, find: Callable[[Picture], Mask] | None = None) -> Seen:
    """Return what is seen in a picture [H, W, 3], 0..255; colour and shape are "" where there is nothing.

    find: tells things from their ground, `foreground` if not given; a ground of many papers needs another.
    """
    cover = (find or foreground)(picture)
    parts = components(cover)
    if not parts:
        return Seen("", "", 0)
    return Seen(colour_seen(picture, parts[0]), shape_seen(parts[0]), len(parts))


def foreground(picture: Picture) -> Mask:
    """Return how far each pixel [H, W] is from the background, 0..1.

    The background is one colour, or one that changes evenly from top to bottom: a straight line per channel through
    the pixels of the border, fitted again without the border pixels that lie far off.
    """
    pixels = picture.astype(np.float32)
    height, width = pixels.shape[:2]
    inside = np.zeros((height, width), bool)
    inside[_BORDER:-_BORDER, _BORDER:-_BORDER] = True
    rows = np.broadcast_to(np.linspace(-1, 1, height)[:, None], (height, width))[~inside]
    border = pixels[~inside]
    basis = np.stack([np.ones_like(rows), rows], axis=1)
    near = np.ones(len(rows), bool)
    for _ in range(4):
        line = np.linalg.lstsq(basis[near], border[near], rcond=None)[0]
        distance = np.linalg.norm(border - basis @ line, axis=1)
        near = distance <= max(20.0, float(np.median(distance)) * 1.5)
    every_row = np.stack([np.ones(height), np.linspace(-1, 1, height)], axis=1)
    background = (every_row @ line)[:, None]
    distance = np.linalg.norm(pixels - background, axis=2)
    return ((distance - _FAINT) / (_CLEAR - _FAINT)).clip(0, 1).astype(np.float32)


def components(cover: Mask) -> list[Mask]:
    """Return the separate things of a foreground, largest first, each with its blurred cover [H, W]."""
    from scipy import ndimage

    soft = ndimage.gaussian_filter(cover, cover.shape[0] / 64)
    solid = soft > 0.5 * float(np.quantile(soft, 0.97))
    labels, count = ndimage.label(solid & (soft > 0.1))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    least = max(_SMALLEST * cover.size, _SMALLER * float(areas.max(initial=0)))
    order = [index for index in np.argsort(-areas) if areas[index] >= least]
    return [np.where(labels == index + 1, soft, 0).astype(np.float32) for index in order]


def colour_seen(picture: Picture, cover: Mask) -> str:
    """Return the name of a thing's colour: its hue's nearest, or a grey where it has none. cover: [H, W], 0..1."""
    pixels = picture.reshape(-1, 3).astype(np.float64)
    weights = (cover.ravel() ** 2).astype(np.float64)
    chroma = pixels.max(axis=1) - pixels.min(axis=1)
    mean_chroma = float((weights * chroma).sum() / weights.sum())
    if mean_chroma < _CHROMA:
        level = float((weights * pixels.mean(axis=1)).sum() / weights.sum())
        return min(GREYS, key=lambda name: abs(GREYS[name][0] - level))
    mean: Colour = tuple((weights * chroma) @ pixels / (weights * chroma).sum())  # type: ignore[assignment]
    return min(COLOURS, key=lambda name: _hue_distance(mean, COLOURS[name]))


def shape_seen(cover: Mask, unseen: bool = False) -> str:
    """Return the known shape (with `unseen`, also the unseen ones) whose outline covers a thing best."""
    fits = shape_fits(cover)
    return max((name for name in fits if unseen or name in SHAPES), key=lambda name: fits[name])


def shape_fits(cover: Mask) -> dict[str, float]:
    """Return for every shape the best soft intersection over union with a thing, 0..1, over small turns."""
    seen = _framed(cover)
    names = SHAPES | UNSEEN_SHAPES
    return {name: max(_overlap(seen, _outline(name, angle)) for angle in _ANGLES) for name in names}


@cache
def _outline(name: str, angle: int) -> Mask:
    from scipy import ndimage

    mask = (SHAPES | UNSEEN_SHAPES)[name].mask(96, (48, 48), 30, angle)
    return _framed(ndimage.gaussian_filter(mask, 1.5))


def _framed(cover: Mask) -> Mask:
    """Return what is in the bounding box of a cover, at the size at which outlines are compared."""
    from PIL import Image

    level = cover / max(float(cover.max()), 1e-6)
    rows, columns = np.nonzero(level.max(axis=1) > 0.5)[0], np.nonzero(level.max(axis=0) > 0.5)[0]
    box = level[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    image = Image.fromarray(box.astype(np.float32)).resize((_GRID, _GRID), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)


def _overlap(first: Mask, second: Mask) -> float:
    return float(np.minimum(first, second).sum() / np.maximum(first, second).sum())


def _hue_distance(first: Colour, second: Colour) -> float:
    hues = [colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))[0] for colour in (first, second)]
    difference = abs(hues[0] - hues[1])
    return min(difference, 1 - difference)
