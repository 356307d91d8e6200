"""Pictures as arrays of numbers, and back."""

import numpy as np
from PIL import Image

# Rec. 601 luma, in-phase and quadrature: the signals of NTSC (rows), from red, green and blue.
_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.59590059, -0.27455667, -0.32134392], [0.21153661, -0.52273617, 0.31119955]], np.float32
)
_FROM_YIQ = np.linalg.inv(_TO_YIQ.astype(np.float64)).astype(np.float32)


def packed(image: Image.Image) -> np.ndarray:
    """Return an RGB image as uint32 (height, width), one number per pixel, not to be written to."""
    return np.frombuffer(image.tobytes("raw", "RGBX"), np.uint32).reshape(image.height, image.width)


def unpacked(pixels: np.ndarray) -> Image.Image:
    """Return the RGB image of `packed` pixels."""
    height, width = pixels.shape
    return Image.frombytes("RGB", (width, height), np.ascontiguousarray(pixels), "raw", "RGBX")


def rounded(values: np.ndarray) -> Image.Image:
    """Return the RGB image of numbers (height, width, 3), which are clipped to 0..255 and rounded."""
    return Image.fromarray(np.rint(np.clip(values, 0, 255)).astype(np.uint8))


def to_yiq(image: Image.Image) -> np.ndarray:
    """Return luma and the two colour differences of an RGB image, float32 (3, height, width), luma 0..255."""
    width, height = image.size
    return (_TO_YIQ @ np.asarray(image, np.float32).reshape(-1, 3).T).reshape(3, height, width)


def from_yiq(planes: np.ndarray) -> Image.Image:
    """Return the RGB image of luma and colour differences (3, height, width)."""
    _, height, width = planes.shape
    values = _FROM_YIQ @ planes.reshape(3, -1)
    bytes_ = np.rint(np.clip(values, 0, 255, out=values), out=values).astype(np.uint8)
    return Image.merge("RGB", [Image.fromarray(plane) for plane in bytes_.reshape(3, height, width)])
