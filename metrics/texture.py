"""What a picture looks like as numbers, without a network: its layout, its colours, its texture."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .planes import Picture, Plane, lab
from .registry import metric

Features = NDArray[np.float64]

_SIDE = 128
_LAYOUT = 11
_PERIODS = (3.0, 5.0, 9.0, 17.0)  # pixels at a side of 128
_TURNS = 6


@metric("Texture distance", kind="paired")
def texture_distance(picture: Picture, reference: Picture) -> float:
    """Distance of colours and texture, wherever they are: 0 equal, about 1 for photographs of other things.

    Root mean square difference of `texture_features`.
    """
    return _root_mean_square(texture_features(picture) - texture_features(reference))


@metric("Feature distance", kind="paired")
def feature_distance(picture: Picture, reference: Picture) -> float:
    """Distance of layout, colours and texture: 0 equal, about 1 for photographs of other things.

    Root mean square difference of `features`.
    """
    return _root_mean_square(features(picture) - features(reference))


def _root_mean_square(values: Features) -> float:
    return float(np.sqrt(np.mean(values**2)))


def features(picture: Picture) -> Features:
    """Return layout, colours and texture as one vector, each group weighted alike, about unit size.

    Layout: the lowest 11x11 cosines of lightness and the lowest 3x3 of a* and b*.
    """
    from scipy import fft

    colours = _small(picture)
    waves = fft.dctn(colours, axes=(0, 1), norm="ortho") / _SIDE
    layout = np.concatenate([waves[:_LAYOUT, :_LAYOUT, 0].ravel(), waves[:3, :3, 1:].ravel()]) / 3
    texture = texture_features(picture)
    return np.concatenate([layout * math.sqrt(len(texture) / len(layout)), texture]).astype(np.float64)


def texture_features(picture: Picture) -> Features:
    """Return colour moments and the Gram matrix of a fixed bank of Gabor filters as one vector of about unit size.

    At 128x128 pixels, in Lab: mean, deviation and skew of each channel, and of the responses of lightness to 24
    complex filters of periods 3 to 17 pixels in 6 directions the logarithm of the mean energy and the correlations
    (Portilla and Simoncelli 2000 use both).
    """
    colours = _small(picture)
    return np.concatenate([_moments(colours), *_gram(colours[..., 0])]).astype(np.float64)


def _small(picture: Picture) -> Plane:
    return lab(np.asarray(Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BOX)))


def _moments(colours: Plane) -> Features:
    mean = colours.mean((0, 1), dtype=np.float64)
    apart = colours - mean
    spread = np.sqrt((apart**2).mean((0, 1)))
    skew = np.cbrt((apart**3).mean((0, 1)))
    return np.concatenate([mean, 2 * spread, skew]) / 20


def _gram(lightness: Plane) -> tuple[Features, Features]:
    """Return the level of each filter's response and how the responses of each two go together."""
    from scipy import fft

    spectrum = fft.fft2(lightness - lightness.mean())
    size = np.abs(fft.ifft2(spectrum[None] * _bank(), axes=(1, 2))).reshape(len(_bank()), -1)
    level = np.log2(np.sqrt((size**2).mean(1)) + 0.05)
    apart = size - size.mean(1, keepdims=True)
    unit = apart / (np.sqrt((apart**2).sum(1, keepdims=True)) + 1e-3)
    together = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    # There are many more pairs than filters; together they weigh as much as those.
    return level / 2, together * 4 * math.sqrt(len(level) / len(together))


@cache
def _bank() -> Plane:
    """Return the filters [24, 128, 128] as gains at each frequency: Gaussians one octave wide."""
    down, across = np.meshgrid(np.fft.fftfreq(_SIDE), np.fft.fftfreq(_SIDE), indexing="ij")
    radius, turn = np.hypot(down, across), np.arctan2(down, across)
    gains = []
    for period in _PERIODS:
        octaves = np.log2(np.maximum(radius, 1e-9) * period)
        for index in range(_TURNS):
            off = (turn - index * math.pi / _TURNS + math.pi) % (2 * math.pi) - math.pi
            gains.append(np.exp(-(octaves**2) / (2 * 0.4**2) - off**2 / (2 * (math.pi / _TURNS / 1.5) ** 2)))
    return np.array(gains, np.float32)
