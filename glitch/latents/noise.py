"""Noise on latents, and holes in them."""

import numpy as np

from ..registry import Parameter, operation
from .arrays import cell_side, cells, on_array, per_cell, picked_cells, spread

CELL = Parameter("cell", 4, "Side of a cell; a cell is 8 pixels of the picture for most VAEs", 1, 32)


@operation(
    "latent noise",
    Parameter("std", 1.0, "Strength, times the spread of the latent's own values", 0, 4, 0.05),
    Parameter(
        "colour",
        "white",
        "white: every place on its own. pink: clouds of all sizes. blocky: squares of one value",
        choices=("white", "pink", "blocky"),
    ),
    CELL,
    Parameter("same_for_all_channels", False, "All channels get the same noise"),
    subject="latents",
)
@on_array
def latent_noise(
    latent: np.ndarray,
    rng: np.random.Generator,
    severity: float,
    *,
    std: float,
    colour: str,
    cell: int,
    same_for_all_channels: bool,
) -> np.ndarray:
    """Noise added to the latent: mottled textures, clouds or squares that the decoder takes for things.

    `cell` is the side of a square of the blocky noise.
    """
    shape = (1, *latent.shape[1:]) if same_for_all_channels else latent.shape
    return latent + np.float32(severity * std * spread(latent)) * _noise(rng, shape, colour, cell_side(latent, cell))


@operation(
    "latent cells",
    Parameter("fraction", 0.3, "Part of the cells that is lost", 0, 1, 0.05),
    CELL,
    Parameter(
        "fill",
        "zero",
        "What is put into a hole: zero, the mean of each channel, or noise of the latent's own spread",
        choices=("zero", "mean", "noise"),
    ),
    subject="latents",
)
@on_array
def latent_holes(
    latent: np.ndarray, rng: np.random.Generator, severity: float, *, fraction: float, cell: int, fill: str
) -> np.ndarray:
    """Dead cells: squares of the latent are lost, and the decoder makes something up.

    Severity is the part of `fraction` that is lost already.
    """
    side = cell_side(latent, cell)
    lost = picked_cells(rng, latent.shape, side, severity * fraction)
    mean = latent.mean(axis=(1, 2, 3), keepdims=True)
    noise = mean + np.float32(spread(latent)) * rng.standard_normal(latent.shape, np.float32)
    return np.where(lost, {"zero": np.float32(0), "mean": mean, "noise": noise}[fill], latent)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], colour: str, side: tuple[int, int]) -> np.ndarray:
    """Return float32 noise of mean 0 and standard deviation 1 (of the whole, where there is more than one value)."""
    if colour == "blocky":
        return per_cell(rng.standard_normal((*shape[:-2], *cells(side, shape)), np.float32), side, shape)
    white = rng.standard_normal(shape, np.float32)
    return white if colour == "white" or shape[-2] * shape[-1] == 1 else _pink(white)


def _pink(white: np.ndarray) -> np.ndarray:
    """Return noise whose amplitude falls as 1/frequency in the plane, as natural pictures' does, with no mean."""
    height, width = white.shape[-2:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    pink = np.fft.irfft2(np.fft.rfft2(white) / frequency, s=(height, width))
    scaled: np.ndarray = (pink / pink.std()).astype(np.float32)
    return scaled
