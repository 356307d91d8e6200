"""Captions that name the wrong thing: attributes gone or swapped, opposites."""

import re
from collections.abc import Sequence

import numpy as np

from ...dataset.captions import unmask_triggers
from ..context import Context
from ..registry import Parameter, operation
from .lexicons import ANTONYMS, ATTRIBUTES, CLASSES, both_ways
from .words import change_words, chosen, count_words, parts_of

_ARTICLE = re.compile(r"^(an?|the)\s+", re.IGNORECASE)


@operation(
    "wrong text",
    Parameter("attributes", "colours", "Which words are meant", choices=(*ATTRIBUTES, "all")),
    Parameter("change", "remove", "remove: they go. swap: others of the same list come", choices=("remove", "swap")),
    subject="captions",
    wants_context=True,
)
def attribute_strip(
    caption: str, rng: np.random.Generator, severity: float, *, context: Context, attributes: str, change: str
) -> str:
    """Attribute strip: colours, counts, materials or lighting are not said, or said wrongly: nothing binds them.

    Severity is how likely each such word is changed. English word lists; "a" and "an" follow.
    """
    lists = list(ATTRIBUTES.values()) if attributes == "all" else [ATTRIBUTES[attributes]]
    count = count_words(caption, context.triggers)
    hit, picks = chosen(rng, count, severity), rng.random(count)

    def changed(number: int, word: str) -> str:
        found = next((words for words in lists if not set(words).isdisjoint(word.lower().split("-"))), None)
        if not hit[number] or found is None:
            return word
        return _other(word, found, picks[number]) if change == "swap" else ""

    return change_words(caption, context.triggers, changed, mend_articles=True)


@operation(
    "wrong text",
    Parameter(
        "kind",
        "all",
        "antonyms: old for young. classes: cat for dog. negation: no cat. all: antonyms and classes",
        choices=("all", "antonyms", "classes", "negation"),
    ),
    subject="captions",
    wants_context=True,
)
def opposites(caption: str, rng: np.random.Generator, severity: float, *, context: Context, kind: str) -> str:
    """Opposites: words are swapped for their opposites, things for other things, or parts of the caption denied.

    Severity is how likely each word or part is changed. English word lists; "a" and "an" follow.
    """
    if kind == "negation":
        return _denied(caption, context.triggers, rng, severity)
    pairs = {"antonyms": ANTONYMS, "classes": CLASSES, "all": CLASSES | ANTONYMS}[kind]
    words, hit = both_ways(pairs), chosen(rng, count_words(caption, context.triggers), severity)

    def changed(number: int, word: str) -> str:
        found = words.get(word.lower()) if hit[number] else None
        return _cased_like(word, found) if found else word

    return change_words(caption, context.triggers, changed, mend_articles=True)


def _denied(caption: str, triggers: Sequence[str], rng: np.random.Generator, severity: float) -> str:
    """Return the caption with parts in which there is more than a trigger denied: "a cat" becomes "no cat"."""
    parts, joint, masks = parts_of(caption, triggers)
    hit = chosen(rng, len(parts), severity) & np.array([part not in masks for part in parts], bool)
    if not hit.any():
        return caption
    denied = ["no " + _ARTICLE.sub("", part) if no else part for part, no in zip(parts, hit, strict=True)]
    return unmask_triggers(joint.join(denied), masks)


def _other(word: str, words: Sequence[str], draw: float) -> str:
    others = [other for other in words if other != word.lower()]
    return _cased_like(word, others[int(draw * len(others))])


def _cased_like(word: str, other: str) -> str:
    return other.capitalize() if word[:1].isupper() else other
