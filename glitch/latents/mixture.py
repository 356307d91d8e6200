"""Two latents in one."""

import numpy as np

from ..context import Context
from ..registry import Parameter, operation
from .arrays import array_of, cell_side, on_array, picked_cells, toward
from .noise import CELL


@operation(
    "latent mixture",
    Parameter(
        "mode",
        "blend",
        "blend: both everywhere. patch: one rectangle of the other. cells: squares of the other all over",
        choices=("blend", "patch", "cells"),
    ),
    Parameter("amount", 0.5, "How much of the other there is", 0, 1, 0.05),
    CELL,
    subject="latents",
    wants_context=True,
)
@on_array
def latent_mixup(
    latent: np.ndarray,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    mode: str,
    amount: float,
    cell: int,
) -> np.ndarray:
    """Another latent in this one: a double exposure, or parts of another picture (its own mirror image when alone).

    Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019). Severity is the part of `amount` that is there.
    """
    stranger = context.stranger(rng)
    other = np.flip(latent, -1) if stranger is None else _fitted(array_of(stranger), latent.shape)
    if mode == "blend":
        return toward(latent, other, severity * amount)
    if mode == "patch":
        return np.where(_patch(rng, latent.shape, severity * amount), other, latent)
    return np.where(picked_cells(rng, latent.shape, cell_side(latent, cell), severity * amount), other, latent)


def _patch(rng: np.random.Generator, shape: tuple[int, ...], area: float) -> np.ndarray:
    """Return [height, width], True in a rectangle of the latent's proportions that covers `area` of it."""
    inside = [
        np.abs((np.arange(length) + 0.5) / length - centre) <= np.sqrt(area) / 2
        for length, centre in zip(shape[-2:], np.sqrt(area) / 2 + rng.random(2) * (1 - np.sqrt(area)), strict=True)
    ]
    return inside[0][:, None] & inside[1][None, :]


def _fitted(other: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return another latent at this one's size, each place from the nearest. Raises ValueError for other channels."""
    if len(other) != shape[0]:
        raise ValueError(
            f"latents: got {len(other)} channels beside {shape[0]}, allowed are latents of one kind of VAE, "
            "encode both with the same"
        )
    for axis in (1, 2, 3):
        nearest = (np.arange(shape[axis]) + 0.5) * other.shape[axis] / shape[axis]
        other = np.take(other, nearest.astype(int), axis=axis)
    return other
