"""Bends of the numbers a LoRA is stored as: noise, coarser numbers, flipped bits, numbers left out."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ..registry import Parameter, operation
from .layers import Layer, low_rank
from .streams import each, normal, uniform

_FINEST_BITS = 12.0  # what quantising starts from: its error is below one in a thousand
_OVERSAMPLING = 8


def _factors(layer: Layer, change: Callable[[Tensor], Tensor]) -> Layer:
    """Return the layer with `change` done to one factor, then to the other."""
    up, down = layer.factors()
    return layer.with_factors(change(up), change(down))


@operation(
    "numbers",
    Parameter("amount", 1.5, "standard deviation, in units of each factor's own", 0.0, 4.0, 0.05),
    Parameter("density", 1.0, "the part of the numbers that gets any", 0.0, 1.0, 0.01),
    subject="loras",
)
def lora_noise(
    layers: Mapping[str, Layer], rng: np.random.Generator, severity: float, *, amount: float, density: float
) -> dict[str, Layer]:
    """Adds normal noise to both factors of each layer, so that what comes out is a LoRA of the same size."""

    def noisy(factor: Tensor, own: np.random.Generator) -> Tensor:
        noise = normal(own, *factor.shape) * (uniform(own, *factor.shape) < density)
        return factor + severity * amount * factor.std(correction=0) * noise

    return each(layers, rng, lambda layer, own: _factors(layer, lambda factor: noisy(factor, own)))


@operation(
    "numbers",
    Parameter("bits", 2, "bits per number", 1, 8),
    subject="loras",
    draws=False,
)
def lora_quantize(
    layers: Mapping[str, Layer], rng: np.random.Generator, severity: float, *, bits: int
) -> dict[str, Layer]:
    """Rounds both factors of each layer to a few evenly spaced values, zero among them; 1 bit keeps the signs alone.

    2 ** bits values would span the factor's range from its least number to its largest.
    """
    levels = round(2 ** (_FINEST_BITS + severity * (bits - _FINEST_BITS)))

    def rounded(factor: Tensor) -> Tensor:
        step = (factor.max() - factor.min()) / (levels - 1)
        if step == 0:
            return factor
        return (factor / step).round() * step if levels > 2 else factor.sign() * factor.abs().mean()

    return {name: _factors(layer, rounded) for name, layer in layers.items()}


@operation(
    "numbers",
    Parameter("probability", 0.1, "how likely a number is hit", 0.0, 1.0, 0.005),
    Parameter("bit", 12, "of a half-precision number: 15 is the sign, 14 (mostly undone) to 10 the size", 0, 15),
    Parameter("limit", 4.0, "flips are undone that give more than this times the factor's largest number", 1.0, 64.0),
    subject="loras",
)
def lora_bit_flip(
    layers: Mapping[str, Layer],
    rng: np.random.Generator,
    severity: float,
    *,
    probability: float,
    bit: int,
    limit: float,
) -> dict[str, Layer]:
    """Flips one bit of some numbers, as broken memory does; a flip that gives no finite number is undone."""

    def flipped(factor: Tensor, own: np.random.Generator) -> Tensor:
        hit = uniform(own, *factor.shape) < severity * probability
        largest = factor.abs().max().clamp(min=1e-12)
        # Scaled so that the largest is 1: half precision then holds all of them, and a flip's size is predictable.
        half = (factor / largest).half()
        mask = (1 << bit) - (1 << 16 if bit == 15 else 0)
        broken = (half.view(torch.int16) ^ mask).view(torch.float16).double()
        allowed = hit & broken.isfinite() & (broken.abs() <= limit)
        return torch.where(allowed, broken * largest, factor)

    return each(layers, rng, lambda layer, own: _factors(layer, lambda factor: flipped(factor, own)))


@operation(
    "numbers",
    Parameter(
        "what",
        "small numbers",
        "small numbers: the smallest go. random numbers: any may go (DARE). all but the sign: every number becomes "
        "equally large",
        choices=("small numbers", "random numbers", "all but the sign"),
    ),
    Parameter("fraction", 0.9, "the part of the numbers that is set to zero", 0.0, 0.999, 0.01),
    Parameter("rescale", False, "multiply what is left of random numbers so that the mean effect stays"),
    Parameter(
        "where",
        "factors",
        "factors: in the two stored factors. product: in the product of the two, of which the file then keeps the part "
        "that its size can hold; slower",
        choices=("factors", "product"),
    ),
    subject="loras",
)
def lora_prune(
    layers: Mapping[str, Layer],
    rng: np.random.Generator,
    severity: float,
    *,
    what: str,
    fraction: float,
    rescale: bool,
    where: str,
) -> dict[str, Layer]:
    """Leaves numbers out: the small ones, random ones (DARE, Yu et al. 2023), or all but the signs.

    In the factors, random numbers go from one of the two only: with rescaling the mean over many seeds is then the
    LoRA as it was.
    """
    dropped = fraction * severity

    def pruned(values: Tensor, own: np.random.Generator) -> Tensor:
        if what == "random numbers":
            kept = uniform(own, *values.shape) >= dropped
            return values * kept / ((1 - dropped) if rescale else 1)
        if what == "all but the sign":
            return values + severity * (values.sign() * values.abs().mean() - values)
        return values * _large(values.abs(), dropped)

    def change(layer: Layer, own: np.random.Generator) -> Layer:
        up, down = layer.factors()
        if where == "product":
            start = normal(own, down.shape[1], min(layer.rank + _OVERSAMPLING, *up.shape[:1], down.shape[1]))
            whole = up.float() @ down.float()  # one layer at a time, in half the memory
            return layer.with_factors(*low_rank(pruned(whole, own), layer.rank, start.float()))
        one = what == "random numbers"
        return layer.with_factors(pruned(up, own), down if one else pruned(down, own))

    return each(layers, rng, change)


def _large(sizes: Tensor, dropped: float) -> Tensor:
    """Return where the numbers are that stay when the smallest part `dropped` of them goes."""
    count = int(dropped * sizes.numel())
    return sizes > sizes.flatten().kthvalue(count).values if count else torch.ones_like(sizes, dtype=torch.bool)
