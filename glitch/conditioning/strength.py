"""Conditionings made noisy, or too loud or too quiet."""

import numpy as np

from ...dataset.words import Words
from ..registry import Parameter, operation
from .arrays import on_both

POOLED = Parameter("pooled", True, "The vector that stands for the whole text is damaged too")


@operation(
    "conditioning strength",
    Parameter("std", 2.0, "Strength, times the spread of the conditioning's own values", 0, 8, 0.01),
    POOLED,
    subject="conditioning",
)
def conditioning_noise(words: Words, rng: np.random.Generator, severity: float, *, std: float, pooled: bool) -> Words:
    """Noise added to what the text encoder said: the meaning wobbles.

    A little changes from 0.1 on; around 2 the text begins to drown, as what is drawn for many tokens evens out.
    """

    def noisy(values: np.ndarray) -> np.ndarray:
        amount = np.float32(severity * std * (float(values.std()) or 1.0))
        return values + amount * rng.standard_normal(values.shape, np.float32)

    return on_both(words, noisy, pooled)


@operation(
    "conditioning strength",
    Parameter(
        "factor", 2.5, "The conditioning is multiplied by this; 0 silences it, below 0 turns it around", -8, 8, 0.1
    ),
    POOLED,
    subject="conditioning",
    draws=False,
)
def conditioning_gain(words: Words, rng: np.random.Generator, severity: float, *, factor: float, pooled: bool) -> Words:
    """The text spoken too loud, too quietly or turned around.

    Severity moves the factor from 1.
    """
    return on_both(words, lambda values: values * np.float32(1 + severity * (factor - 1)), pooled)
