"""Latents with too few levels, or stored in too few bits."""

import numpy as np

from ..registry import Parameter, operation
from .arrays import on_array, spread, toward

_INTEGER_LEVELS = {"int8": 127, "int4": 7, "int2": 1}


@operation(
    "latent levels",
    Parameter("levels", 3, "How many values are left within the range", 2, 256),
    Parameter("span", 2.5, "The range: so many times the latent's spread to both sides of 0", 0.5, 8, 0.1),
    subject="latents",
    draws=False,
)
@on_array
def latent_quantize(
    latent: np.ndarray, rng: np.random.Generator, severity: float, *, levels: int, span: float
) -> np.ndarray:
    """Bit crushing of the latent: structure in terraces.

    Severity is the size of a terrace, from none to the whole range divided by `levels`; what lies outside the range
    is drawn in to the same degree.
    """
    limit = span * spread(latent)
    largest = float(np.abs(latent).max())
    reach = largest + severity * (limit - largest) if largest > limit else limit
    step = severity * 2 * limit / levels
    # The terraces of an even number lie to both sides of 0, one of an odd number lies on it.
    offset = 0.5 * (levels % 2)
    terraced = (np.floor(latent / step + offset) + 0.5 - offset) * step
    return np.clip(terraced, -reach, reach).astype(np.float32)


@operation(
    "latent levels",
    Parameter(
        "format",
        "int2",
        "What the latent is stored in: 8-bit floating point with 3 or 2 digits, or 8, 4 or 2 bit integers",
        choices=("fp8 e4m3", "fp8 e5m2", *_INTEGER_LEVELS),
    ),
    subject="latents",
    draws=False,
)
@on_array
def latent_precision(latent: np.ndarray, rng: np.random.Generator, severity: float, *, format: str) -> np.ndarray:
    """A round trip through numbers of few bits, as quantised weights go through: subtle grain to bands.

    Integers are scaled to the largest value of each channel, and round to the nearest. Severity moves each value
    towards what comes back.
    """
    stored = _as_float8(latent, format) if format.startswith("fp8") else _as_integers(latent, _INTEGER_LEVELS[format])
    return toward(latent, stored, severity)


def _as_integers(latent: np.ndarray, largest: int) -> np.ndarray:
    scale = np.abs(latent).max(axis=(1, 2, 3), keepdims=True) / largest
    scale = np.where(scale > 0, scale, np.float32(1))
    return np.rint(latent / scale) * scale


def _as_float8(latent: np.ndarray, format: str) -> np.ndarray:
    import torch

    kind = torch.float8_e4m3fn if format == "fp8 e4m3" else torch.float8_e5m2
    largest = torch.finfo(kind).max
    stored: np.ndarray = torch.from_numpy(latent).clamp(-largest, largest).to(kind).float().numpy()
    return stored
