"""Bends of what the features of a running network are worth (network bending, Broad et al. 2021)."""

import math

import numpy as np
import torch
from torch import Tensor

from ..registry import Parameter, operation
from .channels import channel_ramp, on_planes, spread

_FINEST_BITS = 12.0


@operation(
    "values",
    Parameter(
        "gain", 2.0, "what features are multiplied by; 0 silences them, below 0 turns them around", -8.0, 8.0, 0.05
    ),
    subject="activations",
    draws=False,
)
def activation_gain(x: Tensor, rng: np.random.Generator, severity: float, *, gain: float) -> Tensor:
    """Multiplies features: exaggerates, silences or reverses what a block has found."""
    return x * (1 + severity * (gain - 1))


@operation(
    "values",
    Parameter("level", 1.0, "features smaller than this become 0, in standard deviations", 0.0, 6.0, 0.05),
    subject="activations",
    draws=False,
)
def activation_threshold(x: Tensor, rng: np.random.Generator, severity: float, *, level: float) -> Tensor:
    """Silences weak features and leaves the strong ones."""
    return on_planes(x, lambda planes: planes * (planes.abs() >= severity * level * spread(planes)))


@operation(
    "values",
    Parameter("around", "mean", "what features are turned around", choices=("mean", "zero")),
    subject="activations",
    draws=False,
)
def activation_invert(x: Tensor, rng: np.random.Generator, severity: float, *, around: str) -> Tensor:
    """Turns features around: what was strong becomes weak; in between all are equal."""

    def inverted(planes: Tensor) -> Tensor:
        centre = planes.mean(dim=(2, 3), keepdim=True) if around == "mean" else torch.zeros_like(planes[:, :, :1, :1])
        return planes + 2 * severity * (centre - planes)

    return on_planes(x, inverted)


@operation(
    "values",
    Parameter("angle", 90.0, "how far pairs of features turn into each other", 0.0, 180.0, 1.0, "degrees"),
    subject="activations",
)
def activation_rotate(x: Tensor, rng: np.random.Generator, severity: float, *, angle: float) -> Tensor:
    """Turns pairs of features into each other: their size stays, their meaning does not. The pairs are drawn."""
    cosine, sine = math.cos(math.radians(angle * severity)), math.sin(math.radians(angle * severity))

    def rotated(planes: Tensor) -> Tensor:
        channels = torch.from_numpy(rng.permutation(planes.shape[1])).to(planes.device)
        half = len(channels) // 2
        one, other = channels[:half], channels[half : 2 * half]
        turned = planes.clone()
        turned[:, one] = cosine * planes[:, one] - sine * planes[:, other]
        turned[:, other] = sine * planes[:, one] + cosine * planes[:, other]
        return turned

    return on_planes(x, rotated)


@operation(
    "values",
    Parameter("amount", 1.0, "standard deviation of the noise, in units of the features' own", 0.0, 8.0, 0.05),
    subject="activations",
)
def activation_noise(x: Tensor, rng: np.random.Generator, severity: float, *, amount: float) -> Tensor:
    """Adds noise, the same at every step and for every picture of the batch, as a fault in the machine would."""

    def noisy(planes: Tensor) -> Tensor:
        noise = torch.from_numpy(rng.standard_normal(planes.shape[1:], dtype=np.float32))
        return planes + severity * amount * spread(planes) * noise.to(planes.device, planes.dtype)

    return on_planes(x, noisy)


@operation(
    "values",
    Parameter("bits", 2, "bits per feature: 2 ** bits evenly spaced values from the least to the largest", 1, 8),
    subject="activations",
    draws=False,
)
def activation_quantize(x: Tensor, rng: np.random.Generator, severity: float, *, bits: int) -> Tensor:
    """Rounds features to a few evenly spaced values, in each picture between its least and its largest."""
    steps = round(2 ** (_FINEST_BITS + severity * (bits - _FINEST_BITS))) - 1

    def rounded(planes: Tensor) -> Tensor:
        wide = planes.float()
        low, high = wide.amin((1, 2, 3), keepdim=True), wide.amax((1, 2, 3), keepdim=True)
        step = ((high - low) / steps).clamp(min=1e-12)
        return low + ((wide - low) / step).round() * step

    return on_planes(x, rounded)


@operation(
    "values",
    Parameter("fraction", 0.5, "the part of the channels that is silenced", 0.0, 1.0, 0.01),
    subject="activations",
)
def activation_ablate(x: Tensor, rng: np.random.Generator, severity: float, *, fraction: float) -> Tensor:
    """Silences channels, one after the other in a drawn order."""

    def ablated(planes: Tensor) -> Tensor:
        places = torch.from_numpy(rng.permutation(planes.shape[1]))
        return planes * (1 - channel_ramp(places, severity * fraction * len(places), planes))

    return on_planes(x, ablated)
