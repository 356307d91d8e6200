"""Latents as arrays: everything is computed by NumPy in float32 on the CPU, for the same bits everywhere."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np


def on_array(function: Callable[..., np.ndarray]) -> Callable[..., Any]:
    """Let a function of an array [channels, frames, height, width] take and return a tensor.

    The tensor is [C, h, w], [C, t, h, w] (video) or [C, length] (sound, as one row); the result has its shape, type and
    device, and is always another tensor.
    """

    @wraps(function)
    def on_tensor(latent: Any, *arguments: Any, **parameters: Any) -> Any:
        changed = function(array_of(latent), *arguments, **parameters)
        return latent.new_tensor(np.ascontiguousarray(changed, np.float32)).reshape(latent.shape)

    return on_tensor


def array_of(latent: Any) -> np.ndarray:
    """Return a copy of a latent as float32 [channels, frames, height, width]. Raises ValueError for other shapes."""
    values: np.ndarray = latent.detach().cpu().float().numpy().copy()
    if not 2 <= values.ndim <= 4:
        allowed = "[channels, length], [channels, height, width] or [channels, frames, height, width]"
        raise ValueError(f"latent: got shape {list(values.shape)}, allowed {allowed}, take one item of a batch")
    while values.ndim < 4:
        values = values[:, None]
    return values


def spread(values: np.ndarray) -> float:
    """Return the standard deviation of all values; 1 for a constant latent such as an empty one."""
    return float(values.std()) or 1.0


def toward(values: np.ndarray, damaged: np.ndarray, amount: float) -> np.ndarray:
    """Return what lies between a latent (amount 0) and its damaged form (1), both exactly met."""
    return damaged if amount == 1 else values + np.float32(amount) * (damaged - values)


def chosen(rng: np.random.Generator, count: int, fraction: float) -> np.ndarray:
    """Return the numbers of `fraction` of `count` things, at least one unless the fraction is 0, in random order."""
    order = rng.permutation(count)
    return order[: max(1, round(fraction * count)) if fraction else 0]


def picked_cells(rng: np.random.Generator, shape: tuple[int, ...], side: tuple[int, int], part: float) -> np.ndarray:
    """Return [height, width], True in `part` of the cells: a larger part, of the same stream, holds a smaller."""
    grid = cells(side, shape)
    rank = rng.permutation(grid[0] * grid[1]).reshape(grid)
    return per_cell(rank, side, shape) < round(part * rank.size)


def cell_side(values: np.ndarray, cell: int) -> tuple[int, int]:
    """Return (height, width) of a cell that fits a latent at least twice along each side that is longer than one."""
    height, width = values.shape[-2:]
    return min(cell, max(1, height // 2)), min(cell, max(1, width // 2))


def per_cell(grid: np.ndarray, cell: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Return a value per cell [..., rows, columns] as a value per place [..., height, width]."""
    rows = np.arange(shape[-2]) // cell[0]
    columns = np.arange(shape[-1]) // cell[1]
    return grid[..., rows[:, None], columns[None, :]]


def cells(cell: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (rows, columns) of the cells that cover a latent."""
    return -(-shape[-2] // cell[0]), -(-shape[-1] // cell[1])
