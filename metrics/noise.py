"""Noise: of luma, of colour, and of whole rows and columns."""

import math

import numpy as np
from numpy.typing import NDArray

from .planes import Picture, lab, luma
from .registry import metric


@metric("Noise", "sigma, 0 to 255", detector=True, smallest=3)
def noise(picture: Picture) -> float:
    """Standard deviation of the noise in luma.

    Immerkaer 1996, "Fast noise variance estimation": the mean size of the second difference across and down, as if
    it were of white Gaussian noise. Fine texture counts as noise. Pictures under 3 pixels give 0.
    """
    return _immerkaer(luma(picture))


@metric("Chroma noise", "sigma in Lab", detector=True, smallest=3)
def chroma_noise(picture: Picture) -> float:
    """Standard deviation of the noise in the colours: `noise` of a* and b*, root mean square of the two.

    Pictures under 3 pixels give 0.
    """
    colours = lab(picture)
    return math.hypot(_immerkaer(colours[..., 1]), _immerkaer(colours[..., 2])) / math.sqrt(2)


@metric("Row banding", "sigma, 0 to 255", detector=True, smallest=3)
def row_banding(picture: Picture) -> float:
    """Standard deviation of a level of its own in each row.

    Of each row the median over columns of the second difference down the picture, which a picture's own edges
    hardly move; their mean size as if of white noise. Pictures under 3 pixels give 0.
    """
    return _banding(luma(picture))


@metric("Column banding", "sigma, 0 to 255", detector=True, smallest=3)
def column_banding(picture: Picture) -> float:
    """Standard deviation of a level of its own in each column: `row_banding` of the picture turned."""
    return _banding(luma(picture).T)


def _immerkaer(plane: NDArray[np.float32]) -> float:
    down = plane[:-2] - 2 * plane[1:-1] + plane[2:]
    both = down[:, :-2] - 2 * down[:, 1:-1] + down[:, 2:]
    return math.sqrt(math.pi / 2) / 6 * float(np.mean(np.abs(both), dtype=np.float64))


def _banding(plane: NDArray[np.float32]) -> float:
    down = np.median(plane[:-2] - 2 * plane[1:-1] + plane[2:], axis=1)
    return math.sqrt(math.pi / 2) / math.sqrt(6) * float(np.mean(np.abs(down)))
