"""The monotone stretches along the rows of a plane."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Runs:
    """Stretches in which the values only rise or only fall; equal neighbours do not end one.

    changes: steps that change the value. width: from the first of them to the last, pixels. rise: of the whole
    stretch, levels. steepest: its largest step.
    """

    changes: NDArray[np.int64]
    width: NDArray[np.int64]
    rise: NDArray[np.float64]
    steepest: NDArray[np.float64]


def monotone_runs(plane: NDArray[np.float32]) -> Runs:
    """Return the monotone stretches along the rows of a plane [H, W], in half levels."""
    step = np.diff(np.rint(2 * plane).astype(np.int32), axis=1)
    place = np.flatnonzero(step)
    change = step.ravel()[place]
    if not len(place):
        nothing, none = np.zeros(0, np.int64), np.zeros(0)
        return Runs(nothing, nothing, none, none)
    row = place // step.shape[1]
    begins = np.flatnonzero(np.concatenate([[True], (np.diff(row) != 0) | (np.diff(np.sign(change)) != 0)]))
    size = np.abs(change)
    ends = np.append(begins[1:], len(place)) - 1
    width = place[ends] - place[begins] + 1
    rise, steepest = np.add.reduceat(size, begins), np.maximum.reduceat(size, begins)
    return Runs(ends - begins + 1, width, rise / 2, steepest / 2)
