"""Bends that put a LoRA's changes in the wrong place: other channels, other layers."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..registry import Parameter, operation
from .layers import Layer, balanced
from .names import place
from .streams import each, order


@operation(
    "places",
    Parameter(
        "how",
        "roll",
        "roll moves the channels on, flip reverses them, shuffle draws a new order, transpose swaps input and output "
        "of square layers",
        choices=("roll", "flip", "shuffle", "transpose"),
    ),
    Parameter("side", "output", "whose channels", choices=("output", "input", "both")),
    Parameter("channels", 8, "for roll: by how many channels", -4096, 4096),
    subject="loras",
)
def lora_roll(
    layers: Mapping[str, Layer], rng: np.random.Generator, severity: float, *, how: str, side: str, channels: int
) -> dict[str, Layer]:
    """Moves what each layer does to other channels; severity is the part of its components that is moved.

    Which components go first is drawn. A layer that is not square is left alone by transpose.
    """

    def change(layer: Layer, own: np.random.Generator) -> Layer:
        up, down = balanced(*layer.factors())
        count = up.shape[1]
        moved = order(own, count) < round(severity * count)
        out, inside = layer.shape[0], layer.shape[1]
        if how == "transpose":
            if up.shape[0] != down.shape[1]:
                return layer
            return layer.with_factors(torch.where(moved, down.T, up), torch.where(moved[:, None], up.T, down))
        turn = {
            "roll": lambda size: torch.arange(size).roll(channels),
            "flip": lambda size: torch.arange(size).flip(0),
            "shuffle": lambda size: order(own, size),
        }[how]
        if side != "input":
            up = torch.where(moved, up[turn(out)], up)
        if side != "output":
            down = torch.where(moved[:, None], _inputs(down, turn(inside), inside), down)
        return layer.with_factors(up, down)

    return each(layers, rng, change)


def _inputs(down: Tensor, places: Tensor, inside: int) -> Tensor:
    """Return `down` [r, in * kernel] with its input channels in another order, kernels whole."""
    return down.reshape(down.shape[0], inside, -1)[:, places].flatten(1)


@operation(
    "places",
    Parameter("fraction", 1.0, "the part of the layers that change places", 0.0, 1.0, 0.05),
    Parameter(
        "among",
        "same shape",
        "same shape: any layers that fit each other. same kind: attention with attention, and so on",
        choices=("same shape", "same kind"),
    ),
    subject="loras",
)
def lora_layer_shuffle(
    layers: Mapping[str, Layer], rng: np.random.Generator, severity: float, *, fraction: float, among: str
) -> dict[str, Layer]:
    """Gives layers the changes that were made for other layers of the same shape, unchanged in themselves."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in sorted(layers):
        what = place(name).kind if among == "same kind" else ""
        groups.setdefault((layers[name].shape, what), []).append(name)
    moved = dict(layers)
    for names in groups.values():
        chosen = [names[index] for index in order(rng, len(names)).tolist()]
        ring = chosen[: round(severity * fraction * len(names))]
        moved |= {name: layers[ring[position - 1]] for position, name in enumerate(ring)}
    return moved
