"""What sets drawings apart from photographs: few colours, flat areas, and sharp edges between them.

None of these decides alone, and none is absolute: compare them with those of the base model.
"""

import numpy as np

from .planes import Picture, luma, slopes
from .registry import metric
from .runs import monotone_runs


@metric("Palette", "colours", detector=True)
def palette(picture: Picture) -> float:
    """Number of different colours at 5 bits a channel: falls when posterised, rises when channels come apart."""
    bits = (picture >> 3).astype(np.int64)
    return float(np.count_nonzero(np.bincount(((bits[..., 0] << 10) | (bits[..., 1] << 5) | bits[..., 2]).ravel())))


@metric("Flat area", "%", detector=True)
def flat_area(picture: Picture) -> float:
    """Share of the pixels where the slope of luma is below 4 levels a pixel."""
    return 100 * float(np.mean(slopes(luma(picture)) < 4))


@metric("Dead area", "%", detector=True, smallest=3)
def dead_area(picture: Picture) -> float:
    """Share of the pixels that equal all four neighbours in every channel: holes, lost parts, flat cells.

    Photographs have next to none except where they are clipped; drawings have many. The border is not counted, and
    pictures under 3 pixels give 0.
    """
    colour = picture.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    down, across = colour[1:] == colour[:-1], colour[:, 1:] == colour[:, :-1]
    equal = (down[:-1] & down[1:])[:, 1:-1] & (across[:, :-1] & across[:, 1:])[1:-1]
    return 100 * float(np.mean(equal))


@metric("Edge width", "px", smallest=3)
def edge_width(picture: Picture) -> float:
    """Width of the edges: how far luma climbs in all, over the largest slope on the way, mean over the strong edges.

    Along the rows: the rise of each monotone stretch of luma over its steepest step, weighted with the rise. Pictures
    without edges, and those under 3 pixels, give 0.
    """
    runs = monotone_runs(luma(picture))
    strong = runs.rise > 16
    total = float(runs.rise[strong].sum())
    return float(np.sum(runs.rise[strong] ** 2 / runs.steepest[strong])) / total if total else 0.0


@metric("Gradient kurtosis", smallest=2)
def gradient_kurtosis(picture: Picture) -> float:
    """Kurtosis of the steps of luma across: 3 for Gaussian noise, about 10 to 50 for photographs, more for drawings.

    A picture without steps, and one under 2 pixels, gives 0.
    """
    square = np.square(np.diff(luma(picture), axis=1))
    variance = float(square.mean(dtype=np.float64))
    return float(np.square(square).mean(dtype=np.float64)) / variance**2 if variance > 1e-6 else 0.0
