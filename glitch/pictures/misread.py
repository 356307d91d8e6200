"""Pictures without a header, opened with the wrong settings."""

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .growing_bands import in_growing_bands

_READINGS = (
    "wrong width",
    "planes as pixels",
    "pixels as planes",
    "RGB as YUV",
    "RGB as BGR",
    "RGB as 5-6-5",
    "5-6-5 with swapped bytes",
    "16 bit with swapped bytes",
)


@operation(
    "databending",
    Parameter("reading", "wrong width", "How the raw bytes are misunderstood", choices=_READINGS),
    Parameter("offset", 0.004, "Wrong width: too long by this part of the width; below 0 too short", -0.5, 0.5, 0.001),
    tag="raw",
    measured_by="distance",
    version=2,
)
def raw_misread(
    image: Image.Image, rng: np.random.Generator, severity: float, *, reading: str, offset: float
) -> Image.Image:
    """Raw bytes misread: a sheared, a tripled or a falsely coloured picture.

    Severity is the part of the rows that are misread, in bands that grow at drawn places.
    """
    pixels = np.asarray(image)
    misread = _sheared(pixels, offset) if reading == "wrong width" else _READERS[reading](pixels)
    return in_growing_bands(rng, image, Image.fromarray(np.ascontiguousarray(misread)), severity)


def _sheared(pixels: np.ndarray, offset: float) -> np.ndarray:
    """Return the pixels in rows that are longer by a part of the width, cut to the width there is."""
    height, width, _ = pixels.shape
    change = round(offset * width) or (1 if offset >= 0 else -1)
    starts = np.arange(height) * max(1, width + change)
    places = (starts[:, None] + np.arange(width)) % (height * width)
    return pixels.reshape(-1, 3)[places]


def _planes_as_pixels(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(2, 0, 1).reshape(pixels.shape)


def _pixels_as_planes(pixels: np.ndarray) -> np.ndarray:
    height, width, _ = pixels.shape
    return pixels.reshape(3, height, width).transpose(1, 2, 0)


def _as_yuv(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.frombytes("YCbCr", pixels.shape[1::-1], pixels.tobytes()).convert("RGB"))


def _as_words(pixels: np.ndarray) -> np.ndarray:
    """Return pixels whose 24 bits are read as words of 16: one and a half times as many, so rows are overrun."""
    octets = pixels.reshape(-1)
    words = np.resize(octets, 2 * (len(octets) // 3)).view("<u2")
    return _from_565(words).reshape(pixels.shape)


def _words_swapped(pixels: np.ndarray) -> np.ndarray:
    """Return pixels that were stored with 5, 6 and 5 bits and are read with the two bytes of each exchanged."""
    red, green, blue = (pixels[..., channel].astype(np.uint16) for channel in range(3))
    words = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
    return _from_565(words.byteswap())


def _from_565(words: np.ndarray) -> np.ndarray:
    """Return 8-bit RGB of 16-bit words: 5 bits of red, 6 of green, 5 of blue."""
    red, green, blue = words >> 11, words >> 5 & 63, words & 31
    return np.stack([red * 255 // 31, green * 255 // 63, blue * 255 // 31], -1).astype(np.uint8)


def _pairs_swapped(pixels: np.ndarray) -> np.ndarray:
    """Return pixels of which every two bytes, taken for one sample of 16 bits, are exchanged."""
    octets = pixels.reshape(-1).copy()
    pairs = octets[: len(octets) // 2 * 2].reshape(-1, 2)
    pairs[:] = pairs[:, ::-1].copy()
    return octets.reshape(pixels.shape)


_READERS = {
    "planes as pixels": _planes_as_pixels,
    "pixels as planes": _pixels_as_planes,
    "RGB as YUV": _as_yuv,
    "RGB as BGR": lambda pixels: pixels[..., ::-1],
    "RGB as 5-6-5": _as_words,
    "5-6-5 with swapped bytes": _words_swapped,
    "16 bit with swapped bytes": _pairs_swapped,
}
