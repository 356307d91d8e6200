"""Bends of where the features of a running network are: moved, sorted, mixed, blurred, worn away."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..registry import Parameter, operation
from .channels import moved, on_planes

_AXES = {"rows": 2, "columns": 3, "channels": 1}
_AXIS = Parameter(
    "axis",
    "columns",
    "rows: up and down. columns: left and right. channels: among what is found at a place. Features without a picture "
    "behind them (text) have rows only",
    choices=("columns", "rows", "channels"),
)
_RADIUS = Parameter("radius", 2, "how far around a place one looks, in places of the layer's own grid", 1, 16)


def _dim(planes: Tensor, axis: str) -> int:
    """Return the dimension of an axis; a column of tokens has its length in the rows."""
    return 2 if axis == "columns" and planes.shape[3] == 1 else _AXES[axis]


@operation(
    "places",
    _AXIS,
    Parameter("fraction", 0.25, "how far, as a part of the length", -1.0, 1.0, 0.01),
    subject="activations",
    draws=False,
)
def activation_roll(x: Tensor, rng: np.random.Generator, severity: float, *, axis: str, fraction: float) -> Tensor:
    """Moves features on along an axis; what leaves at one end comes in at the other."""

    def rolled(planes: Tensor) -> Tensor:
        dim = _dim(planes, axis)
        return planes.roll(round(severity * fraction * planes.shape[dim]), dim)

    return on_planes(x, rolled)


@operation("places", _AXIS, subject="activations", draws=False)
def activation_sort(x: Tensor, rng: np.random.Generator, severity: float, *, axis: str) -> Tensor:
    """Sorts features along an axis, from small to large: smears that follow what the network saw."""
    return on_planes(x, lambda planes: moved(planes, planes.sort(dim=_dim(planes, axis)).values, severity))


@operation(
    "places",
    Parameter("what", "places", "what changes order", choices=("places", "channels")),
    subject="activations",
)
def activation_shuffle(x: Tensor, rng: np.random.Generator, severity: float, *, what: str) -> Tensor:
    """Puts places or channels in a drawn order, more and more of them.

    On attention values it shuffles the attention map: each place then takes what another one has to say.
    """

    def shuffled(planes: Tensor) -> Tensor:
        flat = planes.flatten(2)
        dim = 1 if what == "channels" else 2
        ring = torch.from_numpy(rng.permutation(flat.shape[dim]))[: round(severity * flat.shape[dim])]
        source = torch.arange(flat.shape[dim])
        source[ring] = ring.roll(1)
        return flat.index_select(dim, source.to(flat.device)).reshape(planes.shape)

    return on_planes(x, shuffled)


@operation("places", _RADIUS, subject="activations", draws=False)
def activation_blur(x: Tensor, rng: np.random.Generator, severity: float, *, radius: int) -> Tensor:
    """Blurs features over their neighbours (a Gauss of so many places), so that nothing has a sharp place."""

    def blurred(planes: Tensor) -> Tensor:
        reach = torch.arange(-3 * radius, 3 * radius + 1, dtype=torch.float32, device=planes.device)
        weights = torch.exp(-(reach**2) / (2 * (severity * radius) ** 2))
        wide = planes.float()
        for dim in (2, 3):
            wide = _along(wide, (weights / weights.sum()), dim)
        return wide

    return on_planes(x, blurred)


def _along(planes: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Return planes convolved along one dimension, their edges repeated."""
    side = len(weights) // 2
    rows, columns = ((side, 0), (0, side))[dim - 2]
    padded = functional.pad(planes, (columns, columns, rows, rows), mode="replicate")
    kernel = weights.reshape(1, 1, -1, 1) if dim == 2 else weights.reshape(1, 1, 1, -1)
    batch, channels = planes.shape[:2]
    return functional.conv2d(padded.flatten(0, 1)[:, None], kernel).reshape(batch, channels, *planes.shape[2:])


@operation("places", _RADIUS, subject="activations", draws=False)
def activation_dilate(x: Tensor, rng: np.random.Generator, severity: float, *, radius: int) -> Tensor:
    """Lets strong features spread over their neighbours: each place takes the largest value around it."""
    return on_planes(x, lambda planes: moved(planes, _largest(planes, radius), severity))


@operation("places", _RADIUS, subject="activations", draws=False)
def activation_erode(x: Tensor, rng: np.random.Generator, severity: float, *, radius: int) -> Tensor:
    """Wears strong features away: each place takes the least value around it."""
    return on_planes(x, lambda planes: moved(planes, -_largest(-planes, radius), severity))


def _largest(planes: Tensor, radius: int) -> Tensor:
    wide = functional.max_pool2d(planes.float(), (2 * radius + 1, 1), 1, (radius, 0))
    return functional.max_pool2d(wide, (1, 2 * radius + 1), 1, (0, radius)).to(planes.dtype)
