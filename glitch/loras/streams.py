"""Random numbers for the layers of a LoRA: each layer has a stream of its own, whatever other layers there are."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ...dataset.seeds import generator
from .layers import Layer

Change = Callable[[Layer, np.random.Generator], Layer]


def each(layers: Mapping[str, Layer], rng: np.random.Generator, change: Change) -> dict[str, Layer]:
    """Return every layer changed, each with its own stream: a seed drawn from `rng` once, and the layer's name."""
    seed = int(rng.integers(2**62))
    return {name: change(layer, generator(seed, name)) for name, layer in layers.items()}


def normal(rng: np.random.Generator, *shape: int) -> Tensor:
    """Return standard normal numbers, float64."""
    return torch.from_numpy(rng.standard_normal(shape))


def uniform(rng: np.random.Generator, *shape: int) -> Tensor:
    """Return numbers in [0, 1), float32."""
    return torch.from_numpy(rng.random(shape, dtype=np.float32))


def order(rng: np.random.Generator, count: int) -> Tensor:
    """Return the numbers 0 to count - 1 in a random order."""
    return torch.from_numpy(rng.permutation(count))


def ramp(places: Tensor, reached: float) -> Tensor:
    """Return how far each one is done, 0..1, when the first `reached` of them are: whole, the next one in part.

    places: each one's place in the order, a permutation of 0 to n - 1.
    """
    return (reached - places.double()).clamp(0, 1)
