"""Damage by the lens and by the hand that sharpens too much."""

import math

import numpy as np
from PIL import Image, ImageFilter

from ..registry import Parameter, operation
from .pixels import rounded


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
    return image.filter(ImageFilter.GaussianBlur(severity * radius * min(image.size)))


@operation(
    "focus",
    Parameter("length", 0.12, "Length of the trail; a part of the shorter side", 0.0, 1.0, 0.01),
    Parameter("angle", 0, "Direction of the trail; 0 is sideways", -90, 90, unit="degrees"),
    Parameter("spread", 90, "Each picture's direction is drawn from this much around it", 0, 90, unit="degrees"),
    tag="motion",
    measured_by="blur",
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
    """Return the mean of copies of the image along a line, centred, with its edge repeated beyond it.

    Doubling: the mean of 2, then of 4, 8... copies, each time of twice the distance; copies are a pixel apart or less,
    up to 1024 of them.
    """
    doublings = min(10, math.ceil(math.log2(max(1.0, abs(right), abs(down)))))
    margin = math.ceil(max(abs(right), abs(down)) / 2) + 2 * doublings
    pad = ((margin, margin), (margin, margin), (0, 0))
    total = np.pad(np.asarray(image), pad, mode="edge").astype(np.uint32)
    for doubling in range(doublings):
        copies = 2**doubling
        x, y = (round(move * copies / 2**doublings) for move in (right, down))
        total = _moved_sum(total, x, y)
    left, top = _middle(total.shape[1], image.width), _middle(total.shape[0], image.height)
    inner = total[top : top + image.height, left : left + image.width]
    return Image.fromarray(((inner + (1 << doublings >> 1)) >> doublings).astype(np.uint8))


def _moved_sum(total: np.ndarray, x: int, y: int) -> np.ndarray:
    """Return the sum of an array and a copy moved by (x, y), where both are."""
    height, width = total.shape[0] - abs(y), total.shape[1] - abs(x)
    first = total[max(0, y) : max(0, y) + height, max(0, x) : max(0, x) + width]
    second = total[max(0, -y) : max(0, -y) + height, max(0, -x) : max(0, -x) + width]
    return first + second


def _middle(outer: int, inner: int) -> int:
    return (outer - inner) // 2


def _detail(lightness: np.ndarray, radius: float, ringing: float) -> np.ndarray:
    """Return what low-pass filters of a radius in pixels take from a plane; the cosine transform mirrors its border."""
    from scipy import fft

    down, across = (np.arange(length, dtype=np.float32) / (2 * length) for length in lightness.shape)
    square = down[:, None] ** 2 + across**2  # of the frequency, in cycles per pixel
    gauss = np.exp(-2 * (np.pi * radius) ** 2 * square)
    cut = square < (0.25 / radius) ** 2
    kept = (1 - ringing) * gauss + ringing * cut
    return fft.idctn(fft.dctn(lightness, norm="ortho") * (1 - kept).astype(np.float32), norm="ortho")
