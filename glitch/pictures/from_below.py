"""Damage that climbs from the bottom of a picture: what was read before the fault is intact."""

import numpy as np
from PIL import Image


def spread_places(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return ascending places 0..1 in a stream, one drawn in each of `count` equal parts of it."""
    return (np.arange(count) + rng.random(count)) / count


def lowest_rows(image: Image.Image, damaged: Image.Image, part: float) -> Image.Image:
    """Return a copy of the image whose lowest `part` (0..1) of the rows, one at least, are the damaged image's.

    Faults in a stream spoil all that follows them; showing more of the spoiled rows is the same glitch, grown.
    """
    top = min(image.height - 1, round(image.height * (1 - part)))
    result = image.copy()
    result.paste(damaged.crop((0, top, *image.size)), (0, top))
    return result
