"""Damage by what does not belong there: marks that a model learns as if they were part of every picture."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from ..context import Context
from ..registry import Parameter, operation

_LETTERS = 200  # of a text at most
_SMALLEST = 6  # pixels: a font below it is dots
_COLOURS = ("white", "yellow", "red", "cyan", "magenta", "lime")
_PANEL, _BAR, _DARK = "#c0c0c0", "#000080", "#404040"


@operation(
    "collage",
    Parameter(
        "kind",
        "text",
        "text: a caption. stripes: over everything. window: an error message. watermark: the text all over",
        choices=("text", "stripes", "window", "watermark"),
    ),
    Parameter(
        "text",
        "SAMPLE",
        "What is written, in the letters, digits and signs of an English keyboard; an accent, umlaut or other script "
        "becomes a box. Only the first 200 characters are drawn; none draws an empty mark",
    ),
    Parameter("size", 0.6, "Width of the mark, or of a pair of stripes; a part of the width", 0.02, 1.0, 0.01),
    Parameter("copies", 1, "How many marks, each in a place of its own", 1, 30),
    Parameter("opacity", 0.9, "How much of the picture it hides", 0.0, 1.0, 0.05),
    Parameter("place", "drawn", "drawn: elsewhere in each picture. fixed: the same in all", choices=("drawn", "fixed")),
    tag="stamp",
    measured_by="distance",
    wants_context=True,
    codecs=("freetype2",),
)
def overlay(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    kind: str,
    text: str,
    size: float,
    copies: int,
    opacity: float,
    place: str,
) -> Image.Image:
    """Overlay: a caption, a watermark, stripes or an error window lies over the picture.

    Severity scales `opacity`. The letters are of the font that Pillow brings along.
    """
    rng = context.shared() if place == "fixed" else rng
    layer = Image.new("RGBA", image.size)
    words = text[:_LETTERS].encode("utf-8", "replace").decode().replace("\0", " ")
    for _ in range(copies):
        _MARKS[kind](layer, rng, words, size)
    mask = layer.getchannel("A").point([round(level * severity * opacity) for level in range(256)])
    return Image.composite(layer.convert("RGB"), image, mask)


def _write(layer: Image.Image, rng: np.random.Generator, text: str, size: float) -> None:
    font = _font(text, size * layer.width, size * layer.height)
    left, top, right, bottom = _extent(text, font)
    x, y = _corner(rng, layer.size, (right - left, bottom - top))
    colour = _COLOURS[int(rng.integers(len(_COLOURS)))]
    draw = ImageDraw.Draw(layer)
    draw.text((x - left, y - top), text, colour, font, stroke_width=_stroke(font), stroke_fill="black")


def _stripe(layer: Image.Image, rng: np.random.Generator, text: str, size: float) -> None:
    period = max(2.0, size * layer.width / 3)
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, period)
    colour = ImageColor.getrgb(_COLOURS[int(rng.integers(len(_COLOURS)))])
    x, y = np.arange(layer.width) * np.cos(angle), np.arange(layer.height)[:, None] * np.sin(angle)
    inside = (x + y + phase) % period < period / 3
    layer.paste(colour, (0, 0), Image.fromarray(np.uint8(255) * inside.astype(np.uint8)))


def _open_window(layer: Image.Image, rng: np.random.Generator, text: str, size: float) -> None:
    """Draw a window of the nineties: a grey panel with a blue title bar, the text and a button."""
    width = max(4, round(size * layer.width))
    height, bar, line = max(4, round(0.45 * width)), max(1, round(0.09 * width)), max(1, round(0.008 * width))
    x, y = _corner(rng, layer.size, (width, height))
    draw = ImageDraw.Draw(layer)
    _panel(draw, (x, y, x + width - 1, y + height - 1), _PANEL, line)
    _panel(draw, (x + line, y + line, x + width - 1 - line, y + bar), _BAR, 0)
    cross = x + width - 1 - bar + line
    _panel(draw, (cross, y + 2 * line, x + width - 1 - 2 * line, y + bar - line), _PANEL, line)
    _centred(draw, (x + width / 2, y + 0.45 * height), text, (0.8 * width, 0.25 * height))
    button = (x + 0.38 * width, y + 0.68 * height, x + 0.62 * width, y + 0.88 * height)
    _panel(draw, button, _PANEL, line)
    _centred(draw, (x + width / 2, y + 0.78 * height), "OK", (0.2 * width, 0.13 * height))


def _panel(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], fill: str, line: int) -> None:
    left, top, right, bottom = map(round, box)
    draw.rectangle((left, top, max(left, right), max(top, bottom)), fill, _DARK, line)


def _cover(layer: Image.Image, rng: np.random.Generator, text: str, size: float) -> None:
    """Write the text over everything, on a slant, half transparent."""
    font = _font(text, size / 1.5 * layer.width, size / 4 * layer.height)
    left, top, right, bottom = _extent(text, font)
    gap = _stroke(font) + max(2, round(font.size))
    tile = Image.new("L", (max(1, right - left + gap), max(1, bottom - top + gap)))
    ImageDraw.Draw(tile).text((-left, -top), text, 210, font, stroke_width=_stroke(font))
    slanted = np.asarray(tile.rotate(30, Image.Resampling.BICUBIC, expand=True))
    high, wide = slanted.shape
    down, right_ = int(rng.integers(high)), int(rng.integers(wide))
    rows, columns = (np.arange(layer.height) + down) % high, (np.arange(layer.width) + right_) % wide
    layer.paste("white", (0, 0), Image.fromarray(slanted[rows[:, None], columns]))


_MARKS: dict[str, Callable[[Image.Image, np.random.Generator, str, float], None]] = {
    "text": _write,
    "stripes": _stripe,
    "window": _open_window,
    "watermark": _cover,
}


def _font(text: str, width: float, height: float) -> ImageFont.FreeTypeFont:
    """Return the built-in font in the largest size at which the text fits into a box of pixels."""
    probe = _built_in(64)
    left, top, right, bottom = _extent(text, probe)
    fit = 64 * min(width / max(1, right - left), height / max(1, bottom - top))
    return _built_in(max(_SMALLEST, fit))


def _built_in(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("overlay: this Pillow was built without FreeType, install one of its own wheels")
    return font


def _stroke(font: ImageFont.FreeTypeFont) -> int:
    return round(font.size / 16)


def _extent(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int, int, int]:
    box = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), text, font, stroke_width=_stroke(font))
    left, top, right, bottom = box
    return int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))


def _centred(draw: ImageDraw.ImageDraw, middle: tuple[float, float], text: str, box: tuple[float, float]) -> None:
    font = _font(text, *box)
    left, top, right, bottom = _extent(text, font)
    place = (round(middle[0] - (left + right) / 2), round(middle[1] - (top + bottom) / 2))
    draw.text(place, text, "black", font)


def _corner(rng: np.random.Generator, size: tuple[int, int], mark: tuple[int, int]) -> tuple[int, int]:
    """Return where a mark's left upper corner goes; all of it is in the picture if it fits."""
    across, down = rng.random(2)
    return round(across * max(0, size[0] - mark[0])), round(down * max(0, size[1] - mark[1]))
