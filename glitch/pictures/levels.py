"""Too few values, colours or pixels."""

import numpy as np
from PIL import Image

from ..registry import Parameter, operation

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
# Red, green, blue of each colour, as six hexadecimal digits.
_PALETTES = {
    "CGA": "000000 55ffff ff55ff ffffff",
    "EGA": "000000 0000aa 00aa00 00aaaa aa0000 aa00aa aa5500 aaaaaa "
    "555555 5555ff 55ff55 55ffff ff5555 ff55ff ffff55 ffffff",
    "ZX Spectrum": "000000 0000d7 d70000 d700d7 00d700 00d7d7 d7d700 d7d7d7 "
    "0000ff ff0000 ff00ff 00ff00 00ffff ffff00 ffffff",
    "Game Boy": "0f380f 306230 8bac0f 9bbc0f",
    "PICO-8": "000000 1d2b53 7e2553 008751 ab5236 5f574f c2c3c7 fff1e8 "
    "ff004d ffa300 ffec27 00e436 29adff 83769c ff77a8 ffccaa",
    "black and white": "000000 ffffff",
}


_SAMPLE = 16384  # enough pixels to pick 256 colours from


@operation(
    "values",
    Parameter("bits", 2, "Bits left for each channel: 1 leaves two values, 8 all 256", 1, 8),
    tag="crush",
    measured_by="empty_bins",
    draws=False,
)
def bit_crush(image: Image.Image, rng: np.random.Generator, severity: float, *, bits: int) -> Image.Image:
    """Bit crush: too few brightness values, which turns slopes into contour bands.

    Severity^0.6 moves the number of values from 256 to 2 to the power of `bits`, on a logarithmic scale.
    """
    values = round(2 ** (8 + severity**0.6 * (bits - 8)))
    index = np.arange(256) * values // 256
    return image.point(np.rint(index * 255 / (values - 1)).astype(int).tolist() * 3)


@operation(
    "values",
    Parameter(
        "action",
        "xor",
        "Flip the bits of a mask, clear a plane, exchange two planes, turn all planes around, or show the Gray code",
        choices=("xor", "drop", "swap", "rotate", "gray"),
    ),
    Parameter("mask", 0b01010101, "Bits that xor flips: 128 the highest, 1 the lowest", 0, 255),
    Parameter("plane", 6, "Bit plane that is dropped or exchanged: 7 the highest, 0 the lowest", 0, 7),
    Parameter("other", 3, "Bit plane that it is exchanged with", 0, 7),
    Parameter("turn", 3, "Places by which rotate moves the planes up", 1, 7),
    tag="planes",
    measured_by="distance",
    draws=False,
)
def bit_planes(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    action: str,
    mask: int,
    plane: int,
    other: int,
    turn: int,
) -> Image.Image:
    """Bit planes: the bits of every value flipped, cleared, exchanged or turned around, for false contours.

    Severity is the part of the way from the right value to the wrong one.
    """
    values = np.arange(256)
    if action == "xor":
        wrong = values ^ mask
    elif action == "drop":
        wrong = values & ~(1 << plane)
    elif action == "swap":
        wrong = _exchanged(values, plane, other)
    elif action == "rotate":
        wrong = (values << turn | values >> (8 - turn)) & 255
    else:
        wrong = values ^ (values >> 1)
    return image.point(np.rint(values + severity * (wrong - values)).astype(int).tolist() * 3)


@operation(
    "values",
    Parameter("colours", 8, "Colours of an adaptive palette", 2, 256),
    Parameter(
        "palette",
        "adaptive",
        "Colours picked from the picture, or those of an old machine",
        choices=("adaptive", *_PALETTES),
    ),
    Parameter(
        "dither",
        "none",
        "How missing colours are mixed: not at all, by a regular pattern, or by carrying the error on",
        choices=("none", "Bayer", "Floyd-Steinberg"),
    ),
    tag="palette",
    measured_by="-palette",
    draws=False,
)
def palette_reduction(
    image: Image.Image, rng: np.random.Generator, severity: float, *, colours: int, palette: str, dither: str
) -> Image.Image:
    """Palette reduction: as few colours as on an old machine, with or without dithering.

    Severity^0.6 moves the number of colours from 256 to `colours`, on a logarithmic scale. Fixed palettes are blended
    in.
    """
    if palette != "adaptive":
        return Image.blend(
            image, _in_palette(image, _fixed(palette), dither, len(_PALETTES[palette].split())), severity
        )
    count = max(2, round(256 * (colours / 256) ** severity**0.6))
    return _in_palette(image, _picked(image, count), dither, count)


