"""Damage to colour: read as what it is not, and lit by the wrong light."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .smooth_field import smooth_field

_WHITE = 6504.0  # kelvin: the light that sRGB's white is the colour of, on the Planckian locus near D65


@operation(
    "colour",
    Parameter(
        "mistake",
        "Lab",
        "What the numbers were before they were taken for RGB; drawn: another mistake for each picture",
        choices=(
            *("Lab", "CMYK", "YCbCr", "HSV", "BGR", "linear light", "encoded twice"),
            *("limited range", "stretched range", "premultiplied", "drawn"),
        ),
    ),
    tag="misread",
    measured_by="colour_distance",
    codecs=("littlecms2",),
)
def colour_misread(image: Image.Image, rng: np.random.Generator, severity: float, *, mistake: str) -> Image.Image:
    """Colour-management mistake: numbers of another colour space, order or range are shown as if they were RGB.

    Severity mixes the misread picture in.
    """
    drawn = list(_MISTAKES)[int(rng.integers(len(_MISTAKES)))]
    return Image.blend(image, _MISTAKES[drawn if mistake == "drawn" else mistake](image), severity)


@operation(
    "colour",
    Parameter("temperature", 2200, "Colour of the light; candle 1900, bulb 2800, shade 8000", 1667, 25000, 50, "K"),
    Parameter("shading", 0.7, "How unevenly the light falls; 0 evenly, 1 into full shadow", 0.0, 1.0, 0.05),
    Parameter("size", 0.5, "Size of light and shadow; a part of the shorter side", 0.05, 2.0, 0.05),
    tag="cast",
    measured_by="colour_distance",
)
def colour_cast(
    image: Image.Image, rng: np.random.Generator, severity: float, *, temperature: int, shading: float, size: float
) -> Image.Image:
    """Colour cast: lit by the wrong lamp, unevenly.

    Severity moves the light from daylight to `temperature` in equal steps of 1/kelvin, and scales `shading`.
    """
    kelvin = 1 / ((1 - severity) / _WHITE + severity / temperature)
    gains = planckian(kelvin) / planckian(_WHITE)
    levels = np.clip(_encoded(_linear(np.arange(256) / 255)[:, None] * (gains / gains.max())), 0, 1)
    lit = image.point(np.round(255 * levels.T).astype(int).ravel().tolist())
    shadow = np.clip(0.5 + 0.6 * smooth_field(rng, image.size, size), 0, 1)
    light = np.float32(1) - np.float32(severity * shading) * shadow
    return Image.fromarray((np.asarray(lit) * light[..., None] + np.float32(0.5)).astype(np.uint8))


def planckian(kelvin: float) -> np.ndarray:
    """Return the linear sRGB of a black body's light at 1667 to 25000 K, of luminance 1; not clipped.

    Cubic splines of the Planckian locus by Kim et al. (US patent 7024034, 2006).
    """
    t = 1000 / kelvin
    if kelvin <= 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin <= 2222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif kelvin <= 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    from_xyz = ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))
    return np.clip(np.array(from_xyz) @ [x / y, 1.0, (1 - x - y) / y], 1e-3, None)


def _linear(encoded: np.ndarray) -> np.ndarray:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encoded(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _with_levels(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Image.Image], Image.Image]:
    """Return what puts every channel of an image through a function of 0..1."""
    table = np.clip(np.round(255 * function(np.arange(256) / 255)), 0, 255).astype(int).tolist()
    return lambda image: image.point(3 * table)


def _lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
    found = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert found is not None  # only in-place transforms give none
    return Image.merge("RGB", found.split())


def _cmyk(image: Image.Image) -> Image.Image:
    """Return cyan, magenta and yellow, with all grey moved to the black plate, which is lost."""
    ink = 255 - np.asarray(image, np.uint16)
    black = ink.min(axis=2, keepdims=True)
    return Image.fromarray((255 * (ink - black) // np.maximum(255 - black, 1)).astype(np.uint8))


def _premultiplied(image: Image.Image) -> Image.Image:
    """Return the colours divided by an alpha that they never were multiplied with: their lightness."""
    pixels, alpha = np.asarray(image, np.uint32), np.asarray(image.convert("L"), np.uint32)[..., None]
    return Image.fromarray(np.minimum(pixels * 255 // np.maximum(alpha, 1), 255).astype(np.uint8))


def _taken_as_rgb(mode: str) -> Callable[[Image.Image], Image.Image]:
    return lambda image: Image.merge("RGB", image.convert(mode).split())


# Limited and stretched range: 0..255 taken for 16..235 or the reverse, thrice in a row; once hardly shows.
_MISTAKES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "Lab": _lab,
    "CMYK": _cmyk,
    "YCbCr": _taken_as_rgb("YCbCr"),
    "HSV": _taken_as_rgb("HSV"),
    "BGR": lambda image: Image.merge("RGB", image.split()[::-1]),
    "linear light": _with_levels(_linear),
    "encoded twice": _with_levels(_encoded),
    "limited range": _with_levels(lambda levels: 0.5 + (levels - 0.5) * (219 / 255) ** 3),
    "stretched range": _with_levels(lambda levels: 0.5 + (levels - 0.5) * (255 / 219) ** 3),
    "premultiplied": _premultiplied,
}
