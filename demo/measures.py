"""Measures of pictures that need no network: JPEG's block edges, and how near pictures are to each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..metrics.similarity import distance

Picture = NDArray[np.uint8]

_BLOCK = 8
_LUMA = np.array([0.299, 0.587, 0.114])


def blockiness(picture: Picture) -> float:
    """Return JPEG's block edges in a picture [H, W, 3]: 0 where there are none, in steps of 0..255.

    The mean step between neighbouring pixels across the edges of 8x8 blocks less the mean step across the middles of
    the blocks, of luma, over both directions (the difference of steps at and off block edges of Wang, Bovik and Evans
    2000, "Blind measurement of blocking artifacts in images"). The middles are edges of 4x4 blocks too, so that faults
    of 4x4 latents count nothing. Steps above 24 belong to what is drawn and are left out on both sides. The metric of
    that name, in contrast, gives a ratio and searches the grid; drawings of 64 pixels are too small for it.
    """
    luma = picture.astype(np.float64) @ _LUMA
    return (_edges(luma) + _edges(luma.T)) / 2


def _edges(luma: NDArray[np.float64]) -> float:
    steps = np.abs(np.diff(luma, axis=1))
    faint = steps <= 24
    column = np.arange(steps.shape[1])[None, :] % _BLOCK
    at_edge, in_middle = steps[faint & (column == _BLOCK - 1)], steps[faint & (column == _BLOCK // 2 - 1)]
    return float(at_edge.mean() - in_middle.mean()) if at_edge.size and in_middle.size else 0.0


def nearest(picture: Picture, others: Sequence[Picture]) -> float:
    """Return the distance (root mean square) from a picture to the nearest of the others.

    Raises ValueError when there are none.
    """
    return min(distance(picture, other) for other in others)


def spacing(pictures: Sequence[Picture]) -> float:
    """Return the mean distance from a picture to the nearest other one. Raises ValueError for fewer than two."""
    if len(pictures) < 2:
        raise ValueError(f"pictures: got {len(pictures)}, allowed two or more, give others to be near to")
    return float(np.mean([nearest(picture, [*pictures[:i], *pictures[i + 1 :]]) for i, picture in enumerate(pictures)]))
