"""How sharp a picture is, and how its energy is spread over frequencies and directions."""

import numpy as np
from numpy.typing import NDArray

from .planes import Picture, Plane, luma
from .registry import metric

_REBLUR = 11


@metric("Laplacian variance", smallest=3)
def laplacian_variance(picture: Picture) -> float:
    """Variance of the Laplacian of luma: falls with blur, rises with every kind of sharp damage.

    The 4-neighbour Laplacian of luma 0..255 without the border (Pech-Pacheco et al. 2000). Not a measure of quality:
    scan lines, grain and sorted pixels raise it. Pictures under 3 pixels give 0.
    """
    plane = luma(picture)
    inner = plane[1:-1, 1:-1]
    around = plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:]
    return float(np.var(around - 4 * inner, dtype=np.float64))


@metric("Blur", "0 to 1", smallest=4)
def blur(picture: Picture) -> float:
    """How little a picture loses when it is blurred: 0 sharp, towards 1 blurred.

    Crete et al. 2007, "The blur effect": the share of luma's slopes that outlives an 11-tap mean, the larger one of
    the two directions. A picture without edges, and one under 4 pixels, gives 0.
    """
    plane = luma(picture)
    return max(_outliving(plane), _outliving(plane.T))


def _outliving(plane: Plane) -> float:
    from scipy import ndimage

    soft: Plane = ndimage.uniform_filter1d(plane, _REBLUR, axis=1)
    before, after = _sobel(plane), _sobel(soft)
    total = float(before.sum(dtype=np.float64))
    lost = float(np.maximum(before - after, 0).sum(dtype=np.float64))
    return (total - lost) / total if total > 0.05 * before.size else 0.0


def _sobel(plane: Plane) -> Plane:
    """Return the size of the slopes along the rows, without the border: 2 pixels before, 1 after, as others do."""
    steps = plane[1:, 3:] - plane[1:, 1:-2]
    return np.abs(steps[:-2] + 2 * steps[1:-1] + steps[2:]) / 4


@metric("High frequencies", "% of energy", smallest=4)
def high_frequency(picture: Picture) -> float:
    """Share of the energy above half the Nyquist frequency: falls with blur, rises with grain and lines.

    Of the cosine transform of luma without its mean, which sees no edge where the picture wraps around. A flat
    picture, and one under 4 pixels, gives 0.
    """
    energy, frequency = _spectrum(picture)
    total = float(energy.sum(dtype=np.float64))
    return 100 * float(energy[frequency > 0.25].sum(dtype=np.float64)) / total if total > 0.01 else 0.0


@metric("Spectral slope", smallest=16)
def spectral_slope(picture: Picture) -> float:
    """How steeply the power falls with frequency: about 2 to 3 for photographs, more when blurred, 0 for noise.

    The exponent of the line through log power over log frequency, mean power in rings of equal width in log
    frequency from 3 cycles per picture to 0.4 per pixel (Field 1987). A flat picture, and one under 16 pixels,
    gives 0.
    """
    energy, frequency = _spectrum(picture)
    if energy.sum(dtype=np.float64) <= 0.01:
        return 0.0
    edges = np.geomspace(3 / min(energy.shape), 0.4, 13)
    ring = np.digitize(frequency.ravel(), edges)
    count = np.bincount(ring, minlength=14)[1:13]
    power = np.bincount(ring, energy.ravel(), minlength=14)[1:13]
    there = count > 0
    centres = np.sqrt(edges[:-1] * edges[1:])[there]
    # The floor is what rounding to whole numbers leaves.
    levels = np.log(power[there] / count[there] + 1e-2)
    return -float(np.polyfit(np.log(centres), levels, 1)[0])


@metric("Spectral anisotropy", "octaves", smallest=4)
def spectral_anisotropy(picture: Picture) -> float:
    """How unequal the energy of fine detail is across and down: 0 equal, 1 twice as much, either way.

    The base-2 logarithm of the ratio of the mean squared steps of luma across and down: of the spectrum weighted with
    4 sin^2(pi f) in each direction. Rises with smears and sorted pixels of one direction, and with lines. Pictures
    under 4 pixels give 0.
    """
    plane = luma(picture)
    across, down = (float(np.mean(np.diff(plane, axis=axis) ** 2, dtype=np.float64)) for axis in (1, 0))
    return abs(float(np.log2((across + 0.1) / (down + 0.1))))


def _spectrum(picture: Picture) -> tuple[Plane, NDArray[np.float32]]:
    """Return the energy of each cosine of luma less its mean, and its frequency in cycles per pixel."""
    from scipy import fft

    plane = luma(picture)
    energy = fft.dctn(plane - plane.mean(), norm="ortho") ** 2
    energy[0, 0] = 0
    down, across = (np.arange(side, dtype=np.float32) / (2 * side) for side in plane.shape)
    return energy, np.hypot(down[:, None], across[None, :])
