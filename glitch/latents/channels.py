"""Channels of latents mixed up, moved against one another, or at a wrong scale."""

import numpy as np

from ..registry import Parameter, operation
from .arrays import chosen, on_array, spread, toward


@operation(
    "latent channels",
    Parameter(
        "mode",
        "shuffle",
        "shuffle: channels change places. drop: they become zero. negate: their sign turns. gain: they are multiplied",
        choices=("shuffle", "drop", "negate", "gain"),
    ),
    Parameter("fraction", 0.5, "Part of the channels that is damaged; at least one, and two change places", 0, 1, 0.05),
    Parameter("gain", 2.5, "What channels are multiplied by in mode gain", -4, 4, 0.05),
    subject="latents",
)
@on_array
def latent_channels(
    latent: np.ndarray, rng: np.random.Generator, severity: float, *, mode: str, fraction: float, gain: float
) -> np.ndarray:
    """Channels of the latent change places, vanish or are turned around: colours invert, structure solarises.

    Severity moves the channels from what they were to what they become.
    """
    fewest = min(1.0, 2 / len(latent)) if mode == "shuffle" and fraction else 0.0
    picked = chosen(rng, len(latent), max(fraction, fewest))
    damaged = latent.copy()
    if mode == "shuffle":
        damaged[picked] = latent[np.roll(picked, 1)]
    else:
        damaged[picked] *= np.float32({"drop": 0.0, "negate": -1.0, "gain": gain}[mode])
    return toward(latent, damaged, severity)


@operation(
    "latent channels",
    Parameter(
        "mode", "roll", "roll: channels move, and come in again opposite. flip: mirrored", choices=("roll", "flip")
    ),
    Parameter("distance", 0.25, "How far a channel moves at most, as a part of the sides, in mode roll", 0, 1, 0.01),
    Parameter("fraction", 1.0, "Part of the channels that is moved; at least one", 0, 1, 0.05),
    subject="latents",
)
@on_array
def latent_shift(
    latent: np.ndarray, rng: np.random.Generator, severity: float, *, mode: str, distance: float, fraction: float
) -> np.ndarray:
    """Channels of the latent part from one another: coloured ghosts a cell or more away.

    Severity is the part of the way that is gone; with flip, how far the mirror image has come through.
    """
    picked = chosen(rng, len(latent), fraction)
    directions = rng.uniform(-1, 1, (len(latent), 2))
    sides = np.array(latent.shape[-2:])
    damaged = latent.copy()
    for channel in picked:
        if mode == "roll":
            way = np.rint(directions[channel] * severity * distance * sides).astype(int)
            damaged[channel] = np.roll(latent[channel], way, axis=(-2, -1))
        else:
            damaged[channel] = np.flip(latent[channel], _mirrored(directions[channel]))
    return damaged if mode == "roll" else toward(latent, damaged, severity)


@operation(
    "latent scale",
    Parameter(
        "factor",
        2.0,
        "The latent is multiplied by this: 0.72 is SD 1.5 scaled as SDXL, 1.4 is SDXL scaled as SD 1.5, 5.49 is SD 1.5 "
        "not scaled, 0.18 scaled twice",
        0.05,
        20,
        0.01,
    ),
    Parameter("shift", 0.0, "Added to every value, times the latent's spread", -4, 4, 0.05),
    subject="latents",
    draws=False,
)
@on_array
def latent_gain(
    latent: np.ndarray, rng: np.random.Generator, severity: float, *, factor: float, shift: float
) -> np.ndarray:
    """A wrong scaling factor or shift, as when one family's latents are taken for another's: muted or burnt colours.

    Severity moves the factor from 1 on a logarithmic scale. The factors of SD 1.5 and SDXL are 0.18215 and 0.13025.
    """
    return latent * np.float32(factor**severity) + np.float32(severity * shift * spread(latent))


def _mirrored(direction: np.ndarray) -> tuple[int, ...]:
    """Return the axes of a mirror image: rows, columns or both, one as likely as the other."""
    drawn = direction[0] + direction[1] * 1e-9
    return ((-2,), (-1,), (-2, -1))[min(2, int((drawn + 1) / 2 * 3))]
