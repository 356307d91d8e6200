"""Captions cut up and put together again, as Tzara and Burroughs did with newspapers."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ...dataset.captions import mask_triggers, unmask_triggers
from ..context import Context
from ..registry import Parameter, operation
from .words import with_triggers

# What follows each run of one to three words, anywhere in the dataset.
_Followers = dict[tuple[str, ...], list[str]]


@operation(
    "wrong text",
    Parameter("order", 2, "How many words before decide the next one: 1 babbles, 3 quotes", 1, 3),
    Parameter("length", 0, "Words of the new caption; 0: as many as the old one has", 0, 1000),
    subject="captions",
    wants_context=True,
)
def markov_cut_up(
    caption: str, rng: np.random.Generator, severity: float, *, context: Context, order: int, length: int
) -> str:
    """Markov cut-up: the caption drifts off into words that follow each other somewhere in the dataset.

    Severity is the part of the caption that is made up: its end first, all of it at 1. The triggers stay.
    """
    masked, masks = mask_triggers(caption, context.triggers)
    words = masked.split()
    goal = round(len(words) + severity * ((length or len(words)) - len(words)))
    kept = min(goal, round((1 - severity) * len(words)))
    followers = _followers(tuple(context.others) or (caption,), context.triggers, order)
    made = _babble(words[:kept], goal - kept, followers, order, rng)
    return with_triggers(unmask_triggers(" ".join(made), masks), [word for word in context.triggers if word in caption])


def _babble(start: list[str], count: int, followers: _Followers, order: int, rng: np.random.Generator) -> list[str]:
    """Return the words with so many more behind them, each following what comes before it somewhere."""
    words = list(start)
    for draw in rng.random(count) if followers else ():
        # A run that is followed by nothing is looked up with fewer words; after none at all, any word may come.
        lengths = range(min(order, len(words)), -1, -1)
        known = next(found for size in lengths if (found := followers.get(tuple(words[len(words) - size :]))))
        words.append(known[int(draw * len(known))])
    return words


@lru_cache(maxsize=16)
def _followers(captions: tuple[str, ...], triggers: tuple[str, ...], order: int) -> _Followers:
    followers: _Followers = {}
    for caption in captions:
        words = _without_triggers(caption, triggers)
        for end in range(len(words)):
            for size in range(min(order, end) + 1):
                followers.setdefault(tuple(words[end - size : end]), []).append(words[end])
    return followers


def _without_triggers(caption: str, triggers: Sequence[str]) -> list[str]:
    """Return the caption's words but those with a trigger: the cut-up must not scatter them."""
    masked, masks = mask_triggers(caption, triggers)
    return [unmask_triggers(word, masks) for word in masked.split() if not any(mask in word for mask in masks)]
