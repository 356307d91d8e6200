"""The planes that metrics look at: luma, Lab, and what a picture has to be."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Plane = NDArray[np.float32]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Linear sRGB to XYZ (IEC 61966-2-1), each row divided by the D65 white point of the 2 degree observer.
_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([0.95047, 1.0, 1.08883])
_LAB_STEP = 6 / 29


def checked(picture: Any) -> Picture:
    """Return the picture. Raises ValueError for anything but uint8 [H, W, 3] with at least one pixel."""
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3:
        if picture.shape[2] == 3 and picture.size:
            return picture
    got = f"{picture.dtype} {list(picture.shape)}" if isinstance(picture, np.ndarray) else type(picture).__name__
    raise ValueError(f"picture: got {got}, allowed is uint8 [height, width, 3], convert it")


def luma(picture: Picture) -> Plane:
    """Return the luma [H, W] of ITU-R BT.601, 0..255, as JPEG does."""
    return np.tensordot(picture.astype(np.float32), _LUMA, 1)


def lab(picture: Picture) -> Plane:
    """Return CIE L*a*b* [H, W, 3] of sRGB under D65: L 0..100, a and b about -110..110."""
    linear = _linear()[picture]
    xyz = np.tensordot(linear, (_XYZ / _WHITE[:, None]).T.astype(np.float32), 1)
    bent = np.where(xyz > _LAB_STEP**3, np.cbrt(xyz), xyz / (3 * _LAB_STEP**2) + 4 / 29)
    x, y, z = np.moveaxis(bent, 2, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2)


@cache
def _linear() -> Plane:
    """Return the linear light, 0..1, of each of the 256 sRGB values."""
    value = np.arange(256) / 255
    return np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92).astype(np.float32)


def slopes(plane: Plane) -> Plane:
    """Return the length of the gradient [H, W] by central differences; one-sided at the border."""
    down, across = (_slope(plane, axis) for axis in (0, 1))
    return np.hypot(down, across)


def _slope(plane: Plane, axis: int) -> Plane:
    return np.gradient(plane, axis=axis) if plane.shape[axis] > 1 else np.zeros_like(plane)


def halved(plane: Plane) -> Plane:
    """Return the means of 2x2 pixels [H // 2, W // 2]; an odd last row or column is left out."""
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    return plane[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3))
