"""Smooth random fields: what bends, lights and tears pictures unevenly."""

import math

import numpy as np
from PIL import Image


def smooth_field(rng: np.random.Generator, size: tuple[int, int], scale: float) -> np.ndarray:
    """Return float32 of shape (height, width): normal noise with mean 0 and deviation 1 on a lattice, bicubic between.

    size: (width, height). scale: distance of the lattice's points, a part of the shorter side (at least 2 px).
    """
    width, height = size
    cell = max(2.0, scale * min(size))
    columns, rows = math.ceil(width / cell) + 3, math.ceil(height / cell) + 3
    lattice = Image.fromarray(rng.standard_normal((rows, columns), np.float32))
    box = (1.0, 1.0, 1.0 + width / cell, 1.0 + height / cell)
    return np.asarray(lattice.resize(size, Image.Resampling.BICUBIC, box))
