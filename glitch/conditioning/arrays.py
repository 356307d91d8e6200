"""Conditionings as arrays: everything is computed by NumPy in float32 on the CPU, as latents are."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...dataset.words import Words


def array_of(tensor: Any) -> np.ndarray:
    """Return a copy of a tensor as float32."""
    values: np.ndarray = tensor.detach().cpu().float().numpy().copy()
    return values


def with_arrays(words: Words, sequence: np.ndarray | None = None, pooled: np.ndarray | None = None) -> Words:
    """Return a copy with other values, in the shapes, types and devices of its tensors; None keeps the values."""
    copy = words.clone()
    return Words(
        copy.sequence if sequence is None else _like(words.sequence, sequence),
        copy.pooled if pooled is None or words.pooled is None else _like(words.pooled, pooled),
    )


def on_both(words: Words, change: Callable[[np.ndarray], np.ndarray], also_pooled: bool) -> Words:
    """Return a copy whose sequence, and pooled vector if asked, went through `change`."""
    pooled = change(array_of(words.pooled)) if also_pooled and words.pooled is not None else None
    return with_arrays(words, change(array_of(words.sequence)), pooled)


def first_token(spare_first: bool, count: int) -> int:
    """Return the number of the first token that may be damaged."""
    return 1 if spare_first and count > 1 else 0


def _like(tensor: Any, values: np.ndarray) -> Any:
    return tensor.new_tensor(np.ascontiguousarray(values, np.float32)).reshape(tensor.shape)
