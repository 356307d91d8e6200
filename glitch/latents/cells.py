"""Places of latents exchanged: blocks, and lines put in order."""

import numpy as np

from ..registry import Parameter, operation
from .arrays import cell_side, on_array
from .noise import CELL


@operation(
    "latent cells",
    CELL,
    Parameter("fraction", 0.7, "Part of the blocks that changes places", 0, 1, 0.05),
    subject="latents",
)
@on_array
def latent_block_shuffle(
    latent: np.ndarray, rng: np.random.Generator, severity: float, *, cell: int, fraction: float
) -> np.ndarray:
    """Blocks of the latent change places, as lost packets do; the decoder sews them together.

    Severity is the part of `fraction` that has moved already. What is left over at the edges of a latent stays.
    """
    high, wide = cell_side(latent, cell)
    rows, columns = latent.shape[-2] // high, latent.shape[-1] // wide
    order = rng.permutation(rows * columns)
    moved = order[: round(severity * fraction * len(order))]
    source = np.arange(len(order))
    source[moved] = np.roll(moved, 1)
    damaged = latent.copy()
    inner = damaged[..., : rows * high, : columns * wide]
    blocks = inner.reshape(*latent.shape[:2], rows, high, columns, wide).swapaxes(3, 4)
    mixed = blocks.reshape(*latent.shape[:2], -1, high, wide)[:, :, source].reshape(blocks.shape)
    inner[...] = mixed.swapaxes(3, 4).reshape(inner.shape)
    return damaged


@operation(
    "latent cells",
    Parameter(
        "key",
        "strength",
        "What is put in order. strength: the length of each place's vector. one channel: by its value, all follow. "
        "each channel: every channel for itself",
        choices=("strength", "one channel", "each channel"),
    ),
    Parameter("channel", 0, "The channel that decides in mode one channel, counted round", 0, 127),
    Parameter("direction", "rows", "Along which lines", choices=("rows", "columns")),
    Parameter("fraction", 0.7, "Part of the lines that is sorted", 0, 1, 0.05),
    Parameter("span", 0.5, "Length of a sorted stretch, as a part of the line", 0.05, 1, 0.05),
    subject="latents",
)
@on_array
def latent_sort(
    latent: np.ndarray,
    rng: np.random.Generator,
    severity: float,
    *,
    key: str,
    channel: int,
    direction: str,
    fraction: float,
    span: float,
) -> np.ndarray:
    """Pixel sorting of the latent: streaks of structure that the decoder draws as objects.

    Severity is the part of `fraction` of the lines that is sorted already.
    """
    lines = latent if direction == "rows" else latent.swapaxes(-2, -1)
    count, length = lines.shape[-2:]
    sorted_already = rng.permutation(count)[:, None] < round(severity * fraction * count)
    stretch = max(2, round(span * length))
    segment = (np.arange(length)[None, :] + rng.integers(0, stretch, (count, 1))) // stretch
    values = _key(lines, key, channel)
    low, high = values.min(), values.max()
    rank = segment + (values - low) / (high - low or 1) * 0.999
    rank = np.where(sorted_already, rank, np.arange(length))
    order = np.broadcast_to(np.argsort(rank, axis=-1, kind="stable"), lines.shape)
    damaged = np.take_along_axis(lines, order, axis=-1)
    return damaged if direction == "rows" else damaged.swapaxes(-2, -1)


def _key(lines: np.ndarray, key: str, channel: int) -> np.ndarray:
    """Return what decides the order as float64 [1 or channels, frames, lines, length]."""
    if key == "each channel":
        return lines.astype(np.float64)
    if key == "one channel":
        return lines[channel % len(lines)][None].astype(np.float64)
    return np.sqrt((lines.astype(np.float64) ** 2).sum(axis=0, keepdims=True))
