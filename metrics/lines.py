"""Damage along rows and columns: tears, sorted pixels, periodic lines, constant borders."""

import numpy as np
from numpy.typing import NDArray

from .planes import Picture, Plane, luma
from .registry import metric
from .runs import monotone_runs

_NEAR = 9  # rows that a row is compared with
_LONGEST_PERIOD = 20
_FEWEST_CHANGES = 8


@metric("Torn rows", "%", detector=True, smallest=8)
def tear_rate(picture: Picture) -> float:
    """Share of the rows that do not go on from the row above, as at tears and displaced slices.

    What a row has that no brightness and contrast of the row above explains, compared with the median of the 9 rows
    around: at 1.6 times that, a row begins to count, at 3.2 times it counts in full. Lines that only darken rows do not
    count. Pictures under 8 pixels give 0.
    """
    return _torn(luma(picture))


@metric("Torn columns", "%", detector=True, smallest=8)
def tear_rate_columns(picture: Picture) -> float:
    """Share of the columns that do not go on from the column before: `tear_rate` of the picture turned."""
    return _torn(luma(picture).T)


def _torn(plane: Plane) -> float:
    from scipy import ndimage

    rows = plane - plane.mean(1, keepdims=True)
    spread = np.sqrt(np.mean(rows**2, axis=1))
    alike = np.mean(rows[:-1] * rows[1:], axis=1) / (spread[:-1] * spread[1:] + 1e-6)
    unexplained = spread[1:] * np.sqrt(np.maximum(1 - np.maximum(alike, 0) ** 2, 0)) + 2
    ratio = unexplained / ndimage.median_filter(unexplained, _NEAR, mode="reflect")
    return 100 * float(np.mean(np.clip((ratio - 1.6) / 1.6, 0, 1)))


@metric("Sorted runs", "px", detector=True, smallest=16)
def sorted_run(picture: Picture) -> float:
    """How much longer lightness only rises or only falls along one axis than along the other.

    The mean length of the monotone stretch that a pixel is in, along rows and along columns, and the difference of
    the two, of luma or of the mean of largest and smallest channel (HSL), whichever is larger: pixels are sorted by
    either. Stretches of fewer than 8 different values have no length. About 0 to 5 for photographs, tens for sorted
    pixels; blur lengthens both. Pictures under 16 pixels give 0.
    """
    lightness = (picture.max(2).astype(np.float32) + picture.min(2)) / 2
    return max(abs(_run_length(plane) - _run_length(plane.T)) for plane in (luma(picture), lightness))


def _run_length(plane: Plane) -> float:
    runs = monotone_runs(plane)
    return float(np.sum(runs.width[runs.changes >= _FEWEST_CHANGES] ** 2)) / plane.size


@metric("Row lines", "0 to 1", detector=True, smallest=16)
def line_index(picture: Picture) -> float:
    """Strength of the strongest periodic pattern of rows: scan lines, interlace combing.

    The largest peak in the spectrum of the rows' means, of all their energy at periods of 2 to 20 pixels: about 0.05
    for photographs, towards 1 for scan lines. A picture without any gives 0, as do those under 16 pixels.
    """
    return _line(luma(picture))


@metric("Column lines", "0 to 1", detector=True, smallest=16)
def line_index_columns(picture: Picture) -> float:
    """Strength of the strongest periodic pattern of columns: `line_index` of the picture turned."""
    return _line(luma(picture).T)


def _line(plane: Plane) -> float:
    # The second difference evens out a photograph's spectrum, which falls with frequency.
    level = np.diff(plane.mean(1), 2) * np.hanning(plane.shape[0])[1:-1]
    power = np.abs(np.fft.rfft(level)) ** 2
    power = power[np.fft.rfftfreq(len(level)) > 1 / _LONGEST_PERIOD]
    total = float(power.sum())
    # The window spreads a line over three frequencies.
    peaks = np.convolve(power, np.ones(3), mode="same")
    # As much energy as rows have that differ by a tenth of a level, so that next to nothing is no pattern.
    return float(peaks.max()) / (total + 0.005 * len(level) ** 2)


@metric("Border", "%", detector=True, smallest=3)
def border(picture: Picture) -> float:
    """Share of the picture taken by rows and columns of one colour at its edges: letterboxes, cut-off files.

    A row or column is of one colour when no channel varies by more than 4 levels. A picture of one
    colour gives 100, one under 3 pixels 0.
    """
    rows, columns = (_constant(values) for values in (picture, picture.swapaxes(0, 1)))
    if rows.all():
        return 100.0
    height, width = (len(flat) - _ends(flat) for flat in (rows, columns))
    return 100 * (1 - height * width / (len(rows) * len(columns)))


def _constant(lines: Picture) -> NDArray[np.bool_]:
    return (lines.max(1) - lines.min(1) <= 4).all(1)


def _ends(flat: NDArray[np.bool_]) -> int:
    """Return how many are true at the start and at the end."""
    return int(np.argmin(flat)) + int(np.argmin(flat[::-1]))
