"""Damage in the frequencies of a picture: cosines of 8x8 blocks, and Haar wavelets."""

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .pixels import rounded

_BLOCK = 8


@operation(
    "frequencies",
    Parameter(
        "action",
        "flip sign",
        "Take frequencies away, multiply them by factor, turn them upside down, or exchange across and down",
        choices=("flip sign", "zero", "scale", "swap"),
    ),
    Parameter("low", 1, "Lowest frequency that is damaged: 0 is a block's mean, 14 the finest checks", 0, 14),
    Parameter("high", 14, "Highest frequency that is damaged", 0, 14),
    Parameter("factor", 6.0, "What scale multiplies by", 0, 16, 0.1),
    Parameter("fraction", 0.8, "Part of the blocks that is damaged, drawn", 0, 1, 0.01),
    tag="dct",
    measured_by="blockiness",
    codecs=("scipy",),
)
def dct_bend(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    action: str,
    low: int,
    high: int,
    factor: float,
    fraction: float,
) -> Image.Image:
    """DCT bend: the cosine coefficients of 8x8 blocks, as in JPEG, flipped, scaled, exchanged or taken away.

    Severity is the part of the coefficients whose sign is flipped, otherwise the part of the way from the right
    coefficient to the wrong one. A coefficient's frequency is the sum of its two indices.
    """
    from scipy.fft import dctn, idctn

    blocks = _in_blocks(np.asarray(image, np.float32))
    right = dctn(blocks, axes=(2, 3), norm="ortho")
    damaged = (rng.random(blocks.shape[:2]) < fraction)[..., None, None] & _band(low, high)
    if action == "flip sign":
        flipped = rng.random(damaged.shape, np.float32) < severity
        bent = np.where((damaged & flipped)[..., None], -right, right)
    else:
        wrong = right.swapaxes(2, 3) if action == "swap" else right * np.float32(factor if action == "scale" else 0)
        bent = right + (np.float32(severity) * damaged)[..., None] * (wrong - right)
    whole = idctn(bent, axes=(2, 3), norm="ortho", overwrite_x=True)
    return rounded(_from_blocks(whole)[: image.height, : image.width])


@operation(
    "frequencies",
    Parameter(
        "action",
        "quantise",
        "Round the details to multiples of amount, or multiply each by a random number that is amount wide",
        choices=("quantise", "noise"),
    ),
    Parameter("levels", 5, "How often the picture is halved; each level holds details twice as coarse", 1, 6),
    Parameter("amount", 1.0, "Strength", 0, 4, 0.05),
    tag="wavelet",
    measured_by="dead_area",
)
def wavelet_bend(
    image: Image.Image, rng: np.random.Generator, severity: float, *, action: str, levels: int, amount: float
) -> Image.Image:
    """Wavelet bend: Haar details rounded until squares of all sizes stand out, or shaken by noise.

    Severity scales the strength. Amount 1 rounds to multiples of 32 of 255, or shakes with a standard deviation of 2
    times the detail. Where the grid of squares begins is drawn.
    """
    side = 2**levels
    top, left = rng.integers(0, side, 2).tolist()
    padding = ((top, -(image.height + top) % side), (left, -(image.width + left) % side), (0, 0))
    rough, stack = np.pad(np.asarray(image, np.float32), padding, mode="edge"), []
    for _ in range(levels):
        rough, details = _halved(rough)
        stack.append(_bent(details, action, severity * amount, rng))
    for details in reversed(stack):
        rough = _doubled(rough, details)
    return rounded(rough[top : top + image.height, left : left + image.width])


def _band(low: int, high: int) -> np.ndarray:
    """Return which of the 8x8 coefficients have a frequency in a range, whichever end is named first."""
    frequency = np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK))
    return (frequency >= min(low, high)) & (frequency <= max(low, high))


def _in_blocks(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as blocks (rows, columns, 8, 8, channels), the border repeated to fill the last."""
    height, width = pixels.shape[:2]
    whole = np.pad(pixels, ((0, -height % _BLOCK), (0, -width % _BLOCK), (0, 0)), mode="edge")
    return whole.reshape(whole.shape[0] // _BLOCK, _BLOCK, whole.shape[1] // _BLOCK, _BLOCK, 3).swapaxes(1, 2)


def _from_blocks(blocks: np.ndarray) -> np.ndarray:
    rows, columns = blocks.shape[:2]
    return blocks.swapaxes(1, 2).reshape(rows * _BLOCK, columns * _BLOCK, 3)


def _halved(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of 2x2 pixels, and their three Haar details (3, rows, columns, channels)."""
    first, second, third, fourth = pixels[::2, ::2], pixels[::2, 1::2], pixels[1::2, ::2], pixels[1::2, 1::2]
    upper, lower, upper_step, lower_step = first + second, third + fourth, first - second, third - fourth
    return (upper + lower) / 4, np.stack([upper - lower, upper_step + lower_step, upper_step - lower_step]) / 4


def _doubled(means: np.ndarray, details: np.ndarray) -> np.ndarray:
    """Return the pixels of `_halved`'s means and details."""
    down, across, checks = details
    result = np.empty((2 * means.shape[0], 2 * means.shape[1], 3), np.float32)
    upper, lower, upper_step, lower_step = means + down, means - down, across + checks, across - checks
    result[::2, ::2], result[::2, 1::2] = upper + upper_step, upper - upper_step
    result[1::2, ::2], result[1::2, 1::2] = lower + lower_step, lower - lower_step
    return result


def _bent(details: np.ndarray, action: str, strength: float, rng: np.random.Generator) -> np.ndarray:
    if action == "noise":
        return details * (1 + np.float32(2 * strength) * rng.standard_normal(details.shape, np.float32))
    step = np.float32(max(32 * strength, 1e-3))
    return np.rint(details / step) * step