@operation(
    "values",
    Parameter("cell", 12, "Side of a square", 2, 64, unit="px"),
    Parameter("filter", "box", "A square's colour: its mean, or that of one pixel in it", choices=("box", "nearest")),
    tag="pixel",
    measured_by="mosaic",
    draws=False,
)
def pixelation(image: Image.Image, rng: np.random.Generator, severity: float, *, cell: int, filter: str) -> Image.Image:
    """Pixelation: the picture made of large squares.

    Severity moves the side of a square from one pixel to `cell`.
    """
    side = max(1, round(1 + severity * (cell - 1)))
    small = image.reduce(side) if filter == "box" else _sampled(image, side)
    large = small.resize((small.width * side, small.height * side), Image.Resampling.NEAREST)
    return large.crop((0, 0, *image.size))


@operation(
    "values",
    Parameter("scale", 0.125, "What is left of each side when the picture is smallest", 0.02, 1, 0.005),
    Parameter(
        "longest", 0, "Longest side when the picture is smallest, instead of scale; 0 means scale", 0, 4096, unit="px"
    ),
    Parameter("shrink_with", "nearest", "Filter on the way down", choices=FILTERS),
    Parameter("enlarge_with", "bicubic", "Filter on the way up", choices=FILTERS),
    tag="lowres",
    measured_by="blur",
    draws=False,
)
def resolution_crush(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    scale: float,
    longest: int,
    shrink_with: str,
    enlarge_with: str,
) -> Image.Image:
    """Resolution crush: shrunk to a thumbnail and blown up again.

    Severity moves the smallest size from the picture's own to the one asked for, on a logarithmic scale.
    """
    factor = min(1.0, longest / max(image.size)) if longest else scale
    smallest = tuple(max(1, round(side * factor**severity)) for side in image.size)
    small = image.resize(smallest, Image.Resampling[shrink_with.upper()])
    return small.resize(image.size, Image.Resampling[enlarge_with.upper()])


def _sampled(image: Image.Image, side: int) -> Image.Image:
    """Return the pixel in the middle of every square of a grid, or the last one before the border."""
    rows, columns = (
        np.minimum(np.arange(side // 2, length + side // 2, side), length - 1) for length in np.asarray(image).shape[:2]
    )
    return Image.fromarray(np.asarray(image)[np.ix_(rows, columns)])


def _exchanged(values: np.ndarray, plane: int, other: int) -> np.ndarray:
    """Return values with two bits exchanged."""
    differ = (values >> plane ^ values >> other) & 1
    return values ^ (differ << plane | differ << other if plane != other else 0)


def _fixed(name: str) -> Image.Image:
    """Return a picture that carries a fixed palette, as Pillow wants it."""
    carrier = Image.new("P", (1, 1))
    carrier.putpalette(bytes.fromhex(_PALETTES[name].replace(" ", "")))
    return carrier


def _picked(image: Image.Image, colours: int) -> Image.Image:
    """Return a picture that carries a palette picked from this one by median cut."""
    pixels = np.asarray(image).reshape(1, -1, 3)
    if pixels.shape[1] > _SAMPLE:
        # By the golden ratio: a grid would miss the colours of fine lines and dots.
        pixels = pixels[:, (np.arange(_SAMPLE) * ((5**0.5 - 1) / 2) % 1 * pixels.shape[1]).astype(np.int64)]
    return Image.fromarray(pixels).quantize(colours, Image.Quantize.MEDIANCUT)


def _in_palette(image: Image.Image, palette: Image.Image, dither: str, colours: int) -> Image.Image:
    """Return the picture in the colours of a palette."""
    if dither == "Bayer":
        image = _spread(image, 255 / colours ** (1 / 3))
    diffusion = Image.Dither.FLOYDSTEINBERG if dither == "Floyd-Steinberg" else Image.Dither.NONE
    return image.quantize(palette=palette, dither=diffusion).convert("RGB")


def _spread(image: Image.Image, width: float) -> Image.Image:
    """Return the picture with Bayer's 8x8 threshold pattern added, from -width/2 to width/2."""
    pattern = np.zeros((1, 1))
    for _ in range(3):
        pattern = np.block([[4 * pattern, 4 * pattern + 2], [4 * pattern + 3, 4 * pattern + 1]])
    rows, columns = image.height, image.width
    tiled = np.tile((pattern + 0.5) / 64 - 0.5, (-(-rows // 8), -(-columns // 8)))[:rows, :columns, None]
    return Image.fromarray(np.clip(np.asarray(image) + np.rint(width * tiled), 0, 255).astype(np.uint8))
