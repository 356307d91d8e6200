"""Colour channels that do not lie on each other."""

import math

import numpy as np

from .planes import Picture, Plane, slopes
from .registry import metric


@metric("Misregistration", "px", detector=True, smallest=16)
def misregistration(picture: Picture) -> float:
    """How far red or blue lies from green, the larger of the two.

    Phase correlation (Kuglin and Hines 1975) of the slopes of the channels in a Hann window, the peak placed between
    pixels by a parabola, searched up to a quarter of the shorter side. A shift counts when its peak is well above
    both the one at no shift and what chance gives. Pictures under 16 pixels give 0, as grey ones do.
    """
    window = np.outer(*(np.hanning(side).astype(np.float32) for side in picture.shape[:2]))
    red, green, blue = (_transform(picture[..., channel], window) for channel in range(3))
    return max(_shift(red, green, picture.shape), _shift(blue, green, picture.shape))


def _transform(channel: Picture, window: Plane) -> Plane:
    from scipy import fft

    length = slopes(channel.astype(np.float32))
    return fft.rfft2((length - length.mean()) * window)


def _shift(first: Plane, second: Plane, shape: tuple[int, ...]) -> float:
    from scipy import fft

    cross = first * np.conj(second)
    size = np.abs(cross)
    if float(size.max()) < 1e-3:
        return 0.0
    match = fft.irfft2(cross / (size + 1e-3 * size.max()), s=shape[:2])
    reach = min(shape[:2]) // 4
    near = np.roll(match, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    down, across = np.unravel_index(int(near.argmax()), near.shape)
    peak = near[down, across]
    if peak < 1.5 * near[reach, reach] or peak < 8 * near.std():
        return 0.0
    return math.hypot(_refined(near[:, across], int(down)) - reach, _refined(near[down], int(across)) - reach)


def _refined(line: Plane, place: int) -> float:
    """Return the place of a peak between its neighbours."""
    if not 0 < place < len(line) - 1:
        return float(place)
    before, at, after = (float(value) for value in line[place - 1 : place + 2])
    bend = before - 2 * at + after
    return place + (0.5 * (before - after) / bend if bend < 0 else 0.0)
