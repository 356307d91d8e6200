"""Bends of what a LoRA's product is made of: its singular values, and which of its directions belong together."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..registry import Parameter, operation
from .layers import Layer, balanced, singular
from .streams import each, normal, order, ramp


@operation(
    "spectrum",
    Parameter(
        "shape",
        "flatten",
        "what becomes of the strengths: power raises them, keep top and drop top cut them off, boost tail multiplies "
        "the weak ones, clip levels the strong ones, flatten makes all equal, reverse swaps strong and weak",
        choices=("flatten", "reverse", "power", "keep top", "drop top", "boost tail", "clip"),
    ),
    Parameter("power", 2.0, "for power: the exponent; below 1 lifts the weak ones", 0.0, 4.0, 0.05),
    Parameter("top", 0.25, "for keep, drop, boost and clip: the part of the components that is strong", 0.0, 1.0, 0.05),
    Parameter("boost", 4.0, "for boost tail: what the weak ones are multiplied by", 0.0, 16.0, 0.1),
    subject="loras",
    draws=False,
)
def lora_spectrum(
    layers: Mapping[str, Layer],
    rng: np.random.Generator,
    severity: float,
    *,
    shape: str,
    power: float,
    top: float,
    boost: float,
) -> dict[str, Layer]:
    """Changes how strong the components of each layer are, and leaves their directions.

    The singular values of the product move from what they were (severity 0) to the new ones (1) in a straight line.
    """

    def change(layer: Layer) -> Layer:
        w, values, v = singular(*layer.factors())
        if not values.numel() or values[0] == 0:
            return layer
        bent = values + severity * (_reshaped(values, shape, power, top, boost) - values)
        root = bent.clamp(min=0).sqrt()
        return layer.with_factors(w * root, root[:, None] * v)

    return {name: change(layer) for name, layer in layers.items()}


def _reshaped(values: Tensor, shape: str, power: float, top: float, boost: float) -> Tensor:
    """Return new singular values for those given, largest first."""
    strong = torch.arange(len(values)) < round(top * len(values))
    edge = values[min(int(strong.sum()), len(values) - 1)]
    shapes = {
        "flatten": lambda: values.mean().expand(len(values)),
        "reverse": lambda: values.flip(0),
        "power": lambda: values[0] * (values / values[0]) ** power,
        "keep top": lambda: values * strong,
        "drop top": lambda: values * ~strong,
        "boost tail": lambda: torch.where(strong, values, boost * values),
        "clip": lambda: values.clamp(max=float(edge)),
    }
    return shapes[shape]()


@operation(
    "spectrum",
    Parameter(
        "how",
        "permute",
        "permute pairs each output direction with another input direction, flip signs turns some components around, "
        "rotate mixes the input directions",
        choices=("permute", "flip signs", "rotate"),
    ),
    Parameter("fraction", 1.0, "for permute and flip signs: the part of the components", 0.0, 1.0, 0.05),
    Parameter("angle", 90.0, "for rotate: the angle in each of the planes", 0.0, 180.0, 1.0, "degrees"),
    subject="loras",
)
def lora_rank_scramble(
    layers: Mapping[str, Layer], rng: np.random.Generator, severity: float, *, how: str, fraction: float, angle: float
) -> dict[str, Layer]:
    """Breaks up which output answers to which input: the components of one factor are permuted, flipped or rotated.

    It acts on the singular components, so that the result depends on what the LoRA does and not on how it was stored.
    Doing the same to both factors would change nothing.
    """

    def change(layer: Layer, own: np.random.Generator) -> Layer:
        up, down = balanced(*layer.factors())
        count = down.shape[0]
        if how == "rotate":
            turn = _rotation(own, count, math.radians(angle) * severity)
            return layer.with_factors(up, turn @ down)
        places = order(own, count)
        if how == "flip signs":
            return layer.with_factors(up, (1 - 2 * ramp(places, severity * fraction * count))[:, None] * down)
        return layer.with_factors(up, down[_cycle(places, round(severity * fraction * count))])

    return each(layers, rng, change)


def _cycle(places: Tensor, count: int) -> Tensor:
    """Return a permutation that moves the first `count` of an order around in a ring and leaves the others."""
    source = torch.arange(len(places))
    ring = places[:count]
    source[ring] = ring.roll(1)
    return source


def _rotation(rng: np.random.Generator, count: int, angle: float) -> Tensor:
    """Return an orthogonal matrix that turns by `angle` in count // 2 random planes."""
    basis = torch.linalg.qr(normal(rng, count, count)).Q
    turn = torch.eye(count, dtype=torch.float64)
    for plane in range(0, count - 1, 2):
        turn[plane, plane] = turn[plane + 1, plane + 1] = math.cos(angle)
        turn[plane, plane + 1], turn[plane + 1, plane] = -math.sin(angle), math.sin(angle)
    return basis @ turn @ basis.T
