"""Damage that grows: the damaged rows of a picture come in bands, at places that are drawn for each picture."""

import numpy as np
from PIL import Image

_FEWEST, _MOST = 2, 5  # bands


def spread_places(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return ascending places 0..1 in a stream, one drawn in each of `count` equal parts of it."""
    return (np.arange(count) + rng.random(count)) / count


def in_growing_bands(rng: np.random.Generator, image: Image.Image, damaged: Image.Image, part: float) -> Image.Image:
    """Return a copy of the RGB image with `part` (0..1) of the rows in which the damaged one differs, one at least.

    The rows lie around a few drawn places, around some of them earlier than around others. With the same stream those
    of a lesser part are among those of a greater one: the same glitch, grown; a part of 1 is the damaged image.
    """
    clean, spoiled = np.array(image), np.asarray(damaged)
    rows = np.flatnonzero((clean != spoiled).any(axis=(1, 2)))
    shown = rows[_order(rng, len(rows))[: max(1, round(part * len(rows)))]]
    clean[shown] = spoiled[shown]
    return Image.fromarray(clean)


def _order(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return the numbers 0 to `count` - 1 in the order in which bands that grow at drawn speeds reach them."""
    bands = int(rng.integers(_FEWEST, _MOST + 1))
    centres, slowness = spread_places(rng, bands) * count, rng.uniform(1, 4, bands)
    reached = np.abs(np.arange(count)[:, None] - centres) * slowness
    return np.argsort(reached.min(axis=1), kind="stable")
