"""Damage to tones: burnt, folded, and pulled apart."""

import numpy as np
from PIL import Image, ImageOps

from ..registry import Parameter, operation

_LEVELS = np.arange(256) / 255


@operation(
    "tone",
    Parameter("clip", 0.3, "Part of all pixels that becomes black, and part that becomes white", 0.0, 0.45, 0.01),
    Parameter("gain", 1.3, "Exposure, as a factor, before the clipping to white", 0.1, 8.0, 0.05),
    Parameter("gamma", 1.0, "Bend of the tones; below 1 lifts the shadows, above 1 sinks them", 0.2, 5.0, 0.05),
    tag="burnt",
    measured_by="clipped",
    draws=False,
)
def tone_collapse(
    image: Image.Image, rng: np.random.Generator, severity: float, *, clip: float, gain: float, gamma: float
) -> Image.Image:
    """Tone collapse: shadows drown in black and highlights burn out.

    Severity closes the range from everything to what `clip` leaves, and moves `gain` and `gamma` from 1 on a
    logarithmic scale.
    """
    counts = np.cumsum(image.convert("L").histogram())
    part = clip * counts[-1]
    black, white = (int(np.searchsorted(counts, place)) / 255 for place in (part, counts[-1] - part))
    black, white = severity * black, 1 - severity * (1 - white)
    stretched = np.clip((_LEVELS - black) / max(white - black, 1 / 255), 0, 1)
    return _with_levels(image, gain**severity * stretched ** (gamma**severity))


@operation(
    "tone",
    Parameter("threshold", 0.4, "Lightness at which tones turn round; 0 black, 1 white", 0.05, 0.95, 0.05),
    Parameter("turned", "highlights", "Which side of it is turned into negative", choices=("highlights", "shadows")),
    tag="solar",
    measured_by="colour_distance",
    draws=False,
)
def solarise(
    image: Image.Image, rng: np.random.Generator, severity: float, *, threshold: float, turned: str
) -> Image.Image:
    """Solarisation (Sabattier effect): tones beyond a threshold turn into their negative, channel by channel.

    Severity moves the threshold in from the end of the scale; what lies beyond it is folded back at it.
    """
    levels = _LEVELS if turned == "highlights" else 1 - _LEVELS
    wanted = threshold if turned == "highlights" else 1 - threshold
    fold = 1 - severity * (1 - wanted)
    folded = np.where(levels > fold, np.abs(2 * fold - levels), levels)
    return _with_levels(image, folded if turned == "highlights" else 1 - folded)


@operation(
    "tone",
    Parameter("tiles", 4, "Tiles in each direction, each with a histogram of its own", 1, 32),
    Parameter("steps", 0, "Levels left in each channel; 0 leaves all", 0, 32),
    Parameter("channels", "each", "What is flattened", choices=("each", "lightness")),
    tag="hist",
    measured_by="distance",
    draws=False,
)
def histogram_glitch(
    image: Image.Image, rng: np.random.Generator, severity: float, *, tiles: int, steps: int, channels: str
) -> Image.Image:
    """Histogram glitch: every tile's histogram is flattened on its own; neon colours, noise, and edges between tiles.

    Severity mixes the flattened picture in.
    """
    flattened = image.copy()
    columns, rows = (np.unique(np.linspace(0, side, tiles + 1).round().astype(int)).tolist() for side in image.size)
    for top, bottom in zip(rows, rows[1:], strict=False):
        for left, right in zip(columns, columns[1:], strict=False):
            tile = image.crop((left, top, right, bottom))
            flattened.paste(_equalised(tile, channels), (left, top))
    if steps:
        top_level = max(1, steps - 1)
        flattened = _with_levels(flattened, np.round(_LEVELS * top_level) / top_level)
    return Image.blend(image, flattened, severity)


def _equalised(tile: Image.Image, channels: str) -> Image.Image:
    if channels == "each":
        return ImageOps.equalize(tile)
    lightness, *colours = tile.convert("YCbCr").split()
    return Image.merge("YCbCr", (ImageOps.equalize(lightness), *colours)).convert("RGB")


def _with_levels(image: Image.Image, levels: np.ndarray) -> Image.Image:
    """Return an RGB image whose every channel goes through a table of 256 values, 0..1 (clipped)."""
    table = np.clip(255 * levels + 0.5, 0, 255).astype(np.uint8).tolist()
    return image.point(3 * table)
