"""Conditionings pulled towards one another."""

import numpy as np

from ...dataset.words import Words
from ..context import Context
from ..registry import Parameter, operation
from .arrays import array_of, with_arrays
from .strength import POOLED


@operation(
    "conditioning company",
    Parameter(
        "t", 0.7, "How far towards the other text: 1 is there, above is beyond it, below 0 away from it", -1, 2, 0.05
    ),
    Parameter(
        "path",
        "straight",
        "straight: values in between. arc: each token turns towards the other's direction",
        choices=("straight", "arc"),
    ),
    POOLED,
    subject="conditioning",
    wants_context=True,
)
def conditioning_drift(
    words: Words, rng: np.random.Generator, severity: float, *, context: Context, t: float, path: str, pooled: bool
) -> Words:
    """The text drifts towards another text of the dataset, or beyond it: chimeras (alone: towards itself reversed).

    Severity is the part of the way to `t`. A shorter text is lengthened with zeros, a longer one cut.
    """
    between = _straight if path == "straight" else _arc
    other = _other(words, context.stranger(rng))
    vector = words.pooled
    moved = (
        between(array_of(vector)[None], array_of(other.pooled)[None], severity * t)
        if pooled and vector is not None
        else None
    )
    return with_arrays(words, between(array_of(words.sequence), array_of(other.sequence), severity * t), moved)


@operation(
    "conditioning company",
    Parameter("amount", 1.0, "How much of the other text's vector there is", 0, 1, 0.05),
    subject="conditioning",
    wants_context=True,
)
def pooled_swap(words: Words, rng: np.random.Generator, severity: float, *, context: Context, amount: float) -> Words:
    """The vector of another text with this one's words: the manner of one, the content of the other.

    For SDXL, Flux and SD3, whose encoders give such a vector; others are left as they are. Alone: the vector reversed.
    """
    other = _other(words, context.stranger(rng))
    if words.pooled is None:
        return words.clone()
    return with_arrays(words, pooled=_straight(array_of(words.pooled), array_of(other.pooled), severity * amount))


def _other(words: Words, stranger: Words | None) -> Words:
    """Return another text's conditioning in the shape of this one. Raises ValueError for other widths."""
    if stranger is None:
        pooled = None if words.pooled is None else words.pooled.flip(0)
        return Words(words.sequence.flip(0), pooled)
    theirs, tokens = stranger.sequence, len(words.sequence)
    if theirs.shape[1:] != words.sequence.shape[1:]:
        raise ValueError(
            f"conditioning: got width {theirs.shape[-1]} beside {words.sequence.shape[-1]}, allowed are texts of one "
            "kind of text encoder, encode both with the same"
        )
    lengthened = theirs.new_zeros((tokens, *theirs.shape[1:]))
    lengthened[: len(theirs)] = theirs[:tokens]
    return Words(lengthened, words.pooled if stranger.pooled is None else stranger.pooled)


def _straight(here: np.ndarray, there: np.ndarray, t: float) -> np.ndarray:
    return here + np.float32(t) * (there - here)


def _arc(here: np.ndarray, there: np.ndarray, t: float) -> np.ndarray:
    """Return spherical interpolation row by row (Shoemake 1985), straight where a row has no direction of its own."""
    lengths = [np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (here, there)]
    units = [rows / np.where(length > 0, length, 1) for rows, length in zip((here, there), lengths, strict=True)]
    angle = np.arccos(np.clip((units[0] * units[1]).sum(axis=-1, keepdims=True), -1, 1))
    sine = np.sin(angle)
    turning = sine > 1e-4
    safe = np.where(turning, sine, 1)
    direction = (np.sin((1 - t) * angle) * units[0] + np.sin(t * angle) * units[1]) / safe
    turned = direction * _straight(lengths[0], lengths[1], t)
    return np.where(turning, turned, _straight(here, there, t)).astype(np.float32)
