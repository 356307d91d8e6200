"""Tokens out of order, or missing."""

import numpy as np

from ...dataset.words import Words
from ..registry import Parameter, operation
from .arrays import array_of, first_token, with_arrays


@operation(
    "conditioning tokens",
    Parameter(
        "mode",
        "shuffle",
        "shuffle: tokens change places. drop: they are left out and the rest moves up. repeat: each says what the one "
        "before it said. roll: all move on",
        choices=("shuffle", "drop", "repeat", "roll"),
    ),
    Parameter("fraction", 1.0, "Part of the tokens that is damaged", 0, 1, 0.05),
    Parameter(
        "width",
        0.5,
        "Part of each token's values that goes along with shuffle and roll. SD 1.5, SDXL and Flux do not hear the "
        "order of whole tokens: 1 changes nothing for them",
        0,
        1,
        0.05,
    ),
    Parameter("spare_first", False, "The first token stays: in CLIP it marks the start and outweighs all others"),
    subject="conditioning",
)
def token_shuffle(
    words: Words,
    rng: np.random.Generator,
    severity: float,
    *,
    mode: str,
    fraction: float,
    width: float,
    spare_first: bool,
) -> Words:
    """Parts of tokens in the wrong places: colours and shapes go to the wrong things.

    Severity is the part of `fraction` that is damaged already; with roll, how far all have moved. There are as many
    tokens afterwards: what is left out at one place leaves the last one repeated.
    """
    sequence = array_of(words.sequence)
    first = first_token(spare_first, len(sequence))
    order = first + rng.permutation(len(sequence) - first)
    values = rng.permutation(sequence.shape[-1])
    along = values[: round(width * len(values))] if mode in ("shuffle", "roll") else values
    picked = order[: round(severity * fraction * len(order))]
    moved = sequence[_source(mode, len(sequence), first, picked)]
    sequence[:, along] = moved[:, along]
    return with_arrays(words, sequence)


@operation(
    "conditioning tokens",
    Parameter("fraction", 0.9, "Part of the tokens that falls silent", 0, 1, 0.05),
    Parameter(
        "fill",
        "zero",
        "What stands in place of a token: zero, the mean of all, or what stands last, which pads most texts",
        choices=("zero", "mean", "last"),
    ),
    Parameter("spare_first", True, "The first token stays: in CLIP it marks the start and outweighs all others"),
    subject="conditioning",
)
def token_dropout(
    words: Words, rng: np.random.Generator, severity: float, *, fraction: float, fill: str, spare_first: bool
) -> Words:
    """Tokens fall silent where they stand: words are missed.

    Severity is the part of `fraction` that is silent already. The padding behind a short text knows the text too, so
    that little is missed until most tokens are silent.
    """
    sequence = array_of(words.sequence)
    first = first_token(spare_first, len(sequence))
    rank = np.concatenate([np.full(first, len(sequence)), rng.permutation(len(sequence) - first)])
    silent = rank < round(severity * fraction * (len(sequence) - first))
    with_what = {"zero": np.zeros_like(sequence[0]), "mean": sequence.mean(axis=0), "last": sequence[-1]}[fill]
    return with_arrays(words, np.where(silent[:, None], with_what, sequence))


def _source(mode: str, count: int, first: int, picked: np.ndarray) -> np.ndarray:
    """Return, for each place, the token that comes to stand there."""
    places = np.arange(count)
    if mode == "shuffle":
        places[picked] = np.roll(picked, 1)
    elif mode == "repeat":
        places[picked] = np.maximum(picked - 1, first)
    elif mode == "roll":
        places[first:] = np.roll(places[first:], len(picked))
    else:
        kept = np.setdiff1d(places, picked)
        places = np.pad(kept, (0, count - len(kept)), mode="edge") if len(kept) else places[-1:].repeat(count)
    return places
