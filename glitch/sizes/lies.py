"""Lies about a picture's size and crop."""

from dataclasses import dataclass

import numpy as np

from ..registry import Parameter, operation


@dataclass(frozen=True)
class Sizes:
    """Micro-conditioning of a picture in pixels (SDXL: Podell et al. 2023, section 2.2).

    original: (width, height) it is said to have had. crop: (left, top) said to be cut away. target: its true size.
    """

    original: tuple[int, int]
    crop: tuple[int, int]
    target: tuple[int, int]


@operation(
    "size conditioning",
    Parameter("original", 0.25, "The size the picture is said to have had, times the true one", 0.05, 16, 0.05),
    Parameter("crop", 0.5, "How much is said to be cut away at the left and the top, times its sides", 0, 4, 0.05),
    Parameter("random", False, "Each picture is told something else, between the truth and these settings"),
    subject="sizes",
)
def size_lie(
    sizes: Sizes, rng: np.random.Generator, severity: float, *, original: float, crop: float, random: bool
) -> Sizes:
    """SDXL only: a false size and crop go into training, so that asking for sharp or centred pictures gives others.

    Severity moves the size on a logarithmic scale from the true one, and the crop evenly. Place it after the framing,
    which sets the crop. Other models are not told sizes and train as without.
    """
    drawn = rng.uniform(0, 1, 3)
    amounts = severity * (drawn if random else np.ones(3))
    width, height = (max(1, round(side * original ** amounts[0])) for side in sizes.original)
    left, top = (
        round(true + amount * (crop * side - true))
        for true, side, amount in zip(sizes.crop, sizes.target, amounts[1:], strict=True)
    )
    return Sizes((width, height), (left, top), sizes.target)
