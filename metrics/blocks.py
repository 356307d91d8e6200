"""Block damage: JPEG's grid, flat cells of any size, and seams between blocks that were moved."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .planes import Picture, Plane, luma
from .registry import metric

Profile = NDArray[np.float64]

_JPEG = 8
_FAINT = 24  # levels; higher steps belong to what is shown
_NEAR = 9
_FEWEST_LINES = 5


@metric("Blockiness", "1 = none", detector=True, smallest=32)
def blockiness(picture: Picture) -> float:
    """Steps at the edges of 8x8 blocks over those elsewhere: 1 where there are none, 3 for JPEG of quality 10.

    Wang, Bovik and Evans 2000, "Blind measurement of blocking artifacts in images", with the grid's place searched in
    each direction, and the direction with fewer edges counting. What repeats every 4 pixels or less counts nothing,
    nor does what repeats along one axis only. Pictures under 32 pixels give 0.
    """
    plane = luma(picture)
    return min(_at_eight(_faint_steps(values)) for values in (plane, plane.T))


def _faint_steps(plane: Plane) -> Profile:
    """Return the mean size of the faint steps from each column to the next."""
    return np.minimum(np.abs(np.diff(plane, axis=1)), _FAINT).mean(0, dtype=np.float64)


def _at_eight(profile: Profile) -> float:
    whole = profile[: len(profile) // _JPEG * _JPEG].reshape(-1, _JPEG)
    # Less than the median, so that lines that only every second edge has do not count.
    usual = np.quantile(whole, 0.4, axis=0) + 0.2
    others = (usual.sum() - usual) / (_JPEG - 1)
    return float(np.max(usual / np.maximum(others, np.roll(usual, _JPEG // 2))))


@metric("Mosaic", "px", detector=True, smallest=16)
def mosaic(picture: Picture) -> float:
    """Side of the flat square cells the picture is made of: near 0 without cells, 8 when pixelated by 8.

    Of all grids of 2 pixels a cell up to a fifth of the side: the cell's side times the square of the share of all
    steps of luma that the grid's lines explain, each line by their median, less what chance gives; the geometric mean
    of the two directions. Pictures under 16 pixels give 0.
    """
    plane = luma(picture)
    return math.sqrt(_cell(plane) * _cell(plane.T))


def _cell(plane: Plane) -> float:
    steps = np.abs(np.diff(plane, axis=1)).mean(0, dtype=np.float64)
    total, width = float(steps.sum()), plane.shape[1]
    if total < 1e-3 * width:
        return 0.0
    return max(_by_cells(steps, total, width), _by_side(steps, total, width))


def _by_cells(steps: Profile, total: float, width: int) -> float:
    """Return the best grid of a whole number of cells in the width, as nearest-neighbour enlarging makes them."""
    best = 0.0
    for cells, lines in _grids(width):
        best = max(best, width / cells * _explained(float(np.median(steps[lines])), len(lines), total, width))
    return best


def _by_side(steps: Profile, total: float, width: int) -> float:
    """Return the best grid of a whole number of pixels a cell, up to 64, wherever its first line is."""
    best = 0.0
    for side in range(2, min(64, width // _FEWEST_LINES) + 1):
        whole = steps[: len(steps) // side * side].reshape(-1, side)
        best = max(best, side * _explained(float(np.median(whole, axis=0).max()), len(steps) / side, total, width))
    return best


def _explained(typical: float, lines: float, total: float, width: int) -> float:
    chance = lines / (width - 1)
    share = min(1.0, typical * lines / total)
    return max(0.0, (share - chance) / (1 - chance)) ** 2


@cache
def _grids(width: int) -> tuple[tuple[int, NDArray[np.int64]], ...]:
    """Return (number of cells, index of the step at each line)."""
    place = np.arange(width) + 0.5
    counts = range(_FEWEST_LINES, min(width // 2, 512) + 1)
    return tuple((cells, np.flatnonzero(np.diff((place * cells / width).astype(np.int64)))) for cells in counts)


@metric("Block seams", "1 = none", detector=True, smallest=32)
def block_seams(picture: Picture) -> float:
    """Steps along the lines of a square grid over those beside them: blocks that were moved, swapped or replaced.

    The best of grids of 8 to 64 pixels (up to a quarter of the side), any place: the mean over its lines of what the
    steps there exceed 24 levels by, over the median of the 9 columns around. The direction with the weaker grid
    counts: about 1 without blocks, at most 4. Pictures under 32 pixels give 0.
    """
    plane = luma(picture)
    return min(_seam(values) for values in (plane, plane.T))


def _seam(plane: Plane) -> float:
    from scipy import ndimage

    steps = np.maximum(np.abs(np.diff(plane, axis=1)) - _FAINT, 0).mean(0, dtype=np.float64) + 0.3
    excess = np.minimum(steps / ndimage.median_filter(steps, _NEAR, mode="reflect"), 4)
    sides = [side for side in (8, 12, 16, 20, 24, 32, 40, 48, 64) if side * 4 <= plane.shape[1]]
    best = 1.0
    for side in sides:
        whole = excess[: len(excess) // side * side].reshape(-1, side)
        # Few lines are strong by chance; the deviation of a mean shrinks with their number.
        best = max(best, float(whole.mean(0).max()) - 0.5 / np.sqrt(len(whole)))
    return best
