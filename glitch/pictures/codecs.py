"""Damage by the picture codecs after JPEG: WebP smears, AVIF turns to plastic, JPEG 2000 rings."""

import io
import math
from typing import Any

import numpy as np
from PIL import Image, features

from ..registry import Parameter, operation
from .jpeg import EAGER

_FEATURES = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
_CLEAN_DECIBELS = 30.0


def _coded_size(default: float) -> Parameter:
    words = "The picture is coded at this part of its width and height and enlarged again, as by a website"
    return Parameter("coded_size", default, words, 0.05, 1.0, 0.05)


@operation(
    "compression",
    Parameter("quality", 1, "WebP quality; lower is worse", 1, 100),
    _coded_size(0.35),
    tag="webp",
    measured_by="distance",
    draws=False,
    codecs=("webp",),
)
def webp_compression(
    image: Image.Image, rng: np.random.Generator, severity: float, *, quality: int, coded_size: float
) -> Image.Image:
    """WebP compression: patches without texture, bent edges, colours that run, as in an upload made small.

    Severity moves the quality from 100 to `quality` and the coded size from 1 to `coded_size`, both logarithmically.
    Raises RuntimeError when this Pillow has no WebP; so do the two below.
    """
    return _coded(image, "WEBP", coded_size**severity, quality=_quality_at(severity**EAGER, quality), method=2)


@operation(
    "compression",
    Parameter("quality", 0, "AVIF quality; lower is worse", 0, 100),
    _coded_size(0.5),
    tag="avif",
    measured_by="distance",
    draws=False,
    codecs=("avif",),
)
def avif_compression(
    image: Image.Image, rng: np.random.Generator, severity: float, *, quality: int, coded_size: float
) -> Image.Image:
    """AVIF compression: large smooth panels with ruled edges, skin like plastic.

    Severity moves the quality from 100 to `quality` and the coded size from 1 to `coded_size`, both logarithmically.
    """
    settings = {"quality": _quality_at(severity, quality), "speed": 10, "max_threads": 1}
    return _coded(image, "AVIF", coded_size**severity, **settings)


@operation(
    "compression",
    Parameter("fidelity", 6.0, "Contrast of the picture over the error; lower is worse", 0.0, 30.0, 0.5, "dB"),
    tag="j2k",
    measured_by="distance",
    draws=False,
    codecs=("jpg_2000",),
)
def jpeg2000_compression(
    image: Image.Image, rng: np.random.Generator, severity: float, *, fidelity: float
) -> Image.Image:
    """JPEG 2000 compression: wavelet blobs and ringing, bleeding colour, no blocks.

    Severity moves the signal-to-noise ratio from 30 dB to `fidelity`, quickly at first; at 0 dB nothing is left.
    """
    wanted = _CLEAN_DECIBELS + (fidelity - _CLEAN_DECIBELS) * severity**EAGER
    contrast = max(2.0, float(np.asarray(image).std(axis=(0, 1)).mean()))
    peak = wanted + 20 * math.log10(255 / contrast)  # the codec counts from the full range
    return _coded(image, "JPEG2000", 1.0, quality_mode="dB", quality_layers=[peak], irreversible=True)


def _coded(image: Image.Image, codec: str, size: float, **settings: Any) -> Image.Image:
    """Return the image shrunk to a part of its size, encoded and decoded by Pillow, and enlarged again."""
    _demand(codec)
    smaller = (max(1, round(image.width * size)), max(1, round(image.height * size)))
    shrunk = image if smaller == image.size else image.resize(smaller, Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    shrunk.save(encoded, format=codec, **settings)
    with Image.open(encoded, formats=(codec,)) as opened:
        decoded = opened.convert("RGB")
    return decoded if smaller == image.size else decoded.resize(image.size, Image.Resampling.BICUBIC)


def _demand(codec: str) -> None:
    feature = _FEATURES[codec]
    known = feature in (*features.modules, *features.codecs)
    if not known or not features.check(feature):
        raise RuntimeError(f"codec: got a Pillow without {codec}, needed one with it, install pillow 11.3 or newer")


def _quality_at(severity: float, quality: int) -> int:
    return round(101 * ((quality + 1) / 101) ** severity - 1)
