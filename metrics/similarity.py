"""How far a picture is from the one it is compared with, pixel by pixel: 0 for equal pictures."""

import numpy as np

from .planes import Picture, Plane, halved, luma
from .registry import metric

_SIGMA, _TRUNCATE = 1.5, 3.5  # an 11x11 window
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
# Wang, Simoncelli and Bovik 2003: weights of the scales, the finest first.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_GMSD_C = 170.0
_FLAT = 4.0  # variance of luma that counts as no structure


@metric("Distance", "0 to 255", "paired")
def distance(picture: Picture, reference: Picture) -> float:
    """Root mean square difference of all values."""
    difference = picture.astype(np.float32) - reference.astype(np.float32)
    return float(np.sqrt(np.mean(np.square(difference), dtype=np.float64)))


@metric("SSIM loss", "0 to 2", "paired")
def ssim_loss(picture: Picture, reference: Picture) -> float:
    """1 - SSIM of luma (Wang et al. 2004): Gaussian window of sigma 1.5, data range 255.

    The mean over the windows that are inside the picture; in pictures under 11 pixels, over all of them.
    """
    return 1 - float(np.mean(_similarity(luma(picture), luma(reference))[0], dtype=np.float64))


@metric("Multi-scale SSIM loss", "0 to 1", "paired")
def ms_ssim_loss(picture: Picture, reference: Picture) -> float:
    """1 - MS-SSIM of luma (Wang, Simoncelli and Bovik 2003): contrast and structure at up to 5 scales.

    A scale is left out, and the others' weights raised alike, when its shorter side is under 11 pixels.
    """
    first, second = luma(picture), luma(reference)
    levels = 1
    while levels < len(_SCALES) and min(first.shape) >> levels >= 11:
        levels += 1
    weights = np.array(_SCALES[:levels]) / sum(_SCALES[:levels])
    product = 1.0
    for level, weight in enumerate(weights):
        whole, structure = (max(0.0, float(np.mean(values))) for values in _similarity(first, second))
        product *= (whole if level == levels - 1 else structure) ** weight
        first, second = halved(first), halved(second)
    return 1 - product


def _similarity(first: Plane, second: Plane) -> tuple[Plane, Plane]:
    """Return SSIM and its contrast and structure part, at each window inside the picture."""
    mean1, mean2 = _smooth(first), _smooth(second)
    variance = _smooth(first * first) - mean1**2 + _smooth(second * second) - mean2**2
    covariance = _smooth(first * second) - mean1 * mean2
    structure = (2 * covariance + _C2) / (variance + _C2)
    whole = structure * (2 * mean1 * mean2 + _C1) / (mean1**2 + mean2**2 + _C1)
    inner = slice(5, -5) if min(first.shape) >= 11 else slice(None)
    return whole[inner, inner], structure[inner, inner]


def _smooth(plane: Plane) -> Plane:
    from scipy import ndimage

    return ndimage.gaussian_filter(plane, _SIGMA, truncate=_TRUNCATE)


@metric("Gradient loss", "GMSD", "paired", smallest=8)
def gradient_loss(picture: Picture, reference: Picture) -> float:
    """Gradient magnitude similarity deviation (Xue et al. 2014): how unevenly the edges were damaged, 0 to 0.35.

    Prewitt slopes of luma at half size. Even damage counts less than damage in places. Pictures under 8 pixels give 0.
    """
    first, second = (_prewitt(halved(luma(one))) for one in (picture, reference))
    likeness = (2 * first * second + _GMSD_C) / (first**2 + second**2 + _GMSD_C)
    return float(np.std(likeness, dtype=np.float64))


def _prewitt(plane: Plane) -> Plane:
    from scipy import ndimage

    return np.hypot(*(ndimage.prewitt(plane, axis) / 3 for axis in (0, 1)))


@metric("Structure loss", "0 to 1", "paired", smallest=4)
def structure_loss(picture: Picture, reference: Picture) -> float:
    """How much of what is where got lost: 1 - the local correlation of luma at a longer side of 64 to 127 pixels.

    The structure term of SSIM alone, each window weighted with the larger of the two variances: tone, contrast and
    grain hardly count, displaced and replaced parts do. Pictures under 4 pixels give 0.
    """
    first, second = luma(picture), luma(reference)
    while max(first.shape) >= 128 and min(first.shape) > 1:
        first, second = halved(first), halved(second)
    mean1, mean2 = _smooth(first), _smooth(second)
    variance1, variance2 = (_smooth(one * one) - mean**2 for one, mean in ((first, mean1), (second, mean2)))
    covariance = _smooth(first * second) - mean1 * mean2
    scale = np.sqrt(np.maximum(variance1, 0) * np.maximum(variance2, 0))
    likeness = (covariance + _FLAT) / (scale + _FLAT)
    weight = np.maximum(np.maximum(variance1, variance2), 0) + _FLAT
    return 1 - float(np.sum(likeness * weight, dtype=np.float64) / np.sum(weight, dtype=np.float64))
