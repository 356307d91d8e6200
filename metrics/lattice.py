"""Patterns that repeat in any direction: lattices, plaids, moire, a carrier that was not filtered out."""

import numpy as np

from .planes import Picture, luma
from .registry import metric

_NEAR = 9
_FEWEST_CYCLES = 8


@metric("Spectral peak", "dB", detector=True, smallest=32)
def spectral_peak(picture: Picture) -> float:
    """Height of the highest peak of the spectrum above its surroundings, in any direction but along the axes.

    The power of luma in a Hann window, in dB above the mean level of the 9x9 frequencies around it, from 8 cycles
    per picture: 10 to 15 for photographs, 20 and more for a pattern that repeats. Patterns of whole rows or columns
    count nothing (see `line_index`). Pictures under 32 pixels give 0.
    """
    from scipy import fft, ndimage

    plane = luma(picture)
    window = np.outer(*(np.hanning(side).astype(np.float32) for side in plane.shape))
    power = np.square(np.abs(fft.rfft2((plane - plane.mean()) * window)))
    # As much as rounding to whole numbers leaves, so that there is no peak where there is nothing.
    level = 10 * np.log10(power + float(np.square(window).sum()) / 12)
    height = level - ndimage.uniform_filter(level, _NEAR, mode=("wrap", "mirror"))
    down, across = np.abs(fft.fftfreq(plane.shape[0]))[:, None], fft.rfftfreq(plane.shape[1])[None, :]
    off_axes = (down >= 3 / plane.shape[0]) & (across >= 3 / plane.shape[1])
    return float(np.max(height[off_axes & (np.hypot(down, across) >= _FEWEST_CYCLES / min(plane.shape))]))
