"""Damage by resampling: patterns too fine for the grid come back as coarse ones."""

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .pixels import rounded

_NEXT_FACTOR = 1.17  # of each further pass: the same grid again would find nothing new


@operation(
    "frequencies",
    Parameter("factor", 2.5, "How much the picture is shrunk and enlarged again without smoothing", 1.05, 8.0, 0.05),
    Parameter("passes", 1, "How often, each time a little more", 1, 3),
    Parameter("bands", 5.0, "Rainbow bands across the picture", 0.0, 60.0, 0.5),
    Parameter("depth", 0.6, "Strength of the bands", 0.0, 1.0, 0.05),
    Parameter("curve", 0.6, "How much the display bulges, which bends the bands", -2.0, 2.0, 0.1),
    Parameter("angle", 25, "How the bands lie", -90, 90, unit="degrees"),
    tag="moire",
    measured_by="colour_distance",
    draws=False,
)
def moire(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    factor: float,
    passes: int,
    bands: float,
    depth: float,
    curve: float,
    angle: int,
) -> Image.Image:
    """Moire: a photograph of a screen, whose fine stripes beat against the pixels as broad rainbow bands.

    Severity mixes the bands in, and the jagged edges of sampling without smoothing. The display has a stripe for each
    sample and, over the whole picture, as many more as there are bands: those are all that is seen of the stripes.
    """
    (columns, across), (rows, down) = (_sampled(length, factor, passes) for length in image.size)
    pixels = np.asarray(image)
    extra = bands * _beyond(columns / image.width - 0.5, rows / image.height - 0.5, curve, np.radians(angle))
    samples = pixels[rows[:, None], columns] * _stripes(extra, depth)
    return rounded(pixels + np.float32(severity) * (samples[down[:, None], across] - pixels))


def _sampled(length: int, factor: float, passes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels of a side survive shrinking by nearest neighbours, and which of them each pixel shows."""
    places = np.arange(length)
    for one in reversed(range(passes)):
        pitch = factor * _NEXT_FACTOR**one
        places = np.minimum(length - 1, ((places / pitch).astype(int) + 0.5) * pitch).astype(int)
    survivors, shown = np.unique(places, return_inverse=True)
    return survivors, shown


def _beyond(x: np.ndarray, y: np.ndarray, curve: float, turned: float) -> np.ndarray:
    """Return, of shape (height, width), how far a point of the display lies across the bands, with its bulge."""
    straight = x * np.cos(turned) + y[:, None] * np.sin(turned)
    return straight + curve * (x**2 + y[:, None] ** 2)


def _stripes(cycles: np.ndarray, depth: float) -> np.ndarray:
    """Return gains of shape (height, width, 3) and mean 1: red, green and blue a third of a stripe apart."""
    turn = (2 * np.pi * (cycles[..., None] - np.arange(3) / 3)).astype(np.float32)
    return np.float32(1) + np.float32(depth) * np.cos(turn)
