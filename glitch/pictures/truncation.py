"""Files that end too early: half a download, a broken disk."""

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .jpeg_file import END, decoded, encoded, entropy_coded

_FILLS = ("grey", "last row", "black")


@operation(
    "databending",
    Parameter("keep", 0.35, "This part of the file arrives", 0.0, 0.99, 0.01),
    Parameter("spread", 0.15, "The part is drawn from this much around it", 0.0, 0.5, 0.01),
    Parameter("fill", "grey", "What the decoder shows where data is missing", choices=_FILLS),
    Parameter("quality", 90, "Quality of the JPEG file that is cut; lower is coarser", 1, 95),
    tag="cut",
    measured_by="dead_area",
    codecs=("libjpeg_turbo",),
)
def truncated_file(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    keep: float,
    spread: float,
    fill: str,
    quality: int,
) -> Image.Image:
    """Truncated JPEG file: the picture stops in the middle of a row of blocks, the rest is flat.

    Severity moves the part of the compressed data that is kept from all of it to `keep`.
    """
    drawn = float(np.clip(keep + spread * rng.uniform(-1, 1), 0, 0.99))
    data = encoded(image, quality, "4:2:0")
    ended, whole = decoded(_cut(data, 1 - (1 - drawn) * severity)), decoded(data)
    return image.copy() if ended is None or whole is None else _filled(ended, whole, fill)


def _cut(data: bytes, kept: float) -> bytes:
    """Return a JPEG file that ends within its compressed data; libjpeg shows grey for the rest."""
    places = entropy_coded(data)
    return data[: places[int(len(places) * kept)]] + END if len(places) and kept < 1 else data


def _filled(ended: Image.Image, whole: Image.Image, fill: str) -> Image.Image:
    """Return the image with another filling below the last row that came through unharmed."""
    if fill == "grey":
        return ended
    pixels = np.array(ended)
    harmed = (pixels != np.asarray(whole)).any(axis=(1, 2))
    first = int(harmed.argmax()) if harmed.any() else len(pixels)
    pixels[first:] = pixels[first - 1] if fill == "last row" and first else 0
    return Image.fromarray(pixels)
