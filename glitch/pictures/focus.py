"""Damage by the lens and by the hand that sharpens too much."""

import math

import numpy as np
from PIL import Image, ImageFilter

from ..registry import Parameter, operation
from .pixels import rounded

_MARGIN = 4  # pixels beyond the edge: one end of the picture rings into the other a little


@operation(
    "focus",
    Parameter("radius", 0.02, "Deviation of the blur; a part of the shorter side", 0.0, 0.2, 0.001),
    tag="soft",
    measured_by="blur",
    draws=False,
)
def defocus(image: Image.Image, rng: np.random.Generator, severity: float, *, radius: float) -> Image.Image:
    """Defocus: Gaussian blur.

    Severity scales `radius`.
    """
    return image.filter(ImageFilter.GaussianBlur(float(severity * radius * min(image.size))))


@operation(
    "focus",
    Parameter("length", 0.2, "Length of the trail; a part of the shorter side", 0.0, 1.0, 0.01),
    Parameter("angle", 0, "Direction of the trail; 0 is sideways", -90, 90, unit="degrees"),
    Parameter("spread", 90, "Each picture's direction is drawn from this much around it", 0, 90, unit="degrees"),
    tag="motion",
    measured_by="-laplacian_variance",
    codecs=("scipy",),
)
def motion_blur(
    image: Image.Image, rng: np.random.Generator, severity: float, *, length: float, angle: int, spread: int
) -> Image.Image:
    """Motion blur: everything is dragged along a straight line, as when the camera moves.

    Severity scales `length`.
    """
    direction = math.radians(angle + spread * rng.uniform(-1, 1))
    trail = severity * length * min(image.size)
    return _dragged(image, trail * math.cos(direction), trail * math.sin(direction))


@operation(
    "focus",
    Parameter("amount", 6.0, "How much of the fine detail is added", 0.0, 20.0, 0.1),
    Parameter("radius", 0.012, "Width of the halos; a part of the shorter side", 0.001, 0.1, 0.001),
    Parameter("ringing", 0.5, "0: one soft halo along an edge; 1: echoes of the edge beside it", 0.0, 1.0, 0.05),
    tag="halo",
    measured_by="laplacian_variance",
    draws=False,
    codecs=("scipy",),
)
def oversharpen(
    image: Image.Image, rng: np.random.Generator, severity: float, *, amount: float, radius: float, ringing: float
) -> Image.Image:
    """Over-sharpening: bright and dark halos along every edge, and echoes of it.

    Severity scales `amount`. Lightness is sharpened by a filter of frequencies: what a Gaussian (soft halo) and a sharp
    cut-off (ringing, Gibbs's phenomenon) remove, is added.
    """
    pixels = np.asarray(image, np.float32)
    detail = _detail(np.asarray(image.convert("L"), np.float32), max(0.5, radius * min(image.size)), ringing)
    sharp = pixels + np.float32(severity * amount) * detail[..., None]
    return rounded(sharp)


def _dragged(image: Image.Image, right: float, down: float) -> Image.Image:
    """Return the mean of an image moved along a line of that many pixels, centred, with its edge repeated beyond it.

    A mean along a line multiplies each wave by the sinc of its cycles along the line, also for parts of a pixel.
    """
    from scipy import fft

    x, y = (math.ceil(abs(move) / 2) + _MARGIN for move in (right, down))
    shape = fft.next_fast_len(image.height + 2 * y, real=True), fft.next_fast_len(image.width + 2 * x, real=True)
    around = ((y, shape[0] - image.height - y), (x, shape[1] - image.width - x), (0, 0))
    padded = np.pad(np.asarray(image, np.float32), around, mode="edge")
    cycles = np.fft.fftfreq(shape[0])[:, None] * down + np.fft.rfftfreq(shape[1]) * right
    mean = np.sinc(cycles).astype(np.float32)
    planes = [fft.irfft2(fft.rfft2(padded[..., channel]) * mean, shape) for channel in range(3)]
    return rounded(np.stack(planes, axis=-1)[y : y + image.height, x : x + image.width])


def _detail(lightness: np.ndarray, radius: float, ringing: float) -> np.ndarray:
    """Return what low-pass filters of a radius in pixels take from a plane; the cosine transform mirrors its border."""
    from scipy import fft

    down, across = (np.arange(length, dtype=np.float32) / (2 * length) for length in lightness.shape)
    square = down[:, None] ** 2 + across**2  # of the frequency, in cycles per pixel
    gauss = np.exp(-2 * (np.pi * radius) ** 2 * square)
    cut = square < (0.25 / radius) ** 2
    kept = (1 - ringing) * gauss + ringing * cut
    return fft.idctn(fft.dctn(lightness, norm="ortho") * (1 - kept).astype(np.float32), norm="ortho")
