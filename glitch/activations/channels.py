"""Activations seen alike, whatever network they come from: channels first, everything else a plane behind them."""

from collections.abc import Callable

import torch
from torch import Tensor


def on_planes(x: Tensor, bend: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `x` bent by a function of [B, C, H, W], in its own layout and dtype.

    x: [B, C, H, W] as convolutions give them, or [B, T, C] as transformers do: a column of T tokens then.
    """
    if x.dim() == 3:
        return bend(x.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2).to(x.dtype)
    if x.dim() != 4:
        raise ValueError(f"activation: got {x.dim()} dimensions, allowed [B, C, H, W] or [B, T, C], bend other layers")
    return bend(x).to(x.dtype)


def spread(x: Tensor) -> Tensor:
    """Return the standard deviation of each sample, [B, 1, 1, 1], in its dtype."""
    return x.float().std(dim=(1, 2, 3), correction=0, keepdim=True).to(x.dtype)


def channel_ramp(places: Tensor, reached: float, like: Tensor) -> Tensor:
    """Return how far each channel is done, [1, C, 1, 1] in 0..1, when the first `reached` of an order are.

    places: each channel's place in the order.
    """
    done = (reached - places.double()).clamp(0, 1)
    return done.to(like.device, like.dtype).reshape(1, -1, 1, 1)


def moved(x: Tensor, target: Tensor, severity: float) -> Tensor:
    """Return `x` moved towards `target`: at severity 1 it is there, to the bit."""
    return target if severity == 1 else torch.lerp(x, target, severity)
