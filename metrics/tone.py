"""Tone: how light, how contrasty, how clipped, and how many levels are in use."""

import numpy as np

from .planes import Picture, lab, luma
from .registry import metric


@metric("Contrast", "0 to 128")
def contrast(picture: Picture) -> float:
    """Root mean square contrast: the standard deviation of luma 0..255."""
    return float(np.std(luma(picture), dtype=np.float64))


@metric("Clipped", "%", detector=True)
def clipped(picture: Picture) -> float:
    """Share of the channel values at 0 or 255."""
    return 100 * float(np.mean((picture == 0) | (picture == 255)))


@metric("Entropy", "bits")
def entropy(picture: Picture) -> float:
    """Entropy of the histogram of luma in 256 bins, 0 to 8 bits."""
    share = np.bincount((luma(picture) + 0.5).astype(np.uint8).ravel(), minlength=256) / (picture.size / 3)
    return float(-np.sum(share[share > 0] * np.log2(share[share > 0]))) + 0.0


@metric("Empty levels", "%", detector=True)
def empty_bins(picture: Picture) -> float:
    """Share of unused levels between the darkest and the lightest in use: posterised pictures have many.

    The mean over the channels. Pictures of few pixels cannot use many levels: a photograph of 64x64 pixels leaves
    a few per cent, an 8x8 one most of them.
    """
    return 100 * float(np.mean([_unused(channel) for channel in picture.reshape(-1, 3).T]))


def _unused(channel: Picture) -> float:
    used = np.flatnonzero(np.bincount(channel, minlength=256))
    return 1 - len(used) / (used[-1] - used[0] + 1)


@metric("Mean lightness", "L*")
def mean_lightness(picture: Picture) -> float:
    """Mean CIE lightness, 0 black to 100 white."""
    return float(np.mean(lab(picture)[..., 0], dtype=np.float64))


@metric("Black point", "0 to 255")
def black_point(picture: Picture) -> float:
    """Luma below which 1 % of the pixels are."""
    return float(np.percentile(luma(picture), 1))


@metric("Median luma", "0 to 255")
def median_luma(picture: Picture) -> float:
    """Luma below which half of the pixels are."""
    return float(np.median(luma(picture)))


@metric("White point", "0 to 255")
def white_point(picture: Picture) -> float:
    """Luma above which 1 % of the pixels are."""
    return float(np.percentile(luma(picture), 99))
