"""Damage by JPEG: once, or again and again."""

import io

import numpy as np
from PIL import Image

from ..registry import Parameter, operation

# Codecs hide the first half of what they lose: a power below 1 lets severity 0.5 look like the half.
EAGER = 0.6
_QUALITY = Parameter("quality", 10, "JPEG quality; lower is worse", 1, 95)
_SUBSAMPLING = Parameter(
    "subsampling",
    "4:2:0",
    "Colour resolution: 4:4:4 full, 4:2:2 half the width, 4:2:0 half of both sides",
    choices=("4:4:4", "4:2:2", "4:2:0"),
)


@operation(
    "compression",
    _QUALITY,
    _SUBSAMPLING,
    tag="jpeg",
    measured_by="blockiness",
    version=2,
    draws=False,
    codecs=("libjpeg_turbo",),
)
def jpeg_recompression(
    image: Image.Image, rng: np.random.Generator, severity: float, *, quality: int, subsampling: str
) -> Image.Image:
    """JPEG recompression: blocks, mosquito noise around edges, smeared colour.

    Severity moves the quality from 100 to `quality` on a logarithmic scale, quickly at first (half way to 10 is 22).
    """
    return recompressed(image, _quality_at(severity, quality), subsampling)


@operation(
    "compression",
    Parameter("generations", 10, "How often the picture is saved and opened again", 1, 100),
    Parameter("quality", 20, "JPEG quality of each generation", 1, 95),
    Parameter("grid_shift", 4, "The block grid moves by up to this in each generation; 0 keeps it", 0, 7, unit="px"),
    Parameter(
        "rescale", 1.0, "Each generation is shrunk to between this factor and 1, and enlarged back", 0.5, 1.0, 0.01
    ),
    Parameter("quality_jitter", 0, "Each generation's quality is drawn from this much around it", 0, 50),
    _SUBSAMPLING,
    tag="genloss",
    measured_by="distance",
    codecs=("libjpeg_turbo",),
)
def generation_loss(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    generations: int,
    quality: int,
    grid_shift: int,
    rescale: float,
    quality_jitter: int,
    subsampling: str,
) -> Image.Image:
    """Generation loss: saved as JPEG again and again, as pictures that are passed on.

    Severity is the part of `generations` that is run. JPEG of the same quality on the same grid changes almost
    nothing after the first time; grid shift, rescaling and quality jitter are what makes the loss add up.
    """
    for _ in range(max(1, round(severity * generations))):
        left, top = (int(offset) for offset in rng.integers(0, grid_shift + 1, 2))
        factor = rng.uniform(rescale, 1.0)
        drawn = quality + int(rng.integers(-quality_jitter, quality_jitter + 1))
        image = _one_generation(image, (left, top), factor, min(95, max(1, drawn)), subsampling)
    return image


def recompressed(image: Image.Image, quality: int, subsampling: str) -> Image.Image:
    """Return an RGB image encoded as JPEG and decoded again, by Pillow's libjpeg."""
    encoded = io.BytesIO()
    image.save(encoded, format="JPEG", quality=quality, subsampling=subsampling)
    with Image.open(encoded, formats=("JPEG",)) as decoded:
        return decoded.convert("RGB")


def _one_generation(
    image: Image.Image, offset: tuple[int, int], factor: float, quality: int, subsampling: str
) -> Image.Image:
    width, height = image.size
    smaller = (max(1, round(width * factor)), max(1, round(height * factor)))
    shrunk = image if smaller == image.size else image.resize(smaller, Image.Resampling.BICUBIC)
    left, top = offset
    damaged = recompressed(_with_margin(shrunk, left, top), quality, subsampling)
    inner = damaged.crop((left, top, left + smaller[0], top + smaller[1]))
    return inner if smaller == image.size else inner.resize(image.size, Image.Resampling.BICUBIC)


def _with_margin(image: Image.Image, left: int, top: int) -> Image.Image:
    """Return the image with its edge repeated to the left and above, which moves the 8x8 grid against it."""
    pixels = np.asarray(image)
    return Image.fromarray(np.pad(pixels, ((top, 0), (left, 0), (0, 0)), mode="edge"))


def _quality_at(severity: float, quality: int) -> int:
    return max(1, round(100 * (quality / 100) ** severity**EAGER))
