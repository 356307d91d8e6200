"""Pictures whose every pixel comes from somewhere else."""

from typing import Literal

import numpy as np
from PIL import Image

Edges = Literal["mirror", "wrap", "repeat", "black"]
_MODES: dict[str, str] = {"mirror": "reflect", "wrap": "grid-wrap", "repeat": "nearest", "black": "grid-constant"}
EDGES = tuple(_MODES)

_PIXELS_AT_ONCE = 1 << 20  # bounds the memory for coordinates


def displaced(image: Image.Image, right: np.ndarray, down: np.ndarray, edges: str) -> Image.Image:
    """Return an RGB image whose pixel (x, y) is what was at (x + right, y + down), bilinear between pixels.

    right, down: pixels, of any shape that broadcasts to (height, width). edges: what lies beyond the picture.
    """
    from scipy import ndimage

    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    right, down = np.broadcast_to(right, (height, width)), np.broadcast_to(down, (height, width))
    result = np.empty_like(pixels)
    rows = max(1, _PIXELS_AT_ONCE // width)
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        y, x = np.mgrid[top : min(top + rows, height), 0:width].astype(np.float64)
        places = np.stack((y + down[part], x + right[part]))
        for channel in range(3):
            source = pixels[..., channel]
            ndimage.map_coordinates(source, places, result[part, :, channel], 1, _MODES[edges], prefilter=False)
    return Image.fromarray(result)
